"""The command line lets OpenMP's threads sleep while they wait, unless the user says otherwise."""

import os
import re
import subprocess
import sys

import pytest

from paretoprune.cli.terminal import WAITING, with_idle_threads_asleep

CODE = """
import sys
from paretoprune.cli import main
sys.argv = ["paretoprune", "--version"]
try:
    main()
finally:
    assert "torch" not in sys.modules  # its OpenMP reads the environment when it is imported
    import torch
"""


def test_threads_that_wait_do_not_spin():
    """As the OpenMP library that torch has loaded says itself."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=240,
        env=env | {"OMP_DISPLAY_ENV": "VERBOSE"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = dict(re.findall(r"(\w+) *= *'(.*)'", done.stderr))
    spins = {"GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & set(said)  # GNU's; LLVM's and Intel's
    if not spins:
        pytest.skip("this build's OpenMP does not show how it waits")
    assert all(said[name] == "0" for name in spins)


@pytest.mark.parametrize("name", WAITING)
def test_what_the_user_has_set_stands(name, monkeypatch):
    for other in WAITING:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "ACTIVE" if name == "OMP_WAIT_POLICY" else "1000")
    before = dict(os.environ)
    with_idle_threads_asleep()
    assert dict(os.environ) == before
