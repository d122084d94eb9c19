"""The analytic problems against their papers' formulas, fronts and closed-form hypervolumes."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretoprune.compression.analytic import DTLZ2, ZDT1
from paretoprune.core.capabilities import relaxation_of
from paretoprune.core.problem import Candidate
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError
from paretoprune.frontier import front_of, hypervolume, igd_plus, nondominated, normalise
from paretoprune.registry import problems

BOTH = [ZDT1, DTLZ2]


def slow_zdt1(x):
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return [x[0], g * (1 - math.sqrt(x[0] / g))]


def slow_dtlz2(x):
    g = sum((v - 0.5) ** 2 for v in x[2:])
    a, b = x[0] * math.pi / 2, x[1] * math.pi / 2
    return [
        (1 + g) * math.cos(a) * math.cos(b),
        (1 + g) * math.cos(a) * math.sin(b),
        (1 + g) * math.sin(a),
    ]


SLOW = {ZDT1: slow_zdt1, DTLZ2: slow_dtlz2}


def candidates(problem, n, seed=0):
    rng = np.random.default_rng(seed)
    return [problem.candidate(problem.space().sample(rng)) for _ in range(n)]


def matrix(problem, evaluations):
    return np.array([[e.objectives[o.name] for o in problem.objectives] for e in evaluations])


@pytest.mark.parametrize("kind", BOTH)
@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.integers(0, 999))
def test_values_equal_the_formula(kind, d, seed):
    problem = kind(d)
    chosen = candidates(problem, 3, seed)
    found = matrix(problem, problem.evaluate(chosen))
    expected = [SLOW[kind](list(c.values.values())) for c in chosen]
    assert found == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("kind", BOTH)
def test_evaluations_are_a_batch_in_order_at_price_1(kind):
    problem = kind()
    chosen = candidates(problem, 5)
    batch = problem.evaluate(chosen)
    assert [e.candidate for e in batch] == chosen
    assert [problem.evaluate([c])[0].objectives for c in chosen] == [e.objectives for e in batch]
    assert all(e.cost == e.executed == problem.price(e.candidate) == 1.0 for e in batch)
    assert problem.evaluate([]) == []
    assert all(type(v) is float for e in batch for v in e.objectives.values())


@pytest.mark.parametrize("kind", BOTH)
def test_nothing_beats_the_true_front(kind):
    problem = kind()
    truth = problem.true_front(400)
    assert len(nondominated(truth)) == 400
    found = matrix(problem, problem.evaluate(candidates(problem, 300)))
    both = np.vstack([truth, found])
    assert set(range(400)) <= set(nondominated(both).tolist())
    assert igd_plus(found, truth) > 0.0


@pytest.mark.parametrize(
    ("kind", "best"),
    [
        (ZDT1, {"x2": 0.0, "x3": 0.0, "x4": 0.0, "x5": 0.0}),
        (DTLZ2, {"x3": 0.5, "x4": 0.5, "x5": 0.5}),
    ],
)
def test_known_optima_lie_on_the_front(kind, best):
    problem = kind()
    rng = np.random.default_rng(1)
    chosen = [problem.candidate({**problem.space().sample(rng), **best}) for _ in range(50)]
    found = matrix(problem, problem.evaluate(chosen))
    if kind is ZDT1:
        assert found[:, 1] == pytest.approx(1.0 - np.sqrt(found[:, 0]))
    else:
        assert (found**2).sum(axis=1) == pytest.approx(1.0)
    assert front_of(problem.evaluate(chosen), problem.objectives).tolist() == list(range(50))


def test_zdt1_best_hypervolume_closed_form():
    problem = ZDT1()
    assert problem.best_hypervolume == pytest.approx(1 - 1 / (3 * 1.1 * 11))
    errors = []
    for n in (100, 1000, 10000):
        found = hypervolume(normalise(problem.true_front(n), problem.objectives))
        errors.append(problem.best_hypervolume - found)
    assert errors[0] > errors[1] > errors[2] > 0.0
    assert errors[2] < 1e-5


def test_zdt1_hypervolume_of_n_points_closed_form():
    # a staircase: width of each step times the height below the reference, in units of the box
    n, (r1, r2) = 33, (1.1, 11.0)
    problem = ZDT1()
    steps = [(r2 - (1 - math.sqrt(i / (n - 1)))) / (n - 1) for i in range(n - 1)]
    area = sum(steps) + (r1 - 1.0) * r2
    found = hypervolume(normalise(problem.true_front(n), problem.objectives))
    assert found == pytest.approx(area / (r1 * r2))


def test_dtlz2_best_hypervolume_closed_form():
    problem = DTLZ2()
    assert problem.best_hypervolume == pytest.approx(1 - math.pi / 6 / 1.1**3)
    errors = []
    for n in (100, 1000, 10000):
        found = hypervolume(normalise(problem.true_front(n), problem.objectives))
        errors.append(problem.best_hypervolume - found)
    assert errors[0] > errors[1] > errors[2] > 0.0
    assert errors[2] < 1e-2


@pytest.mark.parametrize("kind", BOTH)
def test_the_front_is_inside_its_bounds(kind):
    problem = kind()
    truth = problem.true_front(50)
    for column, objective in zip(truth.T, problem.objectives, strict=True):
        assert objective.best <= column.min() and column.max() < objective.reference


def test_every_zdt1_point_counts():
    problem = ZDT1()
    worst = problem.evaluate([problem.candidate({f"x{i}": 1.0 for i in range(1, 6)})])
    top = problem.evaluate([problem.candidate({"x1": 0.0, **{f"x{i}": 1.0 for i in range(2, 6)}})])
    assert top[0].objectives == {"f1": 0.0, "f2": 10.0}
    for evaluations in (worst, top):
        assert hypervolume(normalise(matrix(problem, evaluations), problem.objectives)) > 0.0


@pytest.mark.parametrize("kind", BOTH)
def test_fronts_and_evaluations_repeat(kind):
    assert np.array_equal(kind().true_front(64), kind().true_front(64))
    assert kind().true_front(2).shape == (2, len(kind.objectives))
    first, again = (kind().evaluate(candidates(kind(), 4)) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("kind", BOTH)
def test_it_is_a_black_box_with_a_description(kind):
    problem = kind(7)
    assert problem.describe() == {"problem": problem.name, "d": 7}
    assert problem.space().names == tuple(f"x{i}" for i in range(1, 8))
    assert problem.heldout is None
    with pytest.raises(UnsupportedError, match=f"{problem.name!r} is a black box"):
        relaxation_of(problem)
    assert problems.load(problem.name) is kind


@pytest.mark.parametrize(("kind", "least"), [(ZDT1, 2), (DTLZ2, 3)])
def test_the_number_of_knobs_is_checked(kind, least):
    assert len(kind(least).space()) == least
    for bad in (least - 1, 5.0, True):
        with pytest.raises(InvalidValueError, match=rf"at least {least} knobs, got {bad!r}"):
            kind(bad)


@pytest.mark.parametrize("kind", BOTH)
def test_errors_name_the_value(kind):
    problem = kind()
    with pytest.raises(InvalidValueError, match=r"at least 2 points, got 1"):
        problem.true_front(1)
    inside = problem.space().sample(np.random.default_rng(0))
    with pytest.raises(InvalidValueError, match=r"'x1' must be in \[0, 1\], got 1.5"):
        problem.evaluate([Candidate("cube", {**inside, "x1": 1.5})])
    with pytest.raises(InvalidValueError, match="'x1' is missing"):
        problem.evaluate([Candidate("cube", {})])
    with pytest.raises(UnknownNameError, match="unknown search space 'ball'"):
        problem.evaluate([Candidate("ball", inside)])
    with pytest.raises(UnsupportedError, match=f"{problem.name!r} evaluates points, not policies"):
        problem.evaluate([Candidate("cube", inside, policy=object())])


def test_importing_needs_no_torch():
    code = "import sys, paretoprune.compression.analytic, paretoprune.frontier; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "torch" not in modules and "transformers" not in modules
    assert "scipy.stats" not in modules
