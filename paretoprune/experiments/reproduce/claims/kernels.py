"""Claim 4: multi-step kernels beat single-step ones at equal compute; and the other kernels."""

from __future__ import annotations

from matplotlib.figure import Figure

from paretoprune.experiments.reproduce.cached_runs import CachedRun, CachedRuns
from paretoprune.experiments.reproduce.finding import Cell, Finding
from paretoprune.experiments.reproduce.similarity import (
    area,
    difference,
    in_text,
    is_better,
    panels,
)
from paretoprune.report.palette import look

BASE, CLAIMED = "single-step", "multi-step"


def multi_step_beats_single_step(runs: CachedRuns) -> tuple[Finding, Figure]:
    """The gradient search over each kernel, at equal search cost, judged on held-out data."""
    found = {k: runs.searches(f"gradient:kernel={k}") for k in runs.scale.kernels}
    rows: list[list[Cell]] = []
    for kernel, searches in found.items():
        gain = difference(searches, found[BASE])
        rows.append([kernel, area(searches), gain.mid, gain.low, gain.high, _size(searches)])
    rows.sort(key=lambda row: -float(row[1] or 0.0))
    gain = difference(found[CLAIMED], found[BASE])
    verdict = is_better(gain)
    figure, (panel,) = panels(1)
    for place, row in enumerate(reversed(rows)):
        mid, low, high = (float(row[i] or 0.0) for i in (2, 3, 4))
        panel.errorbar(
            mid, place, xerr=[[mid - low], [high - mid]], fmt=look(0).marker,
            color=look(0).colour, capsize=3,
        )  # fmt: skip
    panel.axvline(0, color="#777777", linewidth=0.8, linestyle=":")
    panel.set_yticks(range(len(rows)), [str(row[0]) for row in reversed(rows)])
    panel.set_xlabel(f"held-out area minus {BASE}'s")
    finding = Finding(
        number=4,
        name="kernels",
        title="Kernels at equal compute",
        claim="Multi-step progressive kernels beat single-step ones at equal compute.",
        verdict=verdict,
        sentence=f"The claim {verdict}: held-out area of multi-step minus single-step "
        f"{in_text(gain)}; the best kernel is {rows[0][0]}.",
        columns=["kernel", "held-out area", "gain", "low", "high", "front size"],
        rows=rows,
    )
    return finding, figure


def _size(runs: list[CachedRun]) -> float:
    return sum(len(run.points) for run in runs) / len(runs)
