"""Initial designs: which are evaluated, and where the grid points start and end."""

import numpy as np
import pytest
import torch

from paretoprune.core.problem import Evaluation
from paretoprune.core.strategy import SearchContext
from paretoprune.core.study import run_study
from paretoprune.errors import InvalidValueError
from paretoprune.search.gradient.coordinates import coordinates_of
from paretoprune.search.gradient.initial_designs import (
    MAX_DESIGNS,
    MIN_DESIGNS,
    InitialDesigns,
    designs_at,
    plan_initial_designs,
    predicted_loss,
    split_budget,
)
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.testing.relaxations import WEIGHTS, ToyPruning

BUDGETS = np.array([0.4, 0.7])


class Shared(ToyPruning):
    """The toy, which may be evaluated on a share of its samples at that share of the price."""

    has_shares = True

    def price(self, candidate):
        return candidate.share


def lost(ratios):
    return (WEIGHTS * (1 - np.asarray(ratios)) ** 2).sum(-1)


def planned(affordable, *, samples_per_design=1.0, min_samples=4, space="free"):
    problem = Shared()
    relaxed = problem.relaxation()
    return plan_initial_designs(
        coordinates_of(relaxed, problem, space), relaxed, problem, max_compute=0.7,
        affordable=affordable, samples_per_design=samples_per_design, min_samples=min_samples,
    )  # fmt: skip


def record(design, evaluation):
    LagrangianSearch()._record(design, evaluation)


def evaluated(probe):
    """As the toy would, but with what is lost in nats as the share that is lost."""
    metrics = {"lost_to_dense": float(lost(probe.ratios))}
    return Evaluation(probe.candidate, {"score": 0.5}, cost=1.0, metrics=metrics)


def test_the_free_spread_has_one_or_two_drops_below_the_bound():
    problem = Shared()
    rows = coordinates_of(problem.relaxation(), problem, "free").spread(0.7).numpy()
    assert len(np.unique(rows, axis=0)) == len(rows) > 80
    assert (np.diff(rows, axis=1) <= 0).all()
    assert (rows[:, 0] == 1).all()
    assert rows.mean(1).max() <= 0.7
    assert ((np.diff(rows, axis=1) < 0).sum(1) <= 2).all()


@pytest.mark.parametrize("space", ["single-step", "linear", "sigmoid"])
def test_the_spread_of_a_kernel_has_schedules_of_it_below_the_bound(space):
    problem = Shared()
    coordinates = coordinates_of(problem.relaxation(), problem, space)
    points = coordinates.spread(0.7)
    assert len(points) > 50
    assert ((points >= 0) & (points <= 1)).all()
    assert float(coordinates.ratios(points).mean(1).max()) <= 0.7  # the toy's compute
    assert {coordinates.candidate(point).space for point in points.numpy()} == {space}


def test_what_is_tried_covers_the_space_and_any_first_part_does():
    starts, fewer = planned(30.0), planned(25.0)
    rows = np.stack([p.ratios for p in starts.evaluated])
    assert len(np.unique(rows, axis=0)) == len(rows) == 30
    assert np.array_equal(np.stack([p.ratios for p in fewer.evaluated]), rows[:25])
    away = [np.abs(rows[i] - rows[:i]).max(1).min() for i in range(1, 10)]
    assert min(away) > 0.1  # ninths apart would be neighbours


@pytest.mark.parametrize(
    ("passes", "samples", "samples_per_design", "tried"),
    [
        (18.0, 200, 1.0, (60, 60)),  # 60 on 60 of 200
        (18.0, 200, 4.0, (30, 120)),
        (18.0, 20000, 1.0, (200, 1800)),
        (18.0, 40, 1.0, (26, 26)),
        (50.0, 16, 1.0, (50, 16)),
        (1000.0, 16, 1.0, (200, 16)),
        (1.0, 200, 1.0, (20, 10)),
    ],
    ids=["equal", "more samples", "most starts", "a small split", "all samples", "all", "fewest"],
)
def test_passes_are_shared_out_between_starts_and_samples(
    passes, samples, samples_per_design, tried
):
    count, on = split_budget(passes, samples, samples_per_design)
    assert (count, on) == tried
    assert count * on <= passes * samples


@pytest.mark.parametrize(
    ("affordable", "tried"),
    [(60.0, (1.0, 60)), (15.0, (0.75, 20)), (5.0, (0.25, 20)), (4.9, None)],
    ids=["all samples", "as many as can be paid", "at least a few", "none"],
)
def test_as_many_are_tried_on_as_many_samples_as_the_budget_allows(affordable, tried):
    starts = planned(affordable)
    if tried is None:
        assert starts is None
        return
    assert (starts.evaluated[0].candidate.share, len(starts.evaluated)) == tried
    assert sum(p.candidate.share for p in starts.evaluated) <= affordable


@pytest.mark.parametrize("budget", [0.3, 1.0, 1.6])
def test_a_budget_that_final_evaluations_use_up_pays_for_no_starts(budget):
    """What was left for starts was below zero, and its square root no number: a traceback."""
    search = LagrangianSearch()
    result = run_study(Shared(step_cost=0.5), search, budget=budget)
    assert search.designs is None
    assert result.spent <= budget
    assert planned(0.0) is planned(-0.5) is None


def test_the_best_start_is_what_should_lose_least_within_the_budget():
    starts = planned(1000.0)
    for number, probe in enumerate(starts.evaluated):
        failed = Evaluation(probe.candidate, {}, cost=1.0, failure="on purpose")
        record(probe, evaluated(probe) if number % 7 else failed)
    assert sum(np.isinf(p.loss) for p in starts.evaluated) == -(-len(starts.evaluated) // 7)
    constant = torch.full((3, 4), 0.123, dtype=torch.float64)
    found = starts.best(np.array([0.2, 0.5, 0.99]), constant)
    assert (found[0] == 0.123).all()  # nothing fits
    assert (found[2] == 0.123).all()  # nothing near was tried
    row = found[1].numpy()
    fitting = starts.ratios[starts.compute <= 0.5 + 1e-6]
    assert row.mean() <= 0.5 + 1e-6
    assert lost(row) <= np.quantile(lost(fitting), 0.01)
    tried = [p for p in starts.evaluated if p.ratios.mean() <= 0.5 + 1e-6]
    assert lost(row) <= min(lost(p.ratios) for p in tried) + 0.02


def test_where_every_design_failed_the_grid_points_stay():
    starts = planned(1000.0)
    for probe in starts.evaluated:
        record(probe, Evaluation(probe.candidate, {}, cost=1.0, failure="on purpose"))
    otherwise = torch.rand(2, 4, dtype=torch.float64)
    assert starts.best(BUDGETS, otherwise).equal(otherwise)
    assert np.isinf(predicted_loss(starts.evaluated, starts.ratios)).all()


def test_points_are_tried_as_they_are_rounded():
    problem = Shared()
    coordinates = coordinates_of(problem.relaxation(), problem, "free")
    (probe,) = designs_at(
        coordinates, torch.tensor([[1.0, 0.804, 0.5, 0.2]], dtype=torch.float64), 2.0
    )
    assert probe.candidate.share == 1.0
    assert problem.rows(probe.candidate)[0].tolist() == [1.0, 0.8, 0.5, 0.2]
    assert probe.ratios.tolist() == pytest.approx([1.0, 0.804, 0.5, 0.2])
    assert isinstance(planned(1000.0), InitialDesigns)


def test_many_grid_points_where_designs_can_be_paid_for_and_few_where_not():
    search = LagrangianSearch(batch=8, inner_steps=2, max_final_evaluations=8)
    search.start(Shared(step_cost=0.5), SearchContext(seed=0, budget=4000.0))
    assert len(search.grid) == 16
    assert len(search._evaluated) == min(MAX_DESIGNS, len(search.designs.points))
    # four finals cost 4.4 with what is kept for them, the teacher 1: 0.6 of the rest is 20 x 9 / 16
    search.start(Shared(step_cost=0.5), SearchContext(seed=0, budget=24.5))
    assert (len(search.grid), len(search._evaluated)) == (16, MIN_DESIGNS)
    assert search._evaluated[0].candidate.share == 0.5625
    search.start(Shared(step_cost=0.5), SearchContext(seed=0, budget=10.0))
    assert len(search.grid) == 5 and search._evaluated == []


def played(budget=32.0, **options):
    search = LagrangianSearch(
        grid_points=3, batch=8, inner_steps=2, max_final_evaluations=8, **options
    )
    return search, run_study(Shared(step_cost=0.5), search, budget=budget)


def test_a_search_tries_starts_first_pays_for_them_and_begins_at_the_best():
    search, result = played()
    count = len(search.designs.evaluated)
    tried = [e for e in result.evaluations if e.candidate.share < 1]
    assert tried[:count] == result.evaluations[:count]
    (share,) = {e.candidate.share for e in tried}
    assert result.spent_at[count - 1] == pytest.approx(share * count)
    assert result.spent <= 32.0 + 1e-9
    assert all(p.loss is not None for p in search._evaluated)


def test_where_the_steps_end_is_tried_on_the_same_samples_before_the_finals():
    search, result = played(budget=45.0, initial_share=0.4)
    count = len(search.designs.evaluated)
    shares = [e.candidate.share for e in result.evaluations]
    assert shares == [shares[0]] * (count + 3) + [1.0] * (len(shares) - count - 3)
    assert shares[0] < 1
    ended = [search.coordinates.candidate(x).values for x in search._averaged().numpy()]
    assert [e.candidate.values for e in result.evaluations[count : count + 3]] == ended
    assert not search._averaged().equal(search.x)  # the mean of the last iterates, not the last one


def test_where_no_step_was_taken_nothing_is_tried_again():
    search, result = played(budget=16.0, initial_share=0.95)
    assert search.designs is not None and not search.history
    assert search._ends == []
    shares = [e.candidate.share for e in result.evaluations]
    assert shares.count(1.0) >= 2 and search.finished
    assert [s for s in shares if s < 1] == [0.5] * MIN_DESIGNS  # starts alone


@pytest.mark.parametrize("budget", [4.0, 32.0, 4000.0])
def test_with_all_for_the_starts_no_step_is_taken(budget):
    search, result = played(budget=budget, initial_share=1.0)
    assert search.history == [] and search.finished
    assert result.spent == pytest.approx(sum(e.cost for e in result.evaluations))
    assert result.spent <= budget + 1e-9
    if budget == 32.0:  # nothing is kept for a teacher's pass or for steps
        tried = sum(e.cost for e in result.evaluations[: len(search.designs.evaluated)])
        assert budget - search._reserve - tried < 1.0


def test_the_share_of_initial_designs_is_in_0_to_1():
    for share in (-0.1, 1.1):
        with pytest.raises(InvalidValueError, match=f"initial_share must be in 0..1, got {share}"):
            LagrangianSearch(initial_share=share)


def test_steps_that_only_lose_are_not_returned():
    """Where steps went uphill, what is returned is what the starts promise."""
    search = LagrangianSearch(
        grid_points=5, batch=8, inner_steps=2, max_final_evaluations=12, max_multiplier=1e-9,
    )  # fmt: skip
    descend = search._descend
    search._descend = lambda x, direction: descend(x, -direction)
    result = run_study(Shared(step_cost=0.5), search, budget=40.0)
    starts = search.designs
    begun = starts.best(search.grid.budgets, search._averaged())
    assert lost(search._averaged().numpy()).mean() > 1.2 * lost(begun.numpy()).mean()
    returned = [e for e in result.evaluations if e.candidate.share == 1]
    assert len(returned) > 2
    for evaluation in returned:
        row = np.array(evaluation.candidate.relaxed["keep"])
        fitting = starts.ratios[starts.compute <= row.mean() + 1e-9]
        assert lost(row) <= lost(fitting).min() + 0.05


@pytest.mark.parametrize(
    ("options", "budget"), [({"initial_share": 0}, 60.0), ({}, 3.0)], ids=["asked", "too dear"]
)
def test_otherwise_it_starts_constant(options, budget):
    search = LagrangianSearch(
        grid_points=3, batch=8, inner_steps=2, max_final_evaluations=2, **options
    )
    search.start(Shared(), SearchContext(seed=0, budget=budget))
    assert search._evaluated == []


def test_a_restored_search_knows_what_was_tried():
    search, _ = played()
    again = LagrangianSearch(grid_points=3, batch=8, inner_steps=2, max_final_evaluations=8)
    again.start(Shared(step_cost=0.5), SearchContext(seed=0, budget=32.0))
    again.restore(search.state())
    assert len(again._evaluated) == len(again.designs.evaluated) + 3
    assert [p.loss for p in again._evaluated] == [p.loss for p in search._evaluated]
    assert [p.candidate for p in again._evaluated] == [p.candidate for p in search._evaluated]
    assert again.x.equal(search.x)
