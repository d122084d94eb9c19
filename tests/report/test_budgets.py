"""Mean budgets of policies: what is aimed at against what held-out data say."""

import pytest

from paretoprune.comparison.results import FrontPoint
from paretoprune.report.budgets import budget_sentences, kept_budgets
from paretoprune.report.html import render_html

METRICS = {
    "compute_spread": 0.1, "compute_lowest": 0.2, "compute_highest": 0.9, "deciding": 0.00004,
}  # fmt: skip


def policy(target, achieved, error=0.01, *, label="adaptive", heldout=True, **metrics):
    """A policy's point; on the search split it meets its budget exactly."""
    on = {"score": 0.8, "compute": target}
    return FrontPoint(
        label=label, seed=0, trial=1, space="policy", knobs={"budget": target}, keep=[1.0],
        policy="abc", search=on, search_error={"compute": 0.005},
        heldout={**on, "compute": achieved} if heldout else None,
        heldout_error={"compute": error} if heldout else {},
        metrics={"budget": target, **METRICS, **metrics}, on_union=True,
    )  # fmt: skip


def with_front(summary, points):
    return summary.model_copy(update={"front": points})


def test_held_out_means_are_set_against_targets_cheapest_first(summary):
    kept = kept_budgets([policy(0.5, 0.49), policy(0.3, 0.33), *summary.front])
    assert [(k.target, k.achieved) for k in kept] == [(0.3, 0.33), (0.5, 0.49)]
    assert [k.over for k in kept] == pytest.approx([0.03, -0.01])
    (seen,) = kept_budgets([policy(0.3, 0.9, heldout=False)])
    assert (seen.achieved, seen.error) == (0.3, 0.005)


def test_only_what_is_clearly_too_dear_is_called_so(summary):
    """One and three standard errors above, one below."""
    front = [policy(0.3, 0.31), policy(0.4, 0.43), policy(0.5, 0.45)]
    (told,) = budget_sentences(with_front(summary, front))
    assert "3 policies on held-out samples: achieved minus target -0.003 on average" in told
    assert "-0.050 to +0.030; 1 is above its target by more than two standard errors" in told
    assert "spread by 0.100; deciding costs 0.004 % of dense" in told
    (told,) = budget_sentences(with_front(summary, front[:1]))
    assert "1 policy on" in told
    assert "none is above" in told


def test_each_strategy_is_told_of_by_itself_and_schedules_never(summary):
    assert budget_sentences(summary) == []
    assert kept_budgets(summary.front) == []
    nameless = policy(0.3, 0.3, label="autoprune")
    del nameless.metrics["budget"]
    front = [policy(0.3, 0.3), policy(0.3, 0.5, label="vispco"), nameless]
    told = budget_sentences(with_front(summary, front))
    assert [text.split(",")[0] for text in told] == [
        "Mean budgets of adaptive", "Mean budgets of vispco",
    ]  # fmt: skip


def test_the_page_has_them_escaped(summary):
    front = [policy(0.3, 0.31, label="<script>alert(1)</script>"), policy(0.5, 0.52)]
    page = render_html(with_front(summary, front))
    assert "Mean budgets of policies" in page
    assert "0.310 ±0.010" in page
    assert "+0.020" in page
    assert "<script>alert(1)" not in page
    assert "Mean budgets of policies" not in render_html(summary)
