"""The commands in terminals that are narrow, that are none, and that want no colours."""

import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest
from rich.cells import cell_len

QUICK = ["compare", "--problem", "zdt1", "-s", "random", "-s", "nsga2", "--budget", "16"]
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;)[0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def command(folder, *more):
    return [sys.executable, "-m", "paretoprune", *QUICK, "--out", str(folder), *more]


def in_a_terminal(arguments, **variables):
    """Output of a command whose standard output and error are a terminal."""
    outer, inner = pty.openpty()
    env = os.environ | {"TERM": "xterm-256color"} | variables
    process = subprocess.Popen(arguments, stdout=inner, stderr=inner, stdin=inner, env=env)
    os.close(inner)
    found = b""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        if select.select([outer], [], [], 1.0)[0]:
            try:
                part = os.read(outer, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            found += part
    os.close(outer)
    assert process.wait(240) == 0, found.decode()
    return found.decode("utf-8")


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrow") / "results"
    return in_a_terminal(command(folder), COLUMNS="40", LINES="20"), folder


def test_forty_columns_are_enough(narrow):
    text, folder = narrow
    plain = [line.rstrip() for line in CONTROL.sub("\n", text).splitlines()]
    assert max(map(cell_len, plain)) <= 40
    assert any("random" in line for line in plain)
    assert any("nsga2" in line for line in plain)
    assert (folder / "comparison.json").exists()


@pytest.mark.slow
def test_a_terminal_gets_colours_unless_it_wants_none(narrow, tmp_path):
    assert COLOUR.search(narrow[0])
    plain = in_a_terminal(command(tmp_path / "results"), NO_COLOR="1", COLUMNS="80", LINES="20")
    assert not COLOUR.search(plain)


@pytest.mark.slow
def test_no_terminal_at_all(tmp_path):
    """Standard input, output and error closed or in files: nothing is drawn over, all is said."""
    with (tmp_path / "said").open("w") as said:
        done = subprocess.run(
            command(tmp_path / "results"), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            env={k: v for k, v in os.environ.items() if k not in ("TERM", "COLUMNS", "LINES")},
            timeout=240, start_new_session=True,
        )  # fmt: skip
    text = (tmp_path / "said").read_text()
    assert done.returncode == 0, text
    assert "\x1b" not in text and "\r" not in text
    assert "[1/4] random seed 0" in text


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    """As in `paretoprune list | head -1`."""
    done = subprocess.run(
        f"{sys.executable} -m paretoprune list | head -1", shell=True,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert "Traceback" not in done.stderr and done.stdout
