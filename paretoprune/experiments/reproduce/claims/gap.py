"""Claim 6: what rounding a relaxed configuration costs."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from paretoprune.experiments.reproduce.cached_runs import CachedRuns
from paretoprune.experiments.reproduce.finding import Cell, Finding, Verdict
from paretoprune.experiments.reproduce.similarity import panels
from paretoprune.report.palette import look

SMALL = 0.02
"""A gap in score or compute that is called small."""


def relaxation_gap(runs: CachedRuns) -> tuple[Finding, Figure]:
    """Rounded, really pruned configurations against what the search believed of them."""
    rows: list[list[Cell]] = []
    figure, (left, right) = panels(2)
    means = []
    for place, model in enumerate(runs.scale.models):
        points = [p for run in runs.searches("gradient", model=model) for p in run.points]
        believed = [
            (p, p.soft_score, p.soft_compute)
            for p in points
            if p.soft_score is not None and p.soft_compute is not None
        ]
        score = np.array([p.score - soft for p, soft, _ in believed])
        compute = np.array([p.compute - soft for p, _, soft in believed])
        rows.append(
            [
                model, len(believed), float(score.mean()), float(np.abs(score).mean()),
                float(np.abs(score).max()), float(compute.mean()), float(np.abs(compute).mean()),
                float(np.abs(compute).max()),
            ]
        )  # fmt: skip
        means.append((float(np.abs(score).mean()), float(np.abs(compute).mean())))
        for panel, gap in ((left, score), (right, compute)):
            panel.plot(
                [p.compute for p, _, _ in believed], gap, look(place).marker, markersize=4,
                color=look(place).colour, label=model,
            )  # fmt: skip
    for panel, name in ((left, "score"), (right, "compute")):
        panel.axhline(0, color="#777777", linewidth=0.8, linestyle=":")
        panel.set_xlabel("relative compute u")
        panel.set_ylabel(f"{name}, rounded minus relaxed")
    left.legend(frameon=False, fontsize="small")
    small = all(score <= SMALL and compute <= SMALL for score, compute in means)
    verdict: Verdict = "holds" if small else "does not hold"
    worst_score, worst_compute = (max(column) for column in zip(*means, strict=True))
    finding = Finding(
        number=6,
        name="gap",
        title="The relaxation gap",
        claim="The relaxed objective is close to what the rounded configuration gives.",
        verdict=verdict,
        sentence=f"The claim {verdict}: the mean absolute gap is at most {worst_score:.3f} in "
        f"score and {worst_compute:.3f} in compute, over models; {SMALL:g} is called close.",
        columns=[
            "model", "points", "score gap", "absolute", "largest", "compute gap", "absolute ",
            "largest ",
        ],
        rows=rows,
    )  # fmt: skip
    return finding, figure
