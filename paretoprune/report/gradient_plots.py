"""Plots of what gradient searches saw, for plotly: relaxation gap, loss, constraint, multiplier."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

from paretoprune.comparison.gradients import GapPoint, Gradients, GradientStudy, RoundRow
from paretoprune.report import words
from paretoprune.report.palette import COLOURS, look

Spec = dict[str, Any]

HOVER = "%{hovertext}<extra></extra>"
GREY = "rgba(128,128,128,0.7)"
COST = "search cost (dense-pass equivalents)"
MOST_LINES = len(COLOURS)
"""Budgets that are drawn, at most: each has a colour and a marker of its own."""


def shown_studies(found: Gradients | None) -> list[GradientStudy]:
    """One seed of each strategy, which is drawn: the one whose gap was measured, or the first."""
    shown: dict[str, GradientStudy] = {}
    for study in found.studies if found is not None else ():
        if study.label not in shown or (study.points and not shown[study.label].points):
            shown[study.label] = study
    return list(shown.values())


def gradient_plots(found: Gradients | None) -> dict[str, Spec]:
    """All plots there are data for, by the id of their element on the page."""
    plots: dict[str, Spec] = {}
    for number, study in enumerate(shown_studies(found)):
        if study.points:
            plots[f"plot-gap-{number}"] = gap_plot(study)
        if study.rounds:
            plots[f"plot-loss-{number}"] = loss_plot(study)
            plots[f"plot-constraint-{number}"] = per_budget(
                study, lambda r: r.constraint, "compute u minus budget"
            )
            plots[f"plot-multiplier-{number}"] = per_budget(
                study, lambda r: r.multiplier, "multiplier"
            )
            plots[f"plot-kept-{number}"] = per_budget(study, lambda r: r.kept, "mean keep ratio")
    return plots


def gap_plot(study: GradientStudy) -> Spec:
    """Each returned configuration twice: as the search saw it, joined to what it is."""
    style = look(0)
    joints: tuple[list[float | None], list[float | None]] = ([], [])
    for p in study.points:
        joints[0].extend([p.soft.compute, p.hard.compute, None])
        joints[1].extend([p.soft.score, p.hard.score, None])
    told = [hover(p) for p in study.points]

    def trace(name: str, which: Callable[[GapPoint], Any], symbol: str) -> Spec:
        return {
            "type": "scatter", "mode": "markers", "name": name,
            "x": [which(p).compute for p in study.points],
            "y": [which(p).score for p in study.points],
            "marker": {"symbol": symbol, "size": 9, "color": style.colour},
            "hovertext": told, "hovertemplate": HOVER,
        }  # fmt: skip

    traces = [
        {
            "type": "scatter", "mode": "lines", "x": joints[0], "y": joints[1],
            "line": {"width": 1, "color": GREY}, "hoverinfo": "skip", "showlegend": False,
        },
        trace("relaxed, as searched", lambda p: p.soft, "circle-open"),
        trace("rounded, really pruned", lambda p: p.hard, "circle"),
    ]  # fmt: skip
    grid = [p.grid for p in study.points if p.grid is not None]
    if grid:
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": "nearest grid point",
                "x": [g.compute for g in grid], "y": [g.score for g in grid],
                "marker": {"symbol": "x-thin-open", "size": 8, "color": GREY},
                "hoverinfo": "skip",
            }
        )  # fmt: skip
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": "relative compute u, search split"}},
            "yaxis": {"title": {"text": "relative score q, search split"}},
            "hovermode": "closest",
        },
    }


def hover(point: GapPoint) -> str:
    """Both figures of a point, and its keep ratios before and after rounding."""
    lines = [
        f"relaxed: score {words.number(point.soft.score)}, compute "
        f"{words.number(point.soft.compute)}",
        f"pruned: score {words.number(point.hard.score)}, compute "
        f"{words.number(point.hard.compute)}",
        f"keep {html.escape(words.schedule(point.relaxed_keep))}",
        f"rounded {html.escape(words.schedule(point.keep))}",
    ]
    return "<br>".join(lines)


def loss_plot(study: GradientStudy) -> Spec:
    """Mean divergence from dense over the run."""
    trace = _line("KL to dense", study.rounds, [r.divergence for r in study.rounds], 0)
    return _over_cost([trace], "KL to dense, nats")


def per_budget(
    study: GradientStudy, values: Callable[[RoundRow], Sequence[float]], title: str
) -> Spec:
    """One line per drawn budget, or a single one where there is one value for all."""
    places = drawn_budgets(len(values(study.rounds[0])))
    one = len(places) == 1
    names = ["all budgets" if one else f"budget {study.budgets[p]:.2f}" for p in places]
    traces = [
        _line(name, study.rounds, [values(r)[place] for r in study.rounds], number)
        for number, (name, place) in enumerate(zip(names, places, strict=True))
    ]
    return _over_cost(traces, title)


def drawn_budgets(count: int) -> list[int]:
    """Places of the budgets that get a line: at most so many, evenly spaced, with both ends."""
    drawn = min(count, MOST_LINES)
    return [round(i * (count - 1) / max(drawn - 1, 1)) for i in range(drawn)]


def _line(name: str, rounds: Sequence[RoundRow], values: Sequence[float], number: int) -> Spec:
    style = look(number)
    return {
        "type": "scatter", "mode": "lines+markers", "name": name,
        "x": [r.spent for r in rounds], "y": list(values),
        "line": {"width": 1.6, "color": style.colour},
        "marker": {"symbol": style.symbol, "size": 6, "maxdisplayed": 10},
    }  # fmt: skip


def _over_cost(traces: list[Spec], title: str) -> Spec:
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": COST}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": title}},
            "hovermode": "closest",
            "height": 320,
        },
    }
