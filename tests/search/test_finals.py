"""Round budgets for final configurations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretoprune import load_problem
from paretoprune.search.gradient.finals import below, least, round_budgets
from paretoprune.search.lagrangian import LagrangianSearch
from paretoprune.search.relaxation import adaptive
from paretoprune.study import run_study
from paretoprune.testing.relaxations import ToyPruning


def at_price(low, high, affordable, most=99):
    return round_budgets(low, high, price=float, affordable=affordable, most=most).tolist()


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


def test_below_takes_the_dearest_that_fits_and_each_once():
    prices = np.array([0.12, 0.3, 0.21, 0.199, 0.5])
    assert below(prices, np.array([0.1, 0.2, 0.22, 0.25, 0.5])).tolist() == [0, 3, 2, 4]


def test_least_takes_what_loses_least_between_a_budget_and_the_one_before():
    compute = np.array([0.1, 0.15, 0.21, 0.25, 0.4])
    lost = np.array([0.5, 0.6, 0.4, 0.3, 0.1])
    assert least(compute, lost, np.array([0.2, 0.3, 0.35, 0.4])).tolist() == [0, 3, 4]
    assert least(compute, lost, np.array([0.05])).tolist() == [0]  # nothing fits: the cheapest


def test_what_a_search_returns_fills_round_budgets_from_below():
    search = LagrangianSearch(knots=4, batch=16, inner_steps=4)
    result = run_study(ToyPruning(step_cost=0.05), search, budget=80.0)
    found = sorted(e.objectives["compute"] for e in result.evaluations)
    assert len(search._offers) == len(found) > 10
    short = search._offers - np.array(found)
    assert short.min() >= -1e-9  # none above its budget
    assert short.max() < 0.02


def test_rounded_compute_is_what_the_evaluation_reports():
    problem = load_problem("mini-llava", search_size=8, heldout_size=0)
    relaxed = adaptive(problem)
    candidate = relaxed.candidate(np.linspace(1.0, 0.2, relaxed.layers))
    told = problem.evaluate([candidate])[0].objectives["compute"]
    assert relaxed.rounded_compute(candidate) == pytest.approx(told, abs=1e-12)
