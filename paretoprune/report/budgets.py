"""Mean budgets of adaptive policies: target and achieved compute on held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretoprune.comparison.results import FrontPoint, Summary
from paretoprune.report import display
from paretoprune.report.table import Column, Table

BUDGET, COMPUTE = "budget", "compute"
CLEARLY = 2.0
"""Standard errors above its budget from which on a policy is said to exceed it."""


@dataclass(frozen=True)
class KeptBudget:
    """A policy's target and achieved relative compute u, a mean over samples with its error."""

    point: FrontPoint
    target: float
    achieved: float
    error: float

    @property
    def over(self) -> float:
        """Achieved minus target: above 0 it exceeds the budget."""
        return self.achieved - self.target


def kept_budgets(points: Sequence[FrontPoint]) -> list[KeptBudget]:
    """Of all policies with a budget, cheapest first; held-out where that was evaluated."""
    budgets = []
    for point in points:
        values = point.search if point.heldout is None else point.heldout
        errors = point.search_error if point.heldout is None else point.heldout_error
        if point.policy is None or BUDGET not in point.metrics or COMPUTE not in values:
            continue
        target, error = point.metrics[BUDGET], errors.get(COMPUTE, 0.0)
        budgets.append(KeptBudget(point, target, values[COMPUTE], error))
    return sorted(budgets, key=lambda kept: (kept.target, kept.achieved))


def budget_sentences(summary: Summary) -> list[str]:
    """One sentence per strategy with policies on its fronts."""
    by_label: dict[str, list[KeptBudget]] = {point.label: [] for point in summary.front}
    for budget in kept_budgets(summary.front):
        by_label[budget.point.label].append(budget)
    data = "held-out" if any(p.heldout is not None for p in summary.front) else "search"
    return [_sentence(label, budgets, data) for label, budgets in by_label.items() if budgets]


def _sentence(label: str, kept: Sequence[KeptBudget], data: str) -> str:
    over = np.array([k.over for k in kept])
    clearly = sum(k.over > CLEARLY * k.error for k in kept)
    spread = np.mean([k.point.metrics["compute_spread"] for k in kept])
    deciding = max(k.point.metrics["deciding"] for k in kept)
    above = "none is" if not clearly else f"{clearly} {'is' if clearly == 1 else 'are'}"
    policies = display.counted(len(kept), "policy", "policies")
    return (
        f"Mean budgets of {display.plain(label)}, {policies} on {data} samples: achieved "
        f"minus target {over.mean():+.3f} on average, {over.min():+.3f} to {over.max():+.3f}; "
        f"{above} above its target by more than two standard errors. Single samples spread by "
        f"{spread:.3f}; deciding costs {100 * deciding:.2g} % of dense at most."
    )


def budgets_table(budgets: Sequence[KeptBudget]) -> Table:
    """Target, achieved and spread of every policy."""
    achieved = [
        display.with_error({COMPUTE: k.achieved}, {COMPUTE: k.error}, COMPUTE) for k in budgets
    ]

    def metric(name: str) -> list[str]:
        return [display.number(k.point.metrics[name]) for k in budgets]

    deciding = [f"{100 * k.point.metrics['deciding']:.2g}" for k in budgets]
    return Table(
        "Mean budgets",
        [
            Column("strategy", [display.plain(k.point.label) for k in budgets], "wide"),
            Column("seed", [str(k.point.seed) for k in budgets]),
            Column("target", metric(BUDGET), meaning="mean relative compute"),
            Column("achieved", achieved),
            Column("over", [f"{k.over:+.3f}" for k in budgets], meaning="achieved minus target"),
            Column(
                "spread", metric("compute_spread"), meaning="standard deviation of single samples"
            ),
            Column("lowest sample", metric("compute_lowest")),
            Column("highest sample", metric("compute_highest")),
            Column("deciding", deciding, unit="% of dense"),
        ],
    )
