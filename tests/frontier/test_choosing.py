"""Choosing a point: the knee, and bounds."""

import numpy as np
import pytest

from paretoprune.errors import InvalidValueError
from paretoprune.frontier import Bound, choose, knee, nondominated


def test_the_knee_is_farthest_from_the_line_between_the_ends():
    x = np.linspace(0.0, 1.0, 101)
    costs = np.stack([x, 1 - np.sqrt(x)], axis=1)  # ZDT1: x + 1 - sqrt(x) is least at x = 1/4
    assert x[knee(costs)] == pytest.approx(0.25)
    slow = [abs((p - [0.0, 1.0]) @ [1.0, 1.0]) / np.sqrt(2) for p in costs]
    assert knee(costs) == int(np.argmax(slow))


@pytest.mark.parametrize("seed", range(30))
def test_the_knee_does_not_depend_on_units(seed):
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 20, (int(rng.integers(1, 12)), 3)).astype(float)
    costs = np.unique(costs[nondominated(costs)], axis=0)
    scale, shift = 10 ** rng.uniform(-1, 6), rng.uniform(-1e3, 1e3)
    moved = costs * [scale, 1.0, 1.0] + [0.0, shift, 0.0]
    low, span = costs.min(0), np.ptp(costs, axis=0)
    sums = ((costs - low) / np.where(span > 0, span, 1)).sum(1)
    assert sums[knee(moved)] == pytest.approx(sums.min(), abs=1e-6)


def test_a_front_of_one_point_is_its_knee():
    assert knee([[3.0, 4.0]]) == 0
    with pytest.raises(InvalidValueError):
        knee(np.zeros((0, 2)))


@pytest.mark.parametrize("text", ["compute", "compute=", "=3", "compute=many", "compute=nan"])
def test_malformed_bounds(text):
    with pytest.raises(InvalidValueError, match="--max takes NAME=VALUE"):
        Bound.parse("max", text)


def test_points_need_no_comparison():
    points = [{"score": 0.9, "cost": 1.0}, {"score": 0.8, "cost": 0.3}, {"score": 0.1, "cost": 0.1}]
    directions = {"score": "max", "cost": "min"}
    chosen = choose(points, directions, [Bound("cost", "max", 0.5)])
    assert (chosen.index, chosen.of, chosen.rule) == (1, 2, "the highest score with cost ≤ 0.5")
    assert choose(points, directions).index == 1
