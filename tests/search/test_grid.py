"""Grid search: order, thinning to the budget, deduplication, large lattices."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from paretoprune.core.problem import Candidate, Problem
from paretoprune.core.space import Float, Int, SearchSpace, Value
from paretoprune.core.strategy import SearchContext
from paretoprune.errors import InvalidValueError
from paretoprune.search.grid import POOL, GridSearch, farthest_point_order
from paretoprune.testing.strategies import CONDITIONAL, CONTINUOUS, STEPPED, Toy, drive


class Priced(Toy):
    """Later layers cost less: price 1 / layer."""

    def price(self, candidate: Candidate) -> float:
        return 1 / float(candidate.values["layer"])


class Merged(Toy):
    """Layers that share a half run the same configuration."""

    def identity(self, candidate: Candidate) -> str:
        return f"{candidate.values['ratio']} {int(candidate.values['layer']) // 2}"


def everything(problem: Problem, points: int | None = None, budget: float = 1e9) -> list[Candidate]:
    strategy = GridSearch(points)
    strategy.start(problem, SearchContext(seed=0, budget=budget))
    asked: list[Candidate] = []
    while not strategy.finished:
        more = strategy.ask(7)
        assert 1 <= len(more) <= 7
        asked += more
    assert strategy.ask(7) == []
    return asked


def keys(points: list[Mapping[str, Value]]) -> list[tuple[tuple[str, Value], ...]]:
    return [tuple(p.items()) for p in points]


def cover_radius(taken: NDArray[np.float64], lattice: NDArray[np.float64]) -> float:
    """The largest distance from a lattice point to the nearest taken one."""
    gaps = np.linalg.norm(lattice[:, None] - taken[None], axis=2)
    return float(gaps.min(axis=1).max())


@pytest.mark.parametrize("space", [STEPPED, CONDITIONAL])
def test_asks_the_whole_grid_once(space: SearchSpace) -> None:
    asked = keys([c.values for c in everything(Toy(space))])
    assert len(asked) == len(set(asked))
    assert set(asked) == set(keys(list(space.grid())))


def test_every_prefix_is_spread_over_the_space() -> None:
    lattice = np.array([STEPPED.encode(v) for v in STEPPED.grid()])
    order = np.array([STEPPED.encode(c.values) for c in everything(Toy(STEPPED))])
    rng = np.random.default_rng(0)
    for length in (5, 10, 20, 40):
        chance = [cover_radius(rng.permutation(lattice)[:length], lattice) for _ in range(20)]
        assert cover_radius(order[:length], lattice) < 0.8 * np.median(chance)


def test_farthest_point_order_takes_the_centre_then_corners() -> None:
    units = np.array(list(itertools.product(np.linspace(0, 1, 5), repeat=2)))
    first = [tuple(units[i]) for i in itertools.islice(farthest_point_order(units), 5)]
    assert first[0] == (0.5, 0.5)
    assert set(first[1:]) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert sorted(farthest_point_order(units)) == list(range(25))


@pytest.mark.parametrize("budget", [1.0, 7.5, 20.0, 1000.0])
def test_thinned_grid_fits_the_budget(budget: float) -> None:
    problem = Priced(STEPPED)
    asked = everything(problem, budget=budget)
    whole = everything(problem)
    spent = sum(map(problem.price, asked))
    assert spent <= budget + 1e-9
    assert asked == whole[: len(asked)]
    if len(asked) < len(whole):
        assert spent + problem.price(whole[len(asked)]) > budget


def test_a_study_can_pay_for_all_it_asks() -> None:
    problem = Priced(STEPPED)
    found = drive(GridSearch(), problem, seed=0, asks=99, n=4, budget=9.0)
    assert [e.candidate for e in found] == everything(problem, budget=9.0)


def test_asks_once_what_is_the_same_configuration() -> None:
    problem = Merged(STEPPED)
    asked = [problem.identity(c) for c in everything(problem)]
    assert len(asked) == len(set(asked)) == 11 * 5


def test_a_knob_without_a_step_needs_points() -> None:
    with pytest.raises(InvalidValueError, match=r"'ratio', which has no step.*points=9"):
        everything(Toy(CONTINUOUS))
    values = {
        name: sorted({float(c.values[name]) for c in everything(Toy(CONTINUOUS), points=4)})
        for name in CONTINUOUS.names
    }
    assert values["ratio"] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert values["temperature"] == pytest.approx([0.5, 1.0, 1.5, 2.0])


def test_one_point_per_knob_is_no_grid() -> None:
    with pytest.raises(InvalidValueError, match="2 or more points per knob, got 1"):
        GridSearch(points=1)


def test_a_lattice_of_several_pools_is_asked_whole() -> None:
    space = SearchSpace((Int("a", 0, 20), Int("b", 0, 20), Int("c", 0, 20)))
    assert POOL < space.size < 2 * POOL
    asked = keys([c.values for c in everything(Toy(space))])
    assert len(asked) == len(set(asked)) == space.size


def test_an_astronomic_lattice_is_never_listed() -> None:
    knobs = [Float(f"x{i}", 0.0, 1.0, step=1e-6) for i in range(4)]
    space = SearchSpace((*knobs, Int("big", 0, 10**12)))
    asked = everything(Toy(space), budget=64.0)
    units = np.array([space.encode(c.values) for c in asked])
    assert len({c.key for c in asked}) == 64
    for column in units.T:
        assert column.min() < 0.1 and column.max() > 0.9


def test_ignores_the_seed() -> None:
    runs = [drive(GridSearch(), Toy(STEPPED), seed=s, asks=5, n=3) for s in (0, 1)]
    assert [e.candidate for e in runs[0]] == [e.candidate for e in runs[1]]


def test_a_budget_below_the_first_price_ends_at_once() -> None:
    assert everything(Toy(STEPPED), budget=0.5) == []
