"""Example pictures of a comparison: held-out tokens that the best front's schedules keep.

Chosen by rule, not by hand: at each of two budgets the configuration that the search split picks
there, and the first held-out sample of each of a few question families.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paretoprune.comparison.compare import Comparison
from paretoprune.comparison.results import FrontPoint, Summary
from paretoprune.compression.kept import Examples
from paretoprune.core.capabilities import HasExamples
from paretoprune.core.problem import Candidate

DEFAULT_COUNT = 4
BUDGETS = (0.5, 0.25)
"""Relative compute at which schedules are shown."""


def examples_of(
    comparison: Comparison,
    count: int = DEFAULT_COUNT,
    *,
    observe: Callable[[int, int], None] | None = None,
) -> Examples | None:
    """Run a few configurations of the best front on `count` held-out samples, and record it.

    None where nothing can be shown: without held-out data, keep schedules or token boxes.
    `observe` is called with done and total, in samples.
    """
    heldout = comparison.problem.heldout
    chosen = points_to_show(comparison.summary)
    if not isinstance(heldout, HasExamples) or not chosen or count < 1:
        return None
    first = chosen[0][1]
    study = next(
        s for s in comparison.studies if s.spec.label == first.label and s.result.seed == first.seed
    )
    candidates: dict[str, Candidate] = {
        label: study.evaluations[point.trial].candidate for label, point in chosen
    }
    examples = heldout.examples(candidates, count, observe=observe)
    return Examples(label=first.label, seed=first.seed, examples=examples) if examples else None


def points_to_show(
    summary: Summary, budgets: Sequence[float] = BUDGETS
) -> list[tuple[str, FrontPoint]]:
    """Points of the best front, picked by the search split at each budget, with a label each.

    Where all points cost more than every budget, the cheapest one.
    """
    front = summary.front_of_best()
    quality = next((o.name for o in summary.objectives if o.direction == "max"), None)
    if quality is None:
        return []
    chosen: dict[int, FrontPoint] = {}
    drawable = [p for p in front if p.keep is not None and _compute(p) is not None]
    for budget in budgets:
        affordable = [p for p in drawable if (_compute(p) or 0.0) <= budget]
        if affordable:
            best = max(affordable, key=lambda p: p.search[quality])
            chosen.setdefault(best.trial, best)
    if not chosen and drawable:
        cheapest = min(drawable, key=lambda p: _compute(p) or 0.0)
        chosen[cheapest.trial] = cheapest
    return [(f"point {front.index(p) + 1}, u = {_compute(p):.2f}", p) for p in chosen.values()]


def _compute(point: FrontPoint) -> float | None:
    """Relative compute on the search split, whether it was an objective or not."""
    return point.search.get("compute", point.metrics.get("compute"))
