"""Strategies and pruners of a user's own, at `file.py:Class`, on the command line and in Python."""

import sys

import pytest
from commands import run_command

from paretoprune import compare
from paretoprune.compression.analytic import ZDT1
from paretoprune.core.options import split_spec, split_specs
from paretoprune.errors import BrokenFileError, InvalidValueError, UnknownNameError
from paretoprune.pruning.operators import Operators
from paretoprune.registry import Entry, pruners, strategies
from paretoprune.search.specs import StrategySpec

SOURCE = """
from paretoprune import SearchStrategy
from paretoprune.search.random import RandomSearch
from paretoprune.pruning.base import ScorePruner

class Walk(RandomSearch):
    '''Walks about.'''

    def __init__(self, step: int = 1) -> None:
        super().__init__()
        self.step = step

class Abstract(SearchStrategy):
    pass

class Norm(ScorePruner):
    '''Score = length of the hidden state.'''

    name = "my-norm"
    first_layer = 0

    def score(self, context):
        return context.of_visual(context.hidden.norm(dim=-1))

class Taken(Norm):
    name = "fastv"

class Nameless(ScorePruner):
    def score(self, context):
        return context.of_visual(context.hidden.norm(dim=-1))

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    before = {registry: dict(registry._entries) for registry in (strategies, pruners)}
    yield tmp_path
    for registry, entries in before.items():
        registry._entries = entries


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("tpe", ["tpe"]),
        ("tpe,random", ["tpe", "random"]),
        ("tpe:seed=1,random", ["tpe:seed=1", "random"]),
        ("tpe:a=1,b=2, random , grid:space=x,y=2", ["tpe:a=1,b=2", "random", "grid:space=x,y=2"]),
        ("own.py:Walk,own.py:Walk:step=2", ["own.py:Walk", "own.py:Walk:step=2"]),
        ("tpe,", ["tpe", ""]),
        ("a=1,tpe", ["a=1", "tpe"]),
        ("tpe:path=a:b,random", ["tpe:path=a:b", "random"]),
    ],
)
def test_an_item_without_an_option_begins_the_next_name(text, specs):
    assert split_specs(text) == specs


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("tpe", "tpe", None),
        ("tpe:a=1,b=2", "tpe", "a=1,b=2"),
        ("tpe:", "tpe", ""),
        ("own.py:Walk", "own.py:Walk", None),
        ("./a/own.py:Walk:step=2", "./a/own.py:Walk", "step=2"),
        ("package.module:Walk", "package.module:Walk", None),
        ("package.name:step=2", "package.name", "step=2"),
        ("own.py", "own.py", None),
    ],
)
def test_the_name_before_options_may_be_a_location(text, name, options):
    assert split_spec(text) == (name, options)


def test_a_strategy_is_found_in_a_file(folder):
    found = compare(ZDT1(), "own.py:Walk,own.py:Walk:step=2,random", budget=6, seeds=1)
    labels = [study.label for study in found.summary.studies]
    assert labels == ["own.py:Walk", "own.py:Walk:step=2", "random"]
    spec = StrategySpec.parse("own.py:Walk:step=2")
    assert StrategySpec.parse(spec.label) == spec
    assert spec.build().step == 2
    with pytest.raises(InvalidValueError, match=r"name one strategy here, got tpe, random"):
        StrategySpec.parse("tpe,random")


def test_a_file_that_has_changed_is_run_again(folder):
    assert StrategySpec.parse("own.py:Walk").build().step == 1
    (folder / "own.py").write_text(SOURCE.replace("step: int = 1", "step: int = 17"))
    assert StrategySpec.parse("own.py:Walk").build().step == 17


def test_a_pruner_is_found_in_a_file_and_goes_by_its_own_name(folder):
    operators = Operators.of("fastv,own.py:Norm")
    assert operators.names == ("fastv", "my-norm")
    assert pruners.load("my-norm") is type(operators.pruners[1])
    assert Operators.of("./own.py:Norm").names == ("my-norm",)


def test_a_class_that_was_registered_by_hand_is_the_same(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    pruners.register(Entry("my-norm", "own:Norm", ""))
    assert Operators.of("own.py:Norm").pruners[0].label == "my-norm"
    sys.modules.pop("own")


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("missing.py:Walk", BrokenFileError, "no file missing.py to take a strategy from"),
        ("own.py", InvalidValueError, "write own.py:NAME with NAME one of RandomSearch, Walk"),
        ("own.py:Wlak", UnknownNameError, "Did you mean 'Walk'"),
        ("own.py:number", InvalidValueError, "own.py:number: a strategy is a subclass of"),
        ("own.py:Norm", InvalidValueError, "SearchStrategy; Norm is none"),
        ("own.py:Abstract", InvalidValueError, "Abstract does not define ask"),
        ("no_such.module:Walk", BrokenFileError, "No module named 'no_such'"),
    ],
)
def test_a_wrong_location_of_a_strategy_is_one_sentence(folder, location, error, message):
    with pytest.raises(error, match=message) as caught:
        StrategySpec.parse(location)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("missing.py:Norm", BrokenFileError, "no file missing.py to take a pruner from"),
        ("own.py:Walk", InvalidValueError, "own.py:Walk: a pruner is a subclass of"),
        ("own.py:Taken", InvalidValueError, "pruner 'fastv' is already registered, as paretoprune"),
        ("own.py:Nameless", InvalidValueError, "Nameless does not define name"),
    ],
)
def test_a_wrong_location_of_a_pruner_is_one_sentence(folder, location, error, message):
    with pytest.raises(error, match=message):
        Operators.of(location)


def test_the_command_line_takes_a_location_and_a_study_file_alone_does_not(folder):
    problem = ["--problem", "zdt1", "--budget", "4", "--seeds", "1"]
    done = run_command("compare", "-s", "own.py:Walk:step=3,random", *problem, "--out", "first")
    assert done.returncode == 0, done.stderr
    assert "own.py:Walk:step=3" in done.stdout
    done = run_command("compare", "-s", "own.py:Abstract", *problem)
    assert done.returncode == 2
    assert done.stderr == "paretoprune: own.py:Abstract: Abstract does not define ask\n"
    for setting, flag in (
        ("strategy = ['own.py:Walk']", "--strategy own.py:Walk"),
        ("strategy = 'random,own.py:Walk'", "--strategy random,own.py:Walk"),
        ("pruner = 'own.py:Norm'", "--pruner own.py:Norm"),
    ):
        (folder / "study.toml").write_text(setting + "\nproblem = 'zdt1'\nbudget = 2\n")
        done = run_command("compare", "--config", "study.toml")
        assert done.returncode == 2
        assert done.stderr.endswith(f"say so on the command line, too: {flag}\n")
    for wrong in (["rerun", "first"], ["rerun", "first", "-s", "random"]):
        done = run_command(*wrong)
        assert done.returncode == 2
        assert "--strategy own.py:Walk:step=3,random" in done.stderr
    done = run_command("rerun", "first", "-s", "own.py:Walk:step=3,random")
    assert done.returncode == 0, done.stderr


def test_a_pruner_of_a_file_is_searched(folder):
    small = ["--search-size", "8", "--heldout-size", "8", "--budget", "2", "--seeds", "1"]
    done = run_command("compare", "-s", "random", "--pruner", "own.py:Norm", *small, "--out", "out")
    assert done.returncode == 0, done.stderr
    schedule = sorted((folder / "out" / "schedules").iterdir())[0]
    assert '"pruner": "my-norm"' in schedule.read_text()
    done = run_command("evaluate", str(schedule), "--pruner", "own.py:Norm", "--size", "8")
    assert done.returncode == 0, done.stderr
    assert "pruner my-norm" in done.stdout
    pruners._entries.pop("my-norm")
    done = run_command("evaluate", str(schedule), "--size", "8")  # a file runs no code
    assert done.returncode == 2
    assert "unknown pruner 'my-norm'" in done.stderr
