"""Claim 7: the gradient search on another family and operator, against black boxes."""

from __future__ import annotations

from matplotlib.figure import Figure

from paretoprune.experiments.reproduce.cached_runs import CachedRuns
from paretoprune.experiments.reproduce.finding import Cell, Finding
from paretoprune.experiments.reproduce.similarity import (
    area,
    difference,
    in_text,
    is_better,
    overall,
    panels,
)
from paretoprune.report.palette import look

OURS = "gradient"


def where_nothing_was_tuned(runs: CachedRuns) -> tuple[Finding, Figure]:
    """The last model with the second pruner: the defaults come from the first of each.

    But for two of them, for which all models were looked at with the first pruner.
    """
    model, pruner = runs.scale.models[-1], runs.scale.pruners[1]
    found = {
        name: runs.searches(name, model=model, pruner=pruner) for name in (OURS, *runs.scale.rivals)
    }
    rows: list[list[Cell]] = []
    verdicts = []
    figure, (panel,) = panels(1)
    for place, (name, searches) in enumerate(found.items()):
        gain = difference(found[OURS], searches)
        if name != OURS:
            verdicts.append(is_better(gain))
            panel.errorbar(
                gain.mid, place, xerr=[[gain.mid - gain.low], [gain.high - gain.mid]],
                fmt=look(place).marker, color=look(place).colour, capsize=3,
            )  # fmt: skip
        own: list[Cell] = [None] * 3 if name == OURS else [gain.mid, gain.low, gain.high]
        rows.append([name, area(searches), *own])
    panel.axvline(0, color="#777777", linewidth=0.8, linestyle=":")
    panel.set_yticks(range(1, len(found)), list(runs.scale.rivals))
    panel.set_xlabel(f"held-out area of {OURS} minus the rival's")
    verdict = overall(verdicts)
    each = "; ".join(
        f"{name} {in_text(difference(found[OURS], found[name]))}" for name in runs.scale.rivals
    )
    finding = Finding(
        number=7,
        name="untuned",
        title="Another family, another operator",
        claim="The gradient search beats black boxes on another family, with an operator that its "
        "defaults never saw.",
        verdict=verdict,
        sentence=f"The claim {verdict} on {model} with {pruner}, at equal search cost: held-out "
        f"area of {OURS} minus {each}.",
        columns=["strategy", "held-out area", f"{OURS} minus it", "low", "high"],
        rows=rows,
    )
    return finding, figure
