"""The lower bounds of pyproject.toml are the versions that `.ci/run` installs and tests."""

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [
    Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines
]


def pins(text):
    """Version by name of lines such as `numpy==2.0`."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name.lower(): Version(version) for name, version in (x.split("==") for x in lines)}


def test_ci_installs_the_lower_bound_of_every_dependency():
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/lowest.py"], capture_output=True, text=True, check=True
    )
    installed = pins(done.stdout)
    assert installed.keys() == {requirement.name.lower() for requirement in DIRECT + EXTRAS}
    for requirement in DIRECT + EXTRAS:
        (bound,) = requirement.specifier  # one, so that it is the lowest
        assert bound.operator == ">="
        if requirement.name != "torch":
            assert installed[requirement.name.lower()] == Version(bound.version)
    assert (ROOT / ".ci/run").read_text().count(".ci/lowest.py") == 1


def test_one_package_has_one_bound():
    """In an extra and in another: the script would take the last."""
    bounds = {}
    for requirement in DIRECT + EXTRAS:
        assert bounds.setdefault(requirement.name, requirement.specifier) == requirement.specifier


def test_the_tested_versions_are_within_the_bounds():
    tested = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    for requirement in DIRECT:
        assert tested[requirement.name.lower()] in requirement.specifier
    for requirement in EXTRAS:
        version = tested.get(requirement.name.lower().replace("_", "-"))
        assert version is None or version in requirement.specifier


def test_torch_is_not_tried_at_its_bound():
    script = runpy.run_path(str(ROOT / ".ci/lowest.py"))
    tested = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert Version(script["lowest"]()["torch"]) == tested["torch"]
