"""Where knots start: every drop that meets a budget, the best of those that were tried."""

import numpy as np
import pytest

from paretoprune.errors import UnknownNameError
from paretoprune.problem import Evaluation
from paretoprune.search.base import SearchContext
from paretoprune.search.gradient.starts import best, drops, probes_of, spread_drops, told
from paretoprune.search.lagrangian import LagrangianSearch
from paretoprune.study import run_study
from paretoprune.testing.relaxations import WEIGHTS, ToyPruning

BUDGETS = np.array([0.4, 0.7])


class Shared(ToyPruning):
    """The toy, which may be evaluated on a share of its samples at that share of the price."""

    has_shares = True

    def price(self, candidate):
        return candidate.share


def lost(ratios):
    return float((WEIGHTS * (1 - np.asarray(ratios)) ** 2).sum())


def test_every_start_meets_its_budget_with_one_drop():
    relaxed = ToyPruning().relaxation()
    for budget in BUDGETS:
        rows = list(drops(relaxed, budget))
        assert rows
        for row in rows:
            assert row.mean() == pytest.approx(budget, abs=1e-9)  # the toy's compute
            assert len(set(np.round(row, 9))) == 2
            assert (np.diff(row) <= 0).all()
    # at 0.7 the drop may come before any of layers 1 and 2; before layer 3 no ratio is low enough
    assert len(list(drops(relaxed, 0.7))) == 2
    assert list(drops(relaxed, 0.2)) == []


def test_spread_drops_are_valid_distinct_and_below_the_bound():
    relaxed = ToyPruning().relaxation()
    rows = np.stack(list(spread_drops(relaxed, 0.7, 30)))
    assert len(np.unique(rows, axis=0)) == len(rows) == 30
    assert (np.diff(rows, axis=1) <= 0).all()
    assert (rows[:, 0] == 1).all()
    assert rows.mean(1).max() <= 0.7
    assert ((np.diff(rows, axis=1) < 0).sum(1) <= 2).all()
    assert np.array_equal(np.stack(list(spread_drops(relaxed, 0.7, 10))), rows[:10])
    away = [np.abs(rows[i] - rows[:i]).max(1).min() for i in range(1, 10)]
    assert min(away) > 0.1  # ninths apart would be neighbours


def test_the_best_is_the_one_that_loses_least_and_failures_never_win():
    relaxed = ToyPruning().relaxation()
    probes = probes_of(relaxed, BUDGETS, 0.5)
    assert {p.candidate.share for p in probes} == {0.5}
    constant = np.stack([relaxed.constant(b) for b in BUDGETS])
    assert (best(relaxed, probes, BUDGETS, constant) == constant).all()  # nothing is known yet
    for probe in probes:
        failed = probe is probes[0]
        evaluation = (
            Evaluation(probe.candidate, {}, cost=1.0, failure="on purpose")
            if failed
            else Evaluation(
                probe.candidate, {"score": 0.5}, cost=1.0,
                metrics={"lost_to_dense": lost(probe.ratios)},
            )
        )  # fmt: skip
        told(probe, evaluation, "retention")
    start = best(relaxed, probes, BUDGETS, constant)
    for knot, budget in enumerate(BUDGETS):
        fitting = [p for p in probes[1:] if p.ratios.mean() <= budget + 1e-6]  # the toy's compute
        if fitting:
            assert lost(start[knot]) == min(lost(p.ratios) for p in fitting)
        else:
            assert (start[knot] == constant[knot]).all()
    far = np.append(BUDGETS, 0.999)
    above = np.vstack([constant, relaxed.constant(0.999)])
    assert (best(relaxed, probes, far, above)[-1] == above[-1]).all()  # nothing near was tried


def test_many_starts_are_spread_and_few_are_drops_at_fewer_knots():
    search = LagrangianSearch(batch=8, inner_steps=2, start_samples=8, most_finals=4)
    search.start(Shared(step_cost=0.5), SearchContext(seed=0, budget=1000.0))
    assert len(search.knots) == 16 and len(search._probes) >= 48
    assert any(len(set(p.ratios)) == 3 for p in search._probes)  # two drops
    search.start(Shared(step_cost=0.5), SearchContext(seed=0, budget=60.0))
    assert len(search.knots) == 5 and 0 < len(search._probes) < 48
    assert all(len(set(np.round(p.ratios, 9))) == 2 for p in search._probes)


def test_a_search_tries_starts_first_pays_for_them_and_begins_at_the_best():
    search = LagrangianSearch(knots=3, batch=8, inner_steps=2, start_samples=8, most_finals=4)
    problem = Shared(step_cost=0.5)
    result = run_study(problem, search, budget=60.0)
    tried = [e for e in result.evaluations if e.candidate.share < 1]
    assert tried
    assert tried == result.evaluations[: len(tried)]
    assert {e.candidate.share for e in tried} == {0.5}  # 8 of 16 samples
    assert result.spent_at[len(tried) - 1] == pytest.approx(0.5 * len(tried))
    assert result.spent <= 60.0 + 1e-9
    assert all(p.lost is not None for p in search._probes)


@pytest.mark.parametrize(
    ("options", "budget"), [({"start": "constant"}, 60.0), ({}, 3.0)], ids=["asked", "too dear"]
)
def test_otherwise_it_starts_constant(options, budget):
    search = LagrangianSearch(knots=3, batch=8, inner_steps=2, most_finals=2, **options)
    search.start(Shared(), SearchContext(seed=0, budget=budget))
    assert search._probes == []


def test_a_restored_search_knows_what_was_tried():
    options = {"knots": 3, "batch": 8, "inner_steps": 2, "most_finals": 4}
    search = LagrangianSearch(**options)
    run_study(Shared(step_cost=0.5), search, budget=60.0)
    again = LagrangianSearch(**options)
    again.start(Shared(step_cost=0.5), SearchContext(seed=0, budget=60.0))
    again.restore(search.state())
    assert [p.lost for p in again._probes] == [p.lost for p in search._probes]
    assert again.x.equal(search.x)


def test_a_start_of_another_name_is_refused():
    with pytest.raises(UnknownNameError, match="start 'drop'"):
        LagrangianSearch(start="drop")
