"""Comparison of a learned front with the exhaustive grid's: the figures of several claims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from paretoprune import frontier
from paretoprune.experiments.reproduce.cached_runs import CachedRun
from paretoprune.experiments.reproduce.finding import Cell, Verdict
from paretoprune.frontier import Interval
from paretoprune.report.palette import look

MARGIN = 0.02
"""Held-out front area that a learned front may lack and still stand in for the grid's."""
TOLERANCES = (0.01, 0.02, 0.05)
COLUMNS = [
    "hypervolume ratio", "average Hausdorff", "deviation in score", "deviation in compute",
    *(f"recovered within {t:g}" for t in TOLERANCES),
    "held-out area", "grid's held-out area", "difference", "low", "high", "search cost",
]  # fmt: skip


def similarity(learned: Sequence[CachedRun], grid: CachedRun) -> tuple[list[Cell], Interval]:
    """The cells of `COLUMNS`, means over seeds, and the interval of the difference in area.

    The interval is a 95 % bootstrap over seeds and held-out samples, paired by sample.
    """
    reference = grid.costs
    ratios = [run.hypervolume / grid.hypervolume for run in learned]
    deviations = np.mean([frontier.mean_deviation(p.costs, reference) for p in learned], axis=0)
    interval = difference(learned, [grid])
    cells: list[Cell] = [
        float(np.mean(ratios)),
        float(np.mean([frontier.average_hausdorff(p.costs, reference) for p in learned])),
        float(deviations[0]),
        float(deviations[1]),
        *(
            float(np.mean([frontier.recovered_share(p.costs, reference, t) for p in learned]))
            for t in TOLERANCES
        ),
        area(learned),
        area([grid]),
        interval.mid,
        interval.low,
        interval.high,
        float(np.mean([run.cost for run in learned])),
    ]
    return cells, interval


def area(runs: Sequence[CachedRun]) -> float:
    """Mean held-out front area."""
    return float(np.mean([run.area for run in runs]))


def difference(first: Sequence[CachedRun], second: Sequence[CachedRun]) -> Interval:
    """Held-out area of the first minus the second, bootstrapped over seeds and samples."""
    seeds = max(len(first), len(second))
    one, other = (np.array([p.area for p in runs]) for runs in (first, second))
    shape = (seeds, one.shape[1])
    apart = np.resize(one, shape) - np.resize(other, shape)
    return frontier.bootstrap_area(apart, rng=np.random.default_rng(0))


def stands_in(interval: Interval) -> Verdict:
    """Whether a learned front is at most `MARGIN` worse: surely, in the mean, or not."""
    if interval.low > -MARGIN:
        return "holds"
    return "holds in part" if interval.mid > -MARGIN else "does not hold"


def is_better(interval: Interval) -> Verdict:
    """Whether a difference is above 0: surely, in the mean, or not."""
    if interval.low > 0:
        return "holds"
    return "holds in part" if interval.mid > 0 else "does not hold"


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict over several cases: all hold, some do, none does."""
    if all(v == "holds" for v in verdicts):
        return "holds"
    return "does not hold" if all(v == "does not hold" for v in verdicts) else "holds in part"


def in_text(interval: Interval) -> str:
    """An interval in text: `+0.012 [-0.003, +0.027]`."""
    return f"{interval.mid:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def panels(count: int, *, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """A figure with panels in a row, white, with nothing of matplotlib's global state."""
    figure = Figure(figsize=(3.6 * count, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    found = np.atleast_1d(figure.subplots(1, count))
    for panel in found:
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, list(found)


def draw_fronts(panel: Axes, fronts: dict[str, Sequence[CachedRun]], title: str) -> None:
    """Held-out score over compute of every front; the first is drawn as grey stairs."""
    for place, (name, runs) in enumerate(fronts.items()):
        for seed, run in enumerate(runs):
            xs = [p.heldout_compute for p in run.points]
            ys = [p.heldout_score for p in run.points]
            label = name if seed == 0 else None
            if place == 0:
                panel.plot(
                    xs, ys, drawstyle="steps-post", color="#bbbbbb", linewidth=4, label=label
                )
            else:
                style = look(place - 1)
                panel.plot(
                    xs, ys, style.marker, color=style.colour, markersize=4, alpha=0.8, label=label,
                )  # fmt: skip
    panel.set_title(title, fontsize="medium")
    panel.set_xlabel("relative compute u")
    panel.set_ylabel("held-out relative score q")
    panel.legend(frameon=False, fontsize="small", loc="lower right")
