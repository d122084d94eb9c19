"""Plug-ins: packages of others, whole and broken, as `importlib.metadata` finds them installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paretoprune import registry
from paretoprune.core import registries
from paretoprune.core.registries import BrokenPluginError, Entry, Registry
from paretoprune.search.random import RandomSearch

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
GOOD = "paretoprune.search.random:RandomSearch"


SMALL = ("--search-size", "16", "--heldout-size", "16", "--budget", "2")


def install(folder: Path, name: str, entry_points: str, **modules: str) -> None:
    """Put a package where `importlib.metadata` finds it, as an installer would."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for module, code in modules.items():
        (folder / f"{module}.py").write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that packages are installed to."""
    monkeypatch.syspath_prepend(tmp_path)
    registries.announced.cache_clear()
    yield tmp_path
    registries.announced.cache_clear()


def strategies() -> Registry:
    return Registry(
        "strategy",
        [Entry("random", GOOD, "uniform")],
        base="paretoprune.core.strategy:SearchStrategy",
    )


def cli(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paretoprune", *arguments],
        capture_output=True, text=True, check=False, timeout=300, cwd=site,
        env=os.environ | {"PYTHONPATH": str(site)},
    )  # fmt: skip


@pytest.mark.parametrize("kind", [r.kind for r in registry.ALL])
def test_the_group_is_the_plural(kind: str, site: Path) -> None:
    plural = {"strategy": "strategies", "policy": "policies"}.get(kind, f"{kind}s")
    group = f"paretoprune.{plural}"
    install(site, "theirs", f"[{group}]\nmine = somewhere:Thing\n")
    assert Registry(kind, []).names() == ["mine"]
    assert all("mine" in r.names() for r in [Registry(kind, [])] if r.group == group)


def test_a_plug_in_is_found_with_its_package_and_imported_only_when_asked_for(site: Path) -> None:
    install(
        site, "their-package", "[paretoprune.strategies]\ntheirs = their_mod:Theirs\n",
        their_mod="from paretoprune.search.random import RandomSearch\n"
        "class Theirs(RandomSearch):\n    '''What theirs does.\n\n    More.\n    '''\n",
    )  # fmt: skip
    names = strategies()
    assert names.names() == ["random", "theirs"]
    assert names._known()["theirs"].origin == "their-package 1.0"
    assert "their_mod" not in sys.modules
    assert issubclass(names.load("theirs"), RandomSearch)
    entries, skipped = names.surveyed()
    assert [(e.name, e.summary) for e in entries] == [
        ("random", "uniform"),
        ("theirs", "What theirs does"),
    ]
    assert skipped == []
    del sys.modules["their_mod"]


def test_a_name_that_is_taken_is_never_replaced_and_said(site: Path) -> None:
    install(site, "evil", "[paretoprune.strategies]\nrandom = evil:Random\n")
    install(site, "first", f"[paretoprune.strategies]\ntheirs = {GOOD}\n")
    install(site, "second", "[paretoprune.strategies]\ntheirs = other:Thing\n")
    names = strategies()
    with pytest.warns(UserWarning, match="'random' from evil 1.0 is ignored: the name is taken by"):
        assert names.load("random") is RandomSearch
    _, skipped = names.surveyed()
    reasons = {(s.name, s.origin): s.reason for s in skipped}
    assert reasons["random", "evil 1.0"] == "the name is taken by a built-in, which is used"
    loser = ({"first 1.0", "second 1.0"} - {names._known()["theirs"].origin}).pop()
    assert reasons["theirs", loser].startswith("the name is taken by a plug-in of ")


BROKEN = {
    "no_such_module_here:X": "No module named 'no_such_module_here'",
    "paretoprune.search.random:Missing": "has no attribute 'Missing'",
    "paretoprune.search.random": "an entry point is written as module:attribute",
    "os;rm:x y": "an entry point is written as module:attribute",
    "bad_syntax:X": "SyntaxError",
    "quits:X": "SystemExit: 3",
    "raises:X": "ZeroDivisionError: division by zero",
    "paretoprune.errors:ParetopruneError": "a strategy is a subclass of paretoprune.core.strategy",
    "paretoprune.errors:__name__": "a strategy is a subclass of paretoprune.core.strategy",
    "unfinished:X": "X does not define ask",
}
MODULES = {
    "bad_syntax": "def (:\n",
    "quits": "import sys; sys.exit(3)\n",
    "raises": "1/0\n",
    "unfinished": "from paretoprune.core.strategy import SearchStrategy as S\nclass X(S): pass\n",
}


@pytest.mark.parametrize("target", BROKEN)
def test_a_broken_plug_in_is_named_and_skipped(target: str, site: Path) -> None:
    install(site, "theirs", f"[paretoprune.strategies]\nbroken = {target}\n", **MODULES)
    names = strategies()
    for _ in range(2):  # the second time from what was found before
        with pytest.raises(BrokenPluginError) as caught:
            names.load("broken")
        said = str(caught.value)
        assert said.startswith("strategy plug-in 'broken' from theirs 1.0 is broken: ")
        assert BROKEN[target] in said
        assert "\n" not in said
    with pytest.warns(UserWarning, match="skipped: strategy plug-in 'broken' from theirs"):
        assert names.usable() == ["random"]
    entries, skipped = names.surveyed()
    assert [e.name for e in entries] == ["random"]
    assert [(s.name, s.origin) for s in skipped] == [("broken", "theirs 1.0")]


def test_a_pruner_bears_the_name_of_its_entry_point(site: Path) -> None:
    install(
        site, "theirs", "[paretoprune.pruners]\nmine = paretoprune.pruning.pruners.fastv:FastV\n"
    )
    names = Registry("pruner", [], base="paretoprune.pruning.base:Pruner", named="name")
    with pytest.raises(BrokenPluginError, match=r"FastV.name must be 'mine', .* got 'fastv'"):
        names.load("mine")


def test_an_adapter_says_which_models_it_takes(site: Path) -> None:
    code = "from paretoprune.adapters.llava import LlavaAdapter as A\nclass Plain(A): pass\n"
    code += "from paretoprune.adapters.base import Adapter\nclass Bare(Adapter):\n"
    code += "    def process(self, items, counts): ...\n"
    install(
        site, "theirs", "[paretoprune.adapters]\nplain = fam:Plain\nbare = fam:Bare\n", fam=code
    )
    names = Registry("adapter", [], base="paretoprune.adapters.base:Adapter")
    assert names.load("plain").model_types
    with pytest.raises(BrokenPluginError, match="Bare does not define family, model_types"):
        names.load("bare")


def test_a_factory_that_fails_is_the_plug_in_s_fault(site: Path) -> None:
    code = "from paretoprune.core.problem import Problem\nclass Mine(Problem):\n    name = 'mine'\n"
    code += "    def __init__(self): {}['key']\n    def evaluate(self, c): ...\n"
    code += "    def price(self, c): ...\n"
    install(site, "theirs", "[paretoprune.problems]\nmine = probs:Mine\n", probs=code)
    names = Registry("problem", [], base="paretoprune.core.problem:Problem", named="name")
    with pytest.raises(BrokenPluginError, match="calling it fails with KeyError: 'key'"):
        names.build("mine")


def test_unreadable_and_stray_announcements_are_told(site: Path) -> None:
    install(site, "torn", "[paretoprune.strategies]\nno equals sign\n")
    install(site, "stray", f"[paretoprune.strategy]\nmine = {GOOD}\n")
    told = registry.unread_packages()
    assert "its entry points cannot be read" in told["torn 1.0"]
    assert told["stray 1.0"] == (
        "nothing reads its entry-point group 'paretoprune.strategy'; "
        "did you mean 'paretoprune.strategies'?"
    )


@pytest.mark.slow
def test_broken_plug_ins_of_every_kind_stop_no_command(tmp_path: Path) -> None:
    groups = "".join(f"[{r.group}]\nbroken = no_such_module_here:X\n" for r in registry.ALL)
    install(tmp_path, "theirs", groups + "[paretoprune.other]\nx = y:z\n")
    listed = cli(tmp_path, "list")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.count("skipped: cannot import no_such_module_here:X") == len(registry.ALL)
    assert "nothing reads its entry-point group 'paretoprune.other'" in listed.stdout
    done = cli(tmp_path, "search", "random", "--pruner", "all", "--out", "out", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "note: skipped: kernel plug-in 'broken' from theirs 1.0 is broken" in done.stderr
    assert "note: skipped: pruner plug-in 'broken' from theirs 1.0 is broken" in done.stderr
    assert "Traceback" not in done.stderr
    asked = cli(tmp_path, "search", "broken", *SMALL)
    assert asked.returncode == 2
    assert asked.stderr.count("\n") == 1
    assert "strategy plug-in 'broken' from theirs 1.0 is broken" in asked.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plug-in, installed by pip from a copy, without network."""
    folder = tmp_path_factory.mktemp("plugin")
    source, target = folder / "source", folder / "target"
    subprocess.run(["cp", "-r", str(EXAMPLE), str(source)], check=True)
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--no-build-isolation", "--disable-pip-version-check", "--target", str(target),
            str(source),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


def test_the_example_is_listed_with_its_package(installed: Path) -> None:
    listed = cli(installed, "list")
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()
    for name in ("hill-climb", "unusual"):
        line = next(line for line in lines if line.split()[:1] == [name])
        assert line.endswith("(from paretoprune-example 0.1.0)")
        assert len(line.split()) > 6, "no summary"


@pytest.mark.slow
def test_the_example_is_compared_with_built_ins(installed: Path, tmp_path: Path) -> None:
    done = cli(
        installed, "compare", "-s", "hill-climb:startup=4", "-s", "random", "--pruner", "unusual",
        "--budget", "3", "--seeds", "1", "--search-size", "16", "--heldout-size", "16",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "hill-climb:startup=4" in (tmp_path / "out" / "comparison.json").read_text()


@pytest.mark.slow
def test_the_example_passes_its_contract_suites(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
