"""Clusters of questions, and the best schedules of each at a mean budget."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from paretoprune.compression.load import load_problem
from paretoprune.core.strategy import SearchContext
from paretoprune.core.study import run_study
from paretoprune.search.gradient.adaptive import AdaptiveSearch
from paretoprune.search.gradient.budgets import BudgetGrid
from paretoprune.search.gradient.clusters import (
    PRIOR_SAMPLES,
    best_per_cluster,
    cluster_questions,
    means_per_cluster,
)
from paretoprune.search.specs import StrategySpec
from paretoprune.testing.relaxations import ToyPruning


class Told(ToyPruning):
    """The toy, with samples of which half keep their answer only where little is dropped."""

    has_shares = True

    def evaluate(self, candidates):
        found = super().evaluate(candidates)
        needed = np.where(np.arange(16) % 2 == 0, 0.3, 0.8)
        for evaluation in found:
            rows = self.rows(evaluation.candidate)
            asked = self.relaxation().part(evaluation.candidate.share)
            outcomes = (rows.mean(1) >= needed)[asked].astype(np.float32)
            object.__setattr__(evaluation, "outcomes", outcomes)
        return found


def test_clusters_are_found_and_the_spread_is_that_within_them():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    truth = np.repeat([0, 1, 2], 40)
    questions = centres[truth] + 0.3 * rng.standard_normal((120, 2))
    clusters = cluster_questions(questions, 3, seed=1)
    assert len({(a, b) for a, b in zip(clusters.labels, truth, strict=True)}) == 3
    assert clusters.variance == pytest.approx(0.09, rel=0.3)
    assert clusters.flops > 0
    again = cluster_questions(questions, 3, seed=1)
    assert np.array_equal(again.labels, clusters.labels)


def test_there_are_no_more_clusters_than_samples_or_distinct_questions_allow():
    rng = np.random.default_rng(0)
    assert len(cluster_questions(rng.standard_normal((40, 3)), 8, seed=0).centres) == 2  # 16 each
    assert len(cluster_questions(np.zeros((200, 3)), 8, seed=0).centres) == 1
    assert cluster_questions(np.zeros((200, 3)), 8, seed=0).variance > 0


def test_choices_are_on_the_lagrangian_hull_and_keep_the_budget():
    """No other choice of the same mean compute or less has a higher mean score."""
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [30, 50, 20])
    compute = np.repeat(np.array([0.1, 0.3, 0.6, 1.0])[:, None], 100, axis=1)
    scores = rng.random((4, 100)) < np.array([0.2, 0.5, 0.8, 1.0])[:, None] ** (1 + labels)
    scores = scores.astype(float)
    budgets = np.array([0.1, 0.35, 0.6, 1.0])
    mean = means_per_cluster(scores, labels, 3)
    chosen = best_per_cluster(mean, compute, labels, budgets)
    share = np.bincount(labels) / 100
    for k, budget in enumerate(budgets):
        spent = share @ compute[chosen[:, k], 0]
        assert spent <= budget + 1e-9
        score = share @ mean[np.arange(3), chosen[:, k]]
        for other in itertools.product(range(4), repeat=3):
            if share @ compute[list(other), 0] <= spent + 1e-9:
                assert share @ mean[np.arange(3), list(other)] <= score + 1e-6


def test_means_of_few_samples_are_drawn_towards_those_of_all():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [30, 70])
    scores = rng.random((4, 100))
    means = means_per_cluster(scores, labels, 3)
    for kind, count in enumerate((30, 70)):
        own, trust = scores[:, labels == kind].mean(1), count / (count + PRIOR_SAMPLES)
        assert means[kind] == pytest.approx(trust * own + (1 - trust) * scores.mean(1))
    assert means[2] == pytest.approx(scores.mean(1))  # none of its samples was tried


def test_a_budget_that_nothing_fits_takes_the_cheapest():
    compute = np.array([[0.5] * 4, [0.9] * 4])
    means = np.array([[0.0, 1.0]])
    chosen = best_per_cluster(means, compute, np.zeros(4, dtype=int), np.array([0.1]))
    assert chosen.tolist() == [[0]]


def test_every_cluster_starts_from_what_it_needs_and_designs_are_paid_for():
    problem = Told(step_cost=0.5, factors=(0.1, 3.0))
    search = AdaptiveSearch(
        clusters=2, grid_points=4, batch=8, inner_steps=2, max_final_evaluations=3
    )
    search.start(problem, SearchContext(seed=0, budget=120.0))
    # twice as many samples as starts would be more than all 16
    assert len(search._evaluated) == 42
    assert {p.candidate.share for p in search._evaluated} == {1.0}
    assert search.policy.clusters == 1  # 16 samples are too few for two clusters
    result = run_study(problem, search, budget=120.0)
    tried = [e for e in result.evaluations if e.candidate.policy is None]
    assert len(tried) == 42
    assert result.spent_at[len(tried) - 1] == pytest.approx(float(len(tried)))
    assert search.history
    assert search.trace().rounds[-1].kept


def test_the_more_can_be_paid_the_more_samples_designs_are_tried_on(monkeypatch):
    monkeypatch.setattr(Told, "price", lambda _, candidate: candidate.share)
    tried = []
    for budget in (200.0, 40.0, 20.0):
        search = AdaptiveSearch(clusters=2, grid_points=4)
        search.start(Told(), SearchContext(seed=0, budget=budget))
        tried.append([(p.candidate.share, len(search._evaluated)) for p in search._evaluated[:1]])
    # 0.35 of the budget pays for 14 passes, then 7: 20 starts on 11 samples, then on 5: too few
    assert tried == [[(1.0, 70)], [(0.6875, 20)], []]


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "per_design"), [("gradient", 1), ("adaptive", 2)])
def test_clusters_have_twice_as_many_samples_per_design_as_a_static_search(strategy, per_design):
    problem = load_problem("mini-llava", search_size=120, heldout_size=0)
    search = StrategySpec.parse(strategy).build()
    search.start(problem, SearchContext(seed=0, budget=30.0))
    samples = 120 * search._evaluated[0].candidate.share
    assert len(search._evaluated) > 30
    assert samples / len(search._evaluated) == pytest.approx(per_design, rel=0.1)


@pytest.mark.parametrize(
    ("loss", "told", "kept"),
    [("retention", True, "retained"), ("kl", True, "outcomes"), ("retention", False, "outcomes")],
)
def test_designs_are_judged_by_what_is_retained_where_that_is_minimised_and_known(loss, told, kept):
    problem = Told(step_cost=0.5)
    search = AdaptiveSearch(clusters=2, grid_points=4, loss=loss)
    search.start(problem, SearchContext(seed=0, budget=200.0))
    found = problem.evaluate(search.ask(3))
    rng = np.random.default_rng(0)
    given = [replace(e, retained=rng.random(16, dtype=np.float32) if told else None) for e in found]
    search.tell(given)
    for probe, evaluation in zip(search._evaluated[:3], given, strict=True):
        assert probe.retained.tolist() == getattr(evaluation, kept).tolist()
    assert search._evaluated[3].retained is None


def test_a_search_killed_amid_its_designs_knows_what_was_tried():
    def played(stop):
        search = AdaptiveSearch(grid_points=4, batch=8, inner_steps=2, max_final_evaluations=3)
        problem, context = Told(step_cost=0.5), SearchContext(seed=0, budget=120.0)
        search.start(problem, context)
        for _ in range(stop):
            context.asks += 1
            search.tell(problem.evaluate(search.ask(2)))
        return search

    half = played(2)
    again = AdaptiveSearch(grid_points=4, batch=8, inner_steps=2, max_final_evaluations=3)
    again.start(Told(step_cost=0.5), SearchContext(seed=0, budget=120.0))
    again.restore(half.state())
    known = [None if p.retained is None else p.retained.tolist() for p in half._evaluated]
    assert sum(k is not None for k in known) == 4
    assert [None if p.retained is None else p.retained.tolist() for p in again._evaluated] == known


@pytest.mark.parametrize(("options", "budget"), [({"clusters": 1}, 120.0), ({}, 50.0)])
def test_otherwise_there_is_one_constant_start(options, budget):
    search = AdaptiveSearch(**options)
    search.start(Told(), SearchContext(seed=0, budget=budget))
    assert list(search._evaluated) == []
    assert search.policy.clusters == 1


def test_grid_points_are_denser_at_low_budgets_and_weights_follow():
    grid = BudgetGrid.within(0.1, 0.9, 5, exponent=2.0)
    assert grid.budgets.tolist() == pytest.approx([0.1, 0.15, 0.3, 0.55, 0.9])
    assert grid.even(9)[::2].tolist() == pytest.approx(grid.budgets.tolist())
    weights = grid.weights(np.array([0.0, 0.225, 0.9, 1.0]))
    assert weights.tolist() == pytest.approx(
        np.array([[1, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]])
    )
    drawn = grid.draw(64, np.random.default_rng(0))
    assert ((drawn < 0.3).sum(), (drawn >= 0.3).sum()) == (32, 32)


def test_a_search_killed_amid_its_final_candidates_offers_the_same_ones():
    """What is left of the budget chose them, and less is left by then."""

    def started(spent):
        search = AdaptiveSearch(grid_points=4, batch=8, inner_steps=2, max_final_evaluations=20)
        problem, context = Told(step_cost=4.0), SearchContext(seed=0, budget=120.0)
        search.start(problem, context)
        context.spent = spent
        return search, problem, context

    search, problem, context = started(0.0)
    while search._finals is None:
        context.asks += 1
        for evaluation in problem.evaluate(found := search.ask(2)):
            context.charge(evaluation.cost)
            search.tell([evaluation])
    context.charge(problem.price(found[0]))
    again, *_ = started(context.spent)
    again.restore(search.state())
    assert [c.policy.settings for c in search.ask(9)] == [c.policy.settings for c in again.ask(9)]
    assert len(search._finals) > len(search._planned)


def test_policies_that_reach_no_planned_budget_are_still_offered_once():
    """Masks may collapse to the cheapest schedule, below the lowest grid point."""
    search = AdaptiveSearch(grid_points=4, batch=8, inner_steps=2, max_final_evaluations=20)
    problem = Told(step_cost=4.0)
    search.start(problem, SearchContext(seed=0, budget=120.0))
    while any(p.retained is None for p in search._evaluated):
        search.tell(problem.evaluate(search.ask(8)))
    front = search._predicted_front([0.01, 0.02])
    assert front.budgets.tolist() == [search._planned[0]]
    assert search._final_budgets(front).tolist() == front.budgets.tolist()
