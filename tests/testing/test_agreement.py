"""What the tests call the same: what rounding can do passes, what a fault does is seen."""

import numpy as np
import pytest
import torch

from paretoprune.comparison.log import StudyLog, projection
from paretoprune.core.problem import Candidate, Evaluation
from paretoprune.core.study import run_study
from paretoprune.search.random import RandomSearch
from paretoprune.testing.agreement import (
    assert_close,
    assert_same,
    assert_same_logs,
    assert_same_samples,
)
from paretoprune.testing.strategies import Toy

RNG = np.random.default_rng(0)
OUTCOMES = RNG.integers(0, 2, 100).astype(np.float32)
RETAINED = RNG.random(100).astype(np.float32)


def evaluation(outcomes=OUTCOMES, retained=RETAINED, **changed):
    """Of a problem whose dense accuracy is 0.8 and whose text-only accuracy is 0.4."""
    score = (float(outcomes.mean()) - 0.4) / 0.4
    figures = {
        "objectives": {"score": score, "compute": 0.5}, "standard_errors": {"score": 0.1},
        "cost": 0.5, "outcomes": outcomes, "retained": retained,
    }  # fmt: skip
    return Evaluation(Candidate("free", {}), **figures | changed)


def flipped(values, count):
    found = values.copy()
    found[:count] = 1 - found[:count]
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("permuted", [False, True])
def test_another_order_of_adding_up_is_close_and_another_sample_is_not(dtype, permuted):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(16, 64, generator=generator).to(dtype)
    weights = torch.randn(64, 32, generator=generator).to(dtype)
    order = torch.randperm(64, generator=generator)
    whole = inputs @ weights
    if permuted:
        with pytest.raises(AssertionError, match="a difference of"):
            assert_close(whole, whole.flip(0))
    else:
        assert_close(whole, inputs[:, order] @ weights[order])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1.0, 2.0], [1.0, 2.1]),
        ([1.0, 2.0], [1.0, 2.0, 3.0]),
        ([1.0, float("nan")], [1.0, 2.0]),
        ([1.0, 2.0], [1.0, float("inf")]),
        ([float("-inf")], [float("inf")]),
    ],
)
def test_values_apart_are_not_close(one, other):
    with pytest.raises(AssertionError):
        assert_close(np.array(one), np.array(other))
    with pytest.raises(AssertionError):
        assert_close(torch.tensor(one), torch.tensor(other))


def test_values_that_are_not_finite_agree_with_themselves():
    values = torch.tensor([1.0, float("-inf"), float("inf")])
    assert_close(values, values.clone())
    assert_close(torch.zeros(0), torch.zeros(0))


@pytest.mark.parametrize(("count", "same"), [(0, True), (2, True), (3, False), (100, False)])
def test_few_samples_may_flip(count, same):
    other = evaluation(flipped(OUTCOMES, count), flipped(RETAINED, count))
    if same:
        assert_same(evaluation(), other)
        assert assert_same_samples(OUTCOMES, other.outcomes) == count / 100
    else:
        with pytest.raises(AssertionError, match=f"{count} of 100 samples differ, first"):
            assert_same(evaluation(), other)
    if count:
        with pytest.raises(AssertionError, match="samples differ"):
            assert_same(evaluation(), other, flipped=0)


@pytest.mark.parametrize(
    "other",
    [
        evaluation(OUTCOMES[::-1]),  # the same samples, in another order
        evaluation(retained=RETAINED[::-1]),
        evaluation(retained=RETAINED + np.float32(0.01)),
        evaluation(OUTCOMES[:50]),
        evaluation(retained=None),
        evaluation(cost=0.5001),
        evaluation(objectives={"score": 0.41, "compute": 0.5}),
        evaluation(objectives={"score": evaluation().objectives["score"], "compute": 0.501}),
        evaluation(objectives={"score": evaluation().objectives["score"]}),
        evaluation(standard_errors={"score": 0.2}),
        Evaluation(Candidate("free", {}), {}, cost=0.5, failure="broken"),
    ],
)
def test_other_evaluations_are_not_the_same(other):
    assert_same(evaluation(), evaluation(retained=RETAINED + np.float32(1e-5)))
    with pytest.raises(AssertionError):
        assert_same(evaluation(), other)


def test_figures_without_samples_have_no_absolute_tolerance():
    """A small unit is no excuse."""
    one, other = (
        Evaluation(Candidate("free", {}), {"seconds": seconds}, cost=1.0)
        for seconds in (1e-6, 2e-6)
    )
    with pytest.raises(AssertionError, match="objective seconds"):
        assert_same(one, other)


def test_logs_are_the_same_up_to_the_first_flip(tmp_path):
    with StudyLog(tmp_path) as log:
        recorder = log.study("one", Toy(), {"seed": 0})
        run_study(Toy(), RandomSearch(), budget=24.0, recorder=recorder)
    whole = projection(tmp_path)

    def changed(number, **figures):
        study = whole["one"]
        trials = [t | (figures if t["number"] == number else {}) for t in study["trials"]]
        return {"one": study | {"trials": trials}}

    assert_same_logs(whole, whole, samples=32)
    objectives = whole["one"]["trials"][9]["objectives"]
    moved = [objectives[0] + 1 / 32, objectives[1]]
    assert_same_logs(whole, changed(9, objectives=moved, outcomes="x"), samples=32)
    for figures in (
        {"objectives": [objectives[0] + 1, objectives[1]]},
        {"cost": 7.0},
        {"knobs": {}},
        {"state": "FAIL"},
    ):
        with pytest.raises(AssertionError):
            assert_same_logs(whole, changed(9, **figures), samples=32)
    for other in ({}, {"one": whole["one"] | {"stopped": "interrupted"}}):
        with pytest.raises(AssertionError):
            assert_same_logs(whole, other, samples=32)
