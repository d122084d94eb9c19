"""Budgets of final candidates."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretoprune import load_problem
from paretoprune.core.study import run_study
from paretoprune.search.gradient.budgets import (
    BETWEEN_STEP,
    PredictedFront,
    best_in_interval,
    best_within,
    fine_budgets,
    largest_within,
    round_budgets,
    select_budgets,
)
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.gradient.relaxation import adaptive
from paretoprune.testing.relaxations import ToyPruning


def at_price(low, high, affordable, most=99):
    return round_budgets(low, high, price=float, affordable=affordable, max_count=most).tolist()


def test_all_multiples_then_those_between_from_the_cheapest_on():
    assert at_price(0.14, 0.31, 0.91) == pytest.approx([0.15, 0.2, 0.25, 0.3])
    assert at_price(0.14, 0.31, 1.1) == pytest.approx([0.15, 0.175, 0.2, 0.25, 0.3])
    assert at_price(0.14, 0.31, 99, most=6) == pytest.approx([0.15, 0.175, 0.2, 0.225, 0.25, 0.3])


def test_where_not_all_can_be_paid_they_are_close_where_the_front_is_steep():
    found = at_price(0.02, 1.0, 5.0)
    steps = np.diff(found)
    assert steps[:3].max() < 0.5 * steps[-3:].min()
    assert at_price(0.1, 0.5, 99, most=2) == pytest.approx([0.1, 0.35])


def test_one_alone_is_rather_a_cheap_one():
    assert at_price(0.1, 0.5, 0.29) == pytest.approx([0.2])
    assert at_price(0.1, 0.5, 0.15) == pytest.approx([0.2])  # one, whatever it costs


def test_a_narrow_range_has_its_low_end():
    assert at_price(0.51, 0.54, 9) == [0.51]


@given(
    low=st.floats(0.02, 0.6), width=st.floats(0.06, 0.4), affordable=st.floats(0.05, 20.0),
    most=st.integers(1, 40),
)  # fmt: skip
def test_invariants(low, width, affordable, most):
    found = at_price(low, low + width, affordable, most)
    assert 1 <= len(found) <= most
    assert found == sorted(set(found))
    assert low - 1e-9 <= found[0] and found[-1] <= low + width + 1e-9
    assert len(found) == 1 or sum(found) <= affordable + 1e-9


def test_largest_within_takes_the_most_expensive_that_fits_and_each_once():
    prices = np.array([0.12, 0.3, 0.21, 0.199, 0.5])
    assert largest_within(prices, np.array([0.1, 0.2, 0.22, 0.25, 0.5])).tolist() == [0, 3, 2, 4]


def test_best_in_interval_takes_the_least_loss_between_a_budget_and_the_one_before():
    compute = np.array([0.1, 0.15, 0.21, 0.25, 0.4])
    lost = np.array([0.5, 0.6, 0.4, 0.3, 0.1])
    assert best_in_interval(compute, lost, np.array([0.2, 0.3, 0.35, 0.4])).tolist() == [0, 3, 4]
    nothing = best_in_interval(compute, lost, np.array([0.05]))
    assert nothing.tolist() == [0]  # nothing fits: the cheapest


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1.5, 6.0, 80.0])
def test_what_a_search_returns_fills_round_budgets_from_below(budget):
    search = LagrangianSearch(grid_points=4, batch=16, inner_steps=4)
    result = run_study(ToyPruning(step_cost=0.05), search, budget=budget)
    found = sorted(e.objectives["compute"] for e in result.evaluations)
    short = np.ceil(np.array(found) / BETWEEN_STEP - 1e-9) * BETWEEN_STEP - np.array(found)
    assert short.max() < 0.02
    assert len(set(np.round((found + short) / BETWEEN_STEP))) == len(found)  # a budget each
    if budget < 80:  # whatever it pays for is evaluated
        assert budget - result.spent < 0.2 + max(found)
    else:
        assert len(found) > 10


@pytest.mark.slow
def test_what_a_search_that_tried_starts_returns_stays_below_percents_and_uses_up_the_budget():
    problem = load_problem("mini-llava", search_size=64, heldout_size=0)
    search = LagrangianSearch(inner_steps=2)
    result = run_study(problem, search, budget=12.0)
    finals = [e for e in result.evaluations if e.complete]
    compute = np.array([e.objectives["compute"] for e in finals])
    assert (np.diff(compute) > 0).all() and len(finals) > 8
    for planned in search._planned:  # each has something of its own
        assert ((compute <= planned + 1e-9) & (compute > planned - 0.1)).any()
    assert 12.0 - result.spent < max(e.cost for e in finals)
    cheap = sum(e.objectives["compute"] < 0.4 for e in finals)
    assert cheap > 0.6 * len(finals)


def test_rounded_compute_is_what_the_evaluation_reports():
    problem = load_problem("mini-llava", search_size=8, heldout_size=0)
    relaxed = adaptive(problem)
    candidate = relaxed.candidate(np.linspace(1.0, 0.2, relaxed.layers))
    told = problem.evaluate([candidate])[0].objectives["compute"]
    assert relaxed.rounded_compute(candidate) == pytest.approx(told, abs=1e-12)


def area(budgets, lost, chosen):
    """What is lost, counted out: half of all ask for anything, half for a multiple of 0.05."""

    def within(budget):
        fitting = [lost[i] for i in chosen if budgets[i] <= budget + 1e-9]
        return fitting[-1] if fitting else 1.0

    starts = [0.0, *budgets[chosen]]
    anything = sum(
        within(low) * (high - low)
        for low, high in zip(starts, [*budgets[chosen], 1.0], strict=True)
    )
    return (anything + np.mean([within(budget) for budget in np.arange(1, 21) / 20])) / 2


def bought(budgets, lost, affordable, most=99, planned=()):
    places = np.isin(np.arange(len(budgets)), planned)
    return select_budgets(
        PredictedFront(budgets, lost), budgets, places, affordable=affordable, max_count=most
    )


@given(data=st.data(), affordable=st.floats(0.1, 3.0), most=st.integers(1, 8))
def test_no_staircase_of_the_same_cost_loses_less(data, affordable, most):
    count = data.draw(st.integers(1, 8))
    budgets = np.sort(data.draw(arrays(float, count, elements=st.floats(0.05, 0.95), unique=True)))
    lost = np.sort(data.draw(arrays(float, count, elements=st.floats(0.0, 1.0))))[::-1]
    planned = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    found = bought(budgets, lost, affordable, most, sorted(planned))
    places = np.searchsorted(budgets, found)
    cost = budgets[places].sum()
    assert planned <= set(places)
    assert (cost <= affordable + 1e-9 and len(found) <= most) or set(places) == planned
    for size in range(1, count + 1):
        for other in map(list, itertools.combinations(range(count), size)):
            if planned <= set(other) and budgets[other].sum() <= cost:
                assert area(budgets, lost, places) <= area(budgets, lost, other) + 1e-9


def test_what_is_added_lies_where_the_front_is_steep():
    planned = np.array([0.2, 0.5, 0.8])
    budgets = fine_budgets(0.1, 0.9, planned)
    lost = np.where(budgets < 0.3, 1 - 4 * (budgets - 0.1), 0.2 - (budgets - 0.3) / 10)
    found = bought(budgets, lost, 5.0, planned=np.searchsorted(budgets, planned))
    assert 4.5 < found.sum() <= 5.0
    assert np.isin(planned, found).all()
    assert np.diff(found[found < 0.3]).max() < 0.3 * np.diff(found[found > 0.29]).min()


def test_what_people_ask_for_counts_more_than_what_is_a_little_better():
    budgets, lost = np.array([0.1, 0.2, 0.21]), np.array([0.9, 0.31, 0.3])
    prices, planned = np.ones(3), np.array([True, False, False])
    found = select_budgets(
        PredictedFront(budgets, lost), prices, planned, affordable=2.0, max_count=99
    )
    assert found.tolist() == [0.1, 0.2]  # by area alone it would be 0.21: 0.6 x 0.79 > 0.59 x 0.8


def test_to_a_flat_front_nothing_is_added_but_what_is_cheaper():
    budgets = fine_budgets(0.1, 0.9, np.array([0.5]))
    assert bought(budgets, np.full(len(budgets), 0.4), 99.0, planned=[40]).tolist() == [0.1, 0.5]


def test_best_within_is_the_least_of_what_fits():
    compute, lost = np.array([0.3, 0.1, 0.2]), np.array([0.2, 0.5, 0.6])
    found = best_within(compute, lost, np.array([0.05, 0.1, 0.25, 0.3]))
    assert found.tolist() == [np.inf, 0.5, 0.5, 0.2]


def test_fine_budgets_are_percents_and_what_is_planned():
    found = fine_budgets(0.5, 0.52, np.array([0.51 + 1e-12, 0.525]))
    assert found.tolist() == [0.5, 0.51, 0.52, 0.525]
    assert fine_budgets(0.511, 0.514, np.array([0.511])).tolist() == [0.511]
