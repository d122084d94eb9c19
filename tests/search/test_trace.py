"""What a gradient search says of itself: curves, and warnings with their causes."""

import pytest

from paretoprune.core.study import run_study
from paretoprune.core.trace import Round, SearchTrace, causes
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.gradient.vispco import Vispco
from paretoprune.testing.relaxations import ToyPruning


def trace(constraint=(0.0, 0.0), kept=(0.2, 0.6), multiplier=(1.0, 1.0), **changed):
    rounds = tuple(Round(float(i), 1.0, constraint, kept, multiplier) for i in range(5))
    fields = {"loss": "kl", "budgets": (0.3, 0.6), "reachable": (0.1, 1.0), "clamp": 20.0}
    return SearchTrace(**(fields | {"rounds": rounds} | changed))


def run(strategy, budget=25.0, **options):
    run_study(ToyPruning(step_cost=0.1), strategy, budget=budget, **options)
    return strategy.trace()


def test_a_healthy_search_has_no_warnings():
    assert causes(trace()) == []
    assert causes(run(LagrangianSearch(max_final_evaluations=4))) == []


def test_rounds_are_those_that_ran_with_their_cost_in_order():
    found = run(LagrangianSearch(max_final_evaluations=4, inner_steps=4, grid_points=3))
    spent = [r.spent for r in found.rounds]
    assert len(spent) > 10
    assert spent == sorted(spent)
    assert all(len(r.constraint) == len(r.multiplier) == len(r.kept) == 3 for r in found.rounds)
    # the toy's compute is the mean ratio, so what is kept follows from the constraint: the first
    # of four layers is dense. A step averages its constraint over the round, hence the tolerance
    for k, budget in enumerate(found.budgets):
        last = found.rounds[-1]
        compute = (1 + 3 * last.kept[k]) / 4
        assert last.constraint[k] == pytest.approx(compute - budget, abs=0.02)


def test_a_round_that_the_budget_cut_short_is_recorded_too():
    strategy = LagrangianSearch(max_final_evaluations=2, inner_steps=1000)
    found = run(strategy, budget=6.0)
    assert len(found.rounds) == 1
    assert found.rounds[0].spent > 1.0


def test_a_budget_below_what_the_kernel_reaches_is_named_with_the_bound():
    (told,) = causes(trace(reachable=(0.4, 1.0)))
    assert told.startswith("budget 0.30 cannot be reached")
    assert "less than 0.40" in told
    (told,) = causes(trace(reachable=(0.1, 0.5)))
    assert "budget 0.60" in told
    assert "more than 0.50" in told


def test_vispco_says_that_its_lowest_budgets_cannot_be_reached():
    found = run(Vispco(kernel="free", max_final_evaluations=2))
    assert found.reachable == (0.25, 1.0)
    assert any("0.01, 0.24 cannot be reached" in told for told in causes(found))


def test_a_multiplier_at_its_clamp_is_named_with_its_budget():
    (told,) = causes(trace(constraint=(0.2, 0.0), multiplier=(20.0, 1.0)))
    assert told.startswith("the multiplier of budget 0.30 sits at its clamp, 20")
    assert causes(trace(multiplier=(20.0, 1.0), clamp=None)) == []


def test_a_clamp_that_is_too_low_is_found_in_a_real_run():
    strategy = LagrangianSearch(max_multiplier=1e-3, sigma=1e-2, max_final_evaluations=2)
    found = causes(run(strategy))
    assert any("sits at its clamp, 0.001" in told for told in found)


def test_a_missed_budget_is_told_with_its_excess():
    (told,) = causes(trace(constraint=(0.3, 0.0), multiplier=(5.0, 1.0)))
    assert "the steps for budget 0.30 ended up to 0.30 above" in told


def test_collapsed_masks_are_told_apart():
    (told,) = causes(trace(kept=(0.2, 1.0)))
    assert "budget 0.60 keep every token" in told
    (told,) = causes(trace(kept=(0.0, 0.5)))
    assert "budget 0.30 drop every token" in told
    # at the lowest reachable budget nothing else is possible
    assert causes(trace(kept=(0.0, 0.5), budgets=(0.12, 0.6))) == []
