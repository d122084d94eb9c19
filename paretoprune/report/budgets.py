"""Whether adaptive policies keep the mean budgets that they aim at, on data they did not see."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretoprune.comparison.results import FrontPoint, Summary
from paretoprune.report import words
from paretoprune.report.blocks import Head, section, table

BUDGET, COMPUTE = "budget", "compute"
CLEARLY = 2.0
"""Standard errors above its budget from which on a policy is said to exceed it."""


@dataclass(frozen=True)
class KeptBudget:
    """What a policy aims at and reaches: relative compute u, mean over samples with its error.

    `spread` is the standard deviation of single samples' compute, from `lowest` to `highest`;
    `deciding` is what the policy itself costs, as a share of the dense model's compute.
    """

    label: str
    seed: int
    target: float
    achieved: float
    error: float
    spread: float
    lowest: float
    highest: float
    deciding: float

    @property
    def over(self) -> float:
        """Achieved minus target: above 0 it costs more than was asked for."""
        return self.achieved - self.target


def kept_budgets(points: Sequence[FrontPoint]) -> list[KeptBudget]:
    """Of all policies with a budget, cheapest first; held-out where that was evaluated."""
    found = []
    for point in points:
        seen = point.search if point.heldout is None else point.heldout
        errors = point.search_error if point.heldout is None else point.heldout_error
        metrics = point.metrics
        if point.policy is None or BUDGET not in metrics or COMPUTE not in seen:
            continue
        found.append(
            KeptBudget(
                point.label, point.seed, metrics[BUDGET], seen[COMPUTE], errors.get(COMPUTE, 0.0),
                metrics["compute_spread"], metrics["compute_lowest"], metrics["compute_highest"],
                metrics["deciding"],
            )
        )  # fmt: skip
    return sorted(found, key=lambda kept: (kept.target, kept.achieved))


def budget_sentences(summary: Summary) -> list[str]:
    """One sentence per strategy with policies on its fronts."""
    labels = dict.fromkeys(point.label for point in summary.front)
    each = [
        (label, kept_budgets([p for p in summary.front if p.label == label])) for label in labels
    ]
    data = "held-out" if any(p.heldout is not None for p in summary.front) else "search"
    return [_sentence(label, kept, data) for label, kept in each if kept]


def _sentence(label: str, kept: Sequence[KeptBudget], data: str) -> str:
    over = np.array([k.over for k in kept])
    clearly = sum(k.over > CLEARLY * k.error for k in kept)
    spread = float(np.mean([k.spread for k in kept]))
    deciding = max(k.deciding for k in kept)
    above = "none is" if not clearly else f"{clearly} {'is' if clearly == 1 else 'are'}"
    noun = "policy" if len(kept) == 1 else "policies"
    return (
        f"Mean budgets of {words.plain(label)}, {len(kept)} {noun} on {data} samples: achieved "
        f"minus target {over.mean():+.3f} on average, {over.min():+.3f} to {over.max():+.3f}; "
        f"{above} above its target by more than two standard errors. Single samples spread by "
        f"{spread:.3f}; deciding costs {100 * deciding:.2g} % of dense at most."
    )


def budgets_section(summary: Summary) -> str:
    """Target, achieved and spread of every policy on the fronts; nothing without one."""
    kept = kept_budgets(summary.front)
    if not kept:
        return ""
    heads = [
        Head("strategy", kind="wide"), Head("seed"),
        Head("target", meaning="mean relative compute"), Head("achieved"),
        Head("over", meaning="achieved minus target"),
        Head("spread", meaning="standard deviation of single samples"), Head("lowest sample"),
        Head("highest sample"), Head("deciding, % of dense"),
    ]  # fmt: skip
    rows = [
        [
            words.plain(k.label), str(k.seed), words.number(k.target),
            words.figure_error({COMPUTE: k.achieved}, {COMPUTE: k.error}, COMPUTE),
            f"{k.over:+.3f}", words.number(k.spread), words.number(k.lowest),
            words.number(k.highest), f"{100 * k.deciding:.2g}",
        ]
        for k in kept
    ]  # fmt: skip
    told = "".join(f"<p>{html.escape(text)}</p>" for text in budget_sentences(summary))
    cells = [[html.escape(cell) for cell in row] for row in rows]
    return section("Mean budgets of policies", told + table("Mean budgets", heads, cells))
