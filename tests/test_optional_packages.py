"""Without an optional package: what needs it names a command that works, the rest works."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from paretoprune.errors import MissingDependencyError

ROOT = Path(__file__).parents[1]
NAME = re.compile(r"[\w.-]+(?:\[\w+\])?")


def extras():
    """Packages of all extras, as pip takes them: `psycopg[binary]`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [r for extra in project["optional-dependencies"].values() for r in extra]
    return {NAME.match(requirement).group() for requirement in listed}


def hidden(monkeypatch, package):
    """Make importing `package`, and what is in it, an ImportError."""
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def postgresql(tmp_path):
    from paretoprune.comparison.log import StudyLog

    StudyLog(tmp_path, storage="postgresql://u@localhost/x").__enter__()


def benchmark(tmp_path):
    from paretoprune.tasks.tables import open_table

    (tmp_path / "rows.parquet").touch()
    open_table(str(tmp_path), split=None, usual=["test"])


def ray(tmp_path):
    from paretoprune.compression.workers.ray_cluster import connect

    connect(1, None)


def quantise(tmp_path):
    from paretoprune.techniques.bits.packed import quantizer

    quantizer()


def mlflow(tmp_path):
    from paretoprune.comparison.trackers import Trackers

    Trackers.named(["mlflow:sqlite:///x.db"])


def tensorboard(tmp_path):
    from paretoprune.comparison.trackers import Trackers

    Trackers.named([f"tensorboard:{tmp_path}"])


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("psycopg", postgresql), ("datasets", benchmark), ("ray", ray), ("hqq", quantise),
        ("mlflow", mlflow), ("tensorboard", tensorboard),
    ],
)  # fmt: skip
def test_the_message_names_a_package_that_an_extra_lists(package, use, monkeypatch, tmp_path):
    """Not the extra: pip finds none of ours for a checkout that is not installed."""
    hidden(monkeypatch, package)
    if package == "tensorboard":
        monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(MissingDependencyError) as caught:
        use(tmp_path)
    named = re.search(r"install it with: pip install (.+)$", str(caught.value)).group(1)
    assert named.strip("'") in extras()


WITHOUT_PYTEST = """
import sys
sys.modules["pytest"] = sys.modules["_pytest"] = None
import importlib
from paretoprune.errors import MissingDependencyError
from paretoprune.search.random import RandomSearch
from paretoprune.testing import layered, models, postgresql, relaxations, toys
assert len(toys.drive(RandomSearch(), toys.Toy(), seed=0, asks=2, n=3)) == 6
assert len(models.random_pictures(2)) == 2
for suite in ("strategies", "problems", "pruners", "kernels", "adapters", "policies"):
    try:
        importlib.import_module(f"paretoprune.testing.{suite}")
    except MissingDependencyError as error:
        print(error)
"""


@pytest.mark.slow
def test_without_pytest_models_and_toys_work_and_the_suites_say_what_they_need():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTEST], capture_output=True, text=True, cwd=ROOT
    )
    said = "the contract suites run under pytest; install it with: pip install pytest\n"
    assert (done.returncode, done.stdout) == (0, said * 6), done.stderr


def test_no_message_names_an_extra():
    """`pip install paretoprune[...]` finds nothing for a checkout that is not installed."""
    for file in (ROOT / "paretoprune").rglob("*.py"):
        assert "pip install 'paretoprune[" not in file.read_text(encoding="utf-8").replace('"', "'")
