"""A user's function as a problem: what it may return, and a sentence for every mistake."""

import math
import statistics
import sys
import textwrap
from fractions import Fraction

import numpy as np
import pytest
import torch
from commands import run_command

from paretoprune import Categorical, Int, Objective, as_problem, compare
from paretoprune.compression.analytic import DTLZ2, ZDT1
from paretoprune.compression.function import FunctionProblem
from paretoprune.compression.named import locate_problem
from paretoprune.core.problem import Candidate
from paretoprune.core.space import Condition
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    UnsupportedError,
)
from paretoprune.testing.problems import ProblemContract

QUALITY = Objective("quality", "max", reference=0.0, best=1.0)
COST = Objective("cost", "min", reference=10.0, best=0.0)


N = Int("n", 1, 9)


def made(function, knobs=(N,), objectives=(QUALITY, COST)):
    return FunctionProblem(function, knobs=list(knobs), objectives=list(objectives))


def evaluated(function, n=3, **how):
    problem = made(function, **how)
    (found,) = problem.evaluate([problem.candidate({"n": n})])
    return found


def leaves(n):
    raise GeneratorExit(n)


def staircase(n, split):
    rng = np.random.default_rng({"search": 0, "heldout": 1}[split])
    return {"quality": rng.random(40) < n / 10, "cost": n, "extra": 2.0 * n}


class TestFunction(ProblemContract):
    def make(self):
        return made(staircase)


class TestZDT1(ProblemContract):
    def make(self):
        return ZDT1()


class TestDTLZ2(ProblemContract):
    def make(self):
        return DTLZ2()


def test_a_decorated_function_is_a_problem_and_still_a_function():
    @as_problem(knobs=[Int("n", 1, 9)], objectives=[QUALITY, COST])
    def halves(n):
        return {"quality": n / 18, "cost": n}

    assert halves(4) == {"quality": 4 / 18, "cost": 4}
    assert halves.name == "halves"
    (found,) = halves.evaluate([halves.candidate({"n": 4})])
    assert found.objectives == {"quality": 4 / 18, "cost": 4.0}
    assert found.outcomes is None
    assert halves.heldout is None


def test_values_per_sample_give_mean_and_standard_error():
    found = evaluated(lambda n: {"quality": [0.0, 1.0, 1.0, 1.0], "cost": 1})
    assert found.objectives["quality"] == 0.75
    assert found.standard_errors["quality"] == pytest.approx(0.5 / math.sqrt(4))
    assert found.outcomes.tolist() == [0, 1, 1, 1]


def test_other_names_are_metrics():
    found = evaluated(lambda n: {"quality": 0.5, "cost": 1, "seconds": 7})
    assert found.metrics == {"seconds": 7.0}


def test_split_makes_heldout_data_that_judge():
    problem = made(staircase)
    chosen = problem.candidate({"n": 5})
    for part, split in ((problem, "search"), (problem.heldout, "heldout")):
        (found,) = part.evaluate([chosen])
        assert found.objectives["quality"] == np.mean(staircase(5, split)["quality"])
    summary = compare(problem, ["grid"], budget=9, seeds=[0]).summary
    # 20 budgets b/20 of the way from 0 to 10: n = b // 2 tokens are affordable
    search = [np.mean(staircase(n, "search")["quality"]) for n in range(1, 10)]
    held = [np.mean(staircase(n, "heldout")["quality"]) for n in range(1, 10)]
    picks = [int(np.argmax(search[: b // 2])) for b in range(2, 21)]
    assert summary.standings[0].heldout_area == pytest.approx(sum(held[i] for i in picks) / 20)


def test_a_function_that_raises_or_returns_nan_has_failed_and_the_search_goes_on():
    def fragile(n):
        if n == 3:
            raise RuntimeError("out of memory")
        return {"quality": math.nan if n == 4 else n / 10, "cost": n}

    problem = made(fragile)
    found = problem.evaluate([problem.candidate({"n": n}) for n in (3, 4, 5)])
    assert "RuntimeError: out of memory (test_function.py, line" in found[0].failure
    assert found[1].failure == "returned quality=nan"
    assert found[2].failure is None
    summary = compare(problem, ["grid"], budget=9, seeds=[0]).summary
    assert summary.studies[0].failures == 2
    assert any("2 of 9 evaluations failed; the first: RuntimeError" in n for n in summary.notes)


def test_conditional_knobs_are_left_out_where_they_do_not_apply():
    knobs = [Categorical("mode", ("a", "b")), Int("n", 1, 9, when=Condition("mode", ("b",)))]
    problem = made(lambda mode, n=0: {"quality": 0.5, "cost": n}, knobs=knobs)
    first, second = ({"mode": "a"}, {"mode": "b", "n": 4})
    found = problem.evaluate([problem.candidate(v) for v in (first, second)])
    assert [e.objectives["cost"] for e in found] == [0, 4]
    with pytest.raises(InvalidValueError, match="'n' does not always apply, so its parameter"):
        made(lambda mode, n: {}, knobs=knobs)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda n: 3, r"must return its objectives by name.*returned 3"),
        (lambda n: None, r"must return its objectives by name.*returned None"),
        (lambda n: {"quality": "good", "cost": 1}, r"'quality' must be a number.*'good'"),
        (lambda n: {"quality": [[1]], "cost": 1}, r"'quality' must be a number"),
        (lambda n: {"quality": [], "cost": 1}, r"'quality' must be a number"),
        (lambda n: {"quality": "0.5", "cost": 1}, r"'quality' must be a number.*'0.5'"),
        (lambda n: {"quality": ["0", "1"], "cost": 1}, r"'quality' must be a number"),
        (lambda n: {"quality": b"1", "cost": 1}, r"'quality' must be a number"),
        (lambda n: {"quality": None, "cost": 1}, r"'quality' must be a number.*None"),
        (lambda n: {"quality": [1, None], "cost": 1}, r"'quality' must be a number"),
        (lambda n: {"quality": 1j, "cost": 1}, r"'quality' must be a number"),
        (lambda n: {"quality": {"a": 1}, "cost": 1}, r"'quality' must be a number"),
        (lambda n: {"quality": [1, [2]], "cost": 1}, r"'quality' must be a number"),
        (lambda n: {"quality": np.array("1"), "cost": 1}, r"'quality' must be a number"),
        (lambda n: {"quality": torch.ones(2, requires_grad=True), "cost": 1}, "'quality' must be"),
        (lambda n: {"quality": 1, "cost": 1, "seconds": "7"}, r"'seconds' must be a number.*'7'"),
        (
            lambda n: {"quality": [1, 2], "cost": [1, 2, 3]},
            "'cost' has values of 3 samples, and 'quality' of 2",
        ),
        (lambda n: {"quality": bytearray(b"1"), "cost": 1}, "'quality' must be a number"),
        (lambda n: {"quality": memoryview(b"1"), "cost": 1}, "'quality' must be a number"),
        (lambda n: {"quality": np.ma.array([0.5, 9], mask=[0, 1]), "cost": 1}, "must be a number"),
        (lambda n: {"quality": np.ma.masked, "cost": 1}, "'quality' must be a number"),
        (lambda n: (0.5, 1), r"must return its objectives by name.*returned \(0.5, 1\)"),
        (lambda n: {"quality": 1}, "unknown objective.*'cost'"),
        (lambda n: {1: 2, "cost": 1}, "unknown objective.*'quality'; known: 1, cost"),
        (lambda n: {}["x"], r"KeyError: 'x' \(test_function"),
        (lambda n: [][n], r"IndexError: list index out of range \(test_function"),
        (lambda n: n + "", r"TypeError: unsupported operand.*\(test_function"),
        (lambda n: statistics.mean(n), r"TypeError: .*\(test_function.py, line"),
        (lambda n: sys.exit(0), r"SystemExit: 0 \(test_function"),
        (leaves, r"GeneratorExit: 3 \(test_function"),
        (lambda n: {"qualty": 1, "cost": 1}, r"unknown objective.*'quality'.*mean 'qualty'"),
        (lambda n: undefined, r"NameError: name 'undefined' is not defined \(test_function"),  # noqa: F821
    ],
)
def test_mistakes_in_the_function_are_one_sentence(function, told):
    with pytest.raises(ParetopruneError, match=told) as caught:
        evaluated(function)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "mean"),
    [(True, 1), (np.float32(0.5), 0.5), (np.array([0.0, 1.0]), 0.5), ((0, 1), 0.5),
     (torch.tensor([0.0, 1.0]), 0.5), (Fraction(1, 2), 0.5), ([Fraction(1, 2), 1], 0.75),
     (range(3), 1.0)],
)  # fmt: skip
def test_numbers_of_every_kind_are_taken(value, mean):
    assert evaluated(lambda n: {"quality": value, "cost": 1}).objectives["quality"] == mean


def test_the_first_call_says_how_many_samples_there_are():
    problem = made(lambda n: {"quality": [0.5] * n, "cost": n})
    problem.evaluate([problem.candidate({"n": 3})])
    with pytest.raises(InvalidValueError, match="values of 4 samples, and 'quality' of 3"):
        problem.evaluate([problem.candidate({"n": 4})])


def test_a_mistake_names_the_users_line_and_the_calls_to_it():
    """A mistake deep in a library named the library's line alone."""

    def helper(n):
        return statistics.mean(n)  # raises in its own file

    with pytest.raises(InvalidValueError) as caught:
        evaluated(lambda n: {"quality": helper(n), "cost": 1})
    assert isinstance(caught.value.__cause__, TypeError)
    assert "(test_function.py, line" in str(caught.value)
    (calls,) = caught.value.__notes__
    assert "in helper" in calls and "in <lambda>" in calls and "in _evaluate" not in calls


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"knobs": []}, "at least one knob"),
        ({"knobs": [("n", 1, 9)]}, r"knobs are paretoprune.Int, Float or Categorical, got \('n'"),
        ({"knobs": [Int("m", 1, 2)]}, r"unknown parameter of .* for the knob 'm'; known: n"),
        ({"knobs": [Int("split", 1, 2)]}, "no knob can be called 'split'"),
        ({"objectives": [QUALITY]}, "two or more objectives of different names.*got quality"),
        ({"objectives": [QUALITY, QUALITY]}, "two or more objectives of different names"),
        ({"objectives": ["cost"]}, "objectives are paretoprune.Objective.*got 'cost'"),
        ({"function": lambda n, m: {}}, "parameter 'm' is no knob; knobs: n"),
        ({"function": 3}, "needs a function, got 3"),
    ],
)
def test_mistakes_in_the_declaration_are_one_sentence(arguments, told):
    with pytest.raises(ParetopruneError, match=told):
        made(**{"function": lambda n: {}, **arguments})


def test_objectives_say_what_is_wrong_with_them():
    with pytest.raises(InvalidValueError, match="the direction is 'max' or 'min', got 'up'"):
        Objective("a", "up", reference=0, best=1)
    with pytest.raises(InvalidValueError, match="best and reference are finite"):
        Objective("a", "min", reference=math.inf, best=0)


def test_policies_are_refused():
    problem = made(lambda n: {"quality": 1, "cost": 1})
    with pytest.raises(UnsupportedError, match="evaluates points, not policies"):
        problem.evaluate([Candidate("knobs", {"n": 1}, policy=object())])


# --- by location

SOURCE = """
from helper import SLOPE
from paretoprune import Int, Objective, Problem, as_problem

@as_problem(
    knobs=[Int("n", 1, 9)],
    objectives=[
        Objective("quality", "max", reference=0, best=1),
        Objective("cost", "min", reference=10, best=0),
    ],
)
def line(n):
    return {"quality": SLOPE * n, "cost": n}

def factory():
    return line

def plain(n):
    return {"quality": n, "cost": n}

def number():
    return 3

def broken():
    return 3 + ""

def leaving():
    raise SystemExit

constant = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine_located.py").write_text(SOURCE)
    (tmp_path / "helper.py").write_text("SLOPE = 0.1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [n for n in sys.modules if "mine_located" in n or n == "helper"]:
        del sys.modules[name]


@pytest.mark.parametrize("where", ["mine_located.py", "mine_located"])
@pytest.mark.parametrize("name", ["line", "factory"])
def test_a_problem_is_found_by_file_and_by_module(folder, where, name):
    problem = locate_problem(f"{where}:{name}")
    (found,) = problem.evaluate([problem.candidate({"n": 2})])
    assert found.objectives == {"quality": 0.2, "cost": 2.0}


def test_a_class_is_a_location_too():
    assert isinstance(locate_problem("paretoprune.compression.analytic:ZDT1"), ZDT1)


def test_what_is_installed_is_not_hidden_by_a_file_beside(folder):
    (folder / "colorsys.py").write_text("raise SystemExit\n")
    with pytest.raises(UnknownNameError, match="attribute of colorsys"):
        locate_problem("colorsys:nothing")


@pytest.mark.parametrize(
    ("location", "error", "told"),
    [
        ("missing.py:line", BrokenFileError, "no file missing.py"),
        ("mine_located.py", InvalidValueError, "write mine_located.py:NAME with NAME one of line"),
        ("mine_located.py:lime", UnknownNameError, "Did you mean 'line'"),
        ("mine_located.py:constant", InvalidValueError, "is int, not a problem: decorate"),
        ("mine_located.py:number", InvalidValueError, "returns int, not a problem"),
        ("mine_located.py:plain", InvalidValueError, "cannot be called without arguments"),
        ("mine_located.py:broken", InvalidValueError, "makes no problem: TypeError: .*line 25"),
        ("mine_located.py:leaving", InvalidValueError, "makes no problem: SystemExit"),
        ("no_such_module:line", BrokenFileError, "No module named 'no_such_module'"),
        ("-x:line", InvalidValueError, "'-x' is no module"),
        (":line", InvalidValueError, "'' is no module"),
    ],
)
def test_a_wrong_location_is_one_sentence(folder, location, error, told):
    with pytest.raises(error, match=told):
        locate_problem(location)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import no_such", "no_such"),
        ("x = (", "SyntaxError"),
        ("1/0", "line 1"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_sentence(tmp_path, source, told):
    file = tmp_path / "broken.py"
    file.write_text(source)
    with pytest.raises(BrokenFileError, match=told) as caught:
        locate_problem(f"{file}:line")
    assert "\n" not in str(caught.value)


def test_the_command_line_searches_a_users_function(folder):
    done = run_command(
        "compare", "--problem", "mine_located.py:line", "--budget", "6", "--seeds", "1"
    )
    assert done.returncode == 0, done.stderr
    for name in ("random", "grid", "tpe", "nsga2", "pymoo-nsga2"):
        assert name in done.stdout
    assert (folder / "paretoprune-results" / "report.html").exists()
    assert (folder / "paretoprune-results" / "front.csv").exists()
    done = run_command("compare", "--problem", "mine_located.py:lime")
    assert done.returncode == 2
    assert done.stderr == textwrap.dedent(
        """\
        paretoprune: unknown attribute of mine_located.py 'lime'; known: line. Did you mean 'line'?
        """
    )
