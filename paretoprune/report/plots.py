"""The HTML report's plots as plotly figures in plain dicts, ready for JSON.

Colours of text, grid and background are left to `page.js`, which follows the page's theme. Names
from the summary are escaped: plotly reads a subset of HTML in every text.
"""

from __future__ import annotations

import html
from typing import Any

from paretoprune.comparison.results import FrontPoint, PresetPoint, Summary
from paretoprune.report import presets, shapes, words
from paretoprune.report.palette import looks

Spec = dict[str, Any]

HOVER = "%{hovertext}<extra></extra>"
PALE = 0.4
"""Opacity of the points of seeds other than the best."""
MOST_CELLS_WITH_TEXT = 16


def plots(summary: Summary) -> dict[str, Spec]:
    """All plots that the summary has data for, by the id of their element on the page."""
    found = {
        "plot-front": front_plot(summary, shapes.axes(summary)),
        **{
            f"plot-front-{number}": front_plot(summary, further)
            for number, further in enumerate(shapes.further_axes(summary), start=3)
        },
        "plot-curves": curves_plot(summary),
        "plot-attainment": attainment_plot(summary),
        "plot-schedules": schedules_plot(summary),
        "plot-parts": parts_plot(summary),
    }
    return {name: spec for name, spec in found.items() if spec is not None}


def front_plot(summary: Summary, axes: shapes.Axes | None) -> Spec | None:
    """Fronts of all strategies: every seed's points, the best seed's stairs, the union front."""
    if axes is None or not summary.front:
        return None
    step = "hv" if axes.x.direction == "min" else "vh"
    union = shapes.drawn([p for p in summary.front if p.on_union], axes)
    traces: list[Spec] = []
    if union:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if axes.complete else "markers",
                "name": "union front",
                "x": [x for _, x, _ in union],
                "y": [y for _, _, y in union],
                "line": {"shape": step, "width": 7, "color": "rgba(128,128,128,0.3)"},
                "marker": {
                    "symbol": "circle-open",
                    "size": 15,
                    "color": "rgba(128,128,128,0.9)",
                    "line": {"width": 1.3},
                },
                "hoverinfo": "skip",
            }
        )
    for number, (label, look) in enumerate(looks(summary).items()):
        points = shapes.drawn([p for p in summary.front if p.label == label], axes)
        seed = shapes.best_seed(summary, label)
        best = [at for at in points if at[0].seed == seed]
        others = [at for at in points if at[0].seed != seed]
        line = {"shape": step, "width": 1.8, "color": look.colour}
        for part, opacity in ((others, PALE), (best, 1.0)):
            if not part:
                continue
            joined = axes.complete and part is best
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if joined else "markers",
                    "name": _escaped(words.plain(label, 40)),
                    "x": [x for _, x, _ in part],
                    "y": [y for _, _, y in part],
                    "line": line,
                    "marker": {
                        "symbol": look.symbol,
                        "size": 8,
                        "color": look.colour,
                        "opacity": opacity,
                    },
                    "legendgroup": f"strategy {number}",
                    "showlegend": part is best or not best,
                    "hovertext": [hover(p, summary) for p, _, _ in part],
                    "hovertemplate": HOVER,
                }
            )
    beside = [(p, at) for p in summary.presets if (at := axes.values(p)) is not None]
    if beside:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "published presets",
                "x": [x for _, (x, _) in beside],
                "y": [y for _, (_, y) in beside],
                "marker": {"symbol": "x", "size": 8, "color": "rgba(128,128,128,1)"},
                "hovertext": [preset_hover(point, summary) for point, _ in beside],
                "hovertemplate": HOVER,
            }
        )
    layout: Spec = {
        "xaxis": {"title": {"text": _escaped(axes.label(axes.x))}},
        "yaxis": {"title": {"text": _escaped(axes.label(axes.y))}},
        "hovermode": "closest",
    }
    if "dense_score" in summary.problem and axes.y.name == "score":
        grey = "rgba(128,128,128,0.9)"
        layout["shapes"] = [
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1,
                "line": {"width": 1, "dash": "dot", "color": grey},
            }
        ]  # fmt: skip
        layout["annotations"] = [
            {
                "text": "dense", "xref": "paper", "x": 0, "y": 1, "xanchor": "left",
                "yanchor": "bottom", "showarrow": False, "font": {"size": 11},
            }
        ]  # fmt: skip
    return {"data": traces, "layout": layout}


def hover(point: FrontPoint, summary: Summary) -> str:
    """What a point says of itself: strategy, seed, configuration, objectives on both splits."""
    lines = [f"<b>{_escaped(words.plain(point.label, 60))}</b>, seed {point.seed}"]
    if point.keep is not None:
        # plotly drops leading and repeated blanks: a layer without tokens is drawn as a dot
        lines.append(_folded(words.layer_chart(point.keep).replace(" ", "·"), 60))
    what = "keep" if point.keep is not None else "knobs"
    lines.append(f"{what} {_escaped(_folded(words.configuration(point)))}")
    if words.has_operators(summary.front):
        lines.append(f"pruner {_escaped(_folded(words.operator(point)))}")
    for objective in summary.objectives:
        name = _escaped(words.plain(objective.name, 40))
        told = words.figure_error(point.search, point.search_error, objective.name)
        if point.heldout is not None:
            held = words.figure_error(point.heldout, point.heldout_error, objective.name)
            told += f", held-out {held}"
        lines.append(f"{name} {told}")
    if point.on_union:
        lines.append("on the union front")
    return "<br>".join(line.replace("\n", "<br>") for line in lines)


def preset_hover(point: PresetPoint, summary: Summary) -> str:
    """What a preset says of itself: names, source, configuration, and the found front's gain."""
    lines = [f"<b>{_escaped(_folded(' '.join(presets.names(point))))}</b>"]
    lines.append(_escaped(_folded(words.plain(point.about[0] if point.about else "", 200))))
    if point.keep is not None:
        lines.append(f"keep {_escaped(_folded(words.schedule(point.keep)))}")
    for objective in summary.objectives:
        name = _escaped(words.plain(objective.name, 40))
        told = words.figure_error(point.search, point.search_error, objective.name)
        if point.heldout is not None:
            held = words.figure_error(point.heldout, point.heldout_error, objective.name)
            told += f", held-out {held}"
        lines.append(f"{name} {told}")
    if point.gain is not None:
        lines.append(f"found front at no higher cost: {_escaped(presets.gain(point))}")
    return "<br>".join(line.replace("\n", "<br>") for line in lines)


def curves_plot(summary: Summary) -> Spec | None:
    """Median hypervolume over search cost, with the range of the seeds."""
    traces: list[Spec] = []
    for label, look in looks(summary).items():
        rows = [row for row in summary.studies if row.label == label]
        band = shapes.anytime(rows)
        if not band.cost:
            continue
        group = f"strategy {len(traces)}"
        fill = _translucent(look.colour)
        edge: Spec = {
            "type": "scatter", "mode": "lines", "x": band.cost, "legendgroup": group,
            "line": {"shape": "hv", "width": 0, "color": look.colour},
            "showlegend": False, "hoverinfo": "skip",
        }  # fmt: skip
        if len(rows) > 1:
            traces.append(edge | {"y": band.low})
            traces.append(edge | {"y": band.high, "fill": "tonexty", "fillcolor": fill})
        name = _escaped(words.plain(label, 40))
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": band.cost,
                "y": band.median,
                "line": {"shape": "hv", "width": 1.8, "color": look.colour},
                "marker": {
                    "symbol": look.symbol,
                    "size": 7,
                    "maxdisplayed": 8,
                },
                "legendgroup": group,
                "hovertext": [
                    f"<b>{name}</b><br>after cost {words.amount(cost)}: hypervolume "
                    f"{words.number(median)}<br>seeds from {words.number(low)} to "
                    f"{words.number(high)}"
                    for cost, median, low, high in zip(
                        band.cost, band.median, band.low, band.high, strict=True
                    )
                ],
                "hovertemplate": HOVER,
            }
        )
    if not traces:
        return None
    layout = {
        "xaxis": {
            "title": {"text": f"search cost ({words.cost_unit(summary)})"},
            "rangemode": "tozero",
        },
        "yaxis": {"title": {"text": "hypervolume, search split"}},
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}


def attainment_plot(summary: Summary) -> Spec | None:
    """Median (solid) and worst-case (dotted) attainment surface of each strategy's seeds.

    With three objectives also the median within a limit of the third (dashed).
    """
    axes = shapes.axes(summary)
    if axes is None:
        return None
    step = "hv" if axes.x.direction == "min" else "vh"
    traces: list[Spec] = []
    for number, (label, look) in enumerate(looks(summary).items()):
        name = _escaped(words.plain(label, 40))
        for surface in shapes.attainments(summary, label, axes):
            corners, what = surface.corners, surface.what
            lead = what == "median" and surface.limit is None
            dash = "solid" if lead else "dot" if what == "worst" else "dash"
            if surface.limit is not None:
                third = next(o for o in summary.objectives if o not in (axes.x, axes.y))
                bound = "at most" if third.direction == "min" else "at least"
                limit = f"{bound} {words.number(surface.limit)}"
                what_told = f"{what} of seeds, {_escaped(words.plain(third.name, 40))} {limit}"
            else:
                what_told = f"{what} of seeds"
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if lead else "lines",
                    "name": name,
                    "x": [x for x, _ in corners],
                    "y": [y for _, y in corners],
                    "line": {"shape": step, "width": 1.8, "color": look.colour, "dash": dash},
                    "marker": {"symbol": look.symbol, "size": 6, "color": look.colour},
                    "legendgroup": f"strategy {number}",
                    "showlegend": lead,
                    "hovertext": [
                        f"<b>{name}</b>, {what_told}<br>"
                        f"{_escaped(words.plain(axes.x.name, 40))} {words.number(x)}, "
                        f"{_escaped(words.plain(axes.y.name, 40))} {words.number(y)}"
                        for x, y in corners
                    ],
                    "hovertemplate": HOVER,
                }
            )
    if not traces:
        return None
    layout: Spec = {
        "xaxis": {"title": {"text": _escaped(axes.label(axes.x))}},
        "yaxis": {"title": {"text": _escaped(axes.label(axes.y))}},
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}


def schedules_plot(summary: Summary) -> Spec | None:
    """The best front's keep schedules: one line per point, one column per layer."""
    points = [point for point in summary.front_of_best() if point.keep]
    if not points:
        return None
    layers = max(len(point.keep or []) for point in points)
    percent = [[100 * share for share in point.keep or []] for point in points]
    names = [_point_name(number, point, summary) for number, point in enumerate(points, start=1)]
    heat: Spec = {
        "type": "heatmap",
        "z": percent,
        "x": list(range(layers)),
        "y": list(range(len(points))),
        "zmin": 0,
        "zmax": 100,
        "colorscale": "Cividis",
        "xgap": 1,
        "ygap": 1,
        "hovertext": [
            [
                f"layer {layer}: {share:.0f} % of visual tokens<br>{name}"
                for layer, share in enumerate(row)
            ]
            for row, name in zip(percent, names, strict=True)
        ],
        "hovertemplate": HOVER,
        "colorbar": {
            "title": {"text": "kept, %", "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
        },
    }
    if layers <= MOST_CELLS_WITH_TEXT:
        heat["texttemplate"] = "%{z:.0f}"
        heat["textfont"] = {"size": 11}
    layout = {
        "xaxis": {"title": {"text": "decoder layer, from 0"}, "dtick": 1 if layers <= 16 else 4},
        "yaxis": {
            "tickvals": list(range(len(points))),
            "ticktext": names,
            "title": {"text": ""},
        },
        "yaxis_narrow": {
            "ticktext": [str(number) for number, _ in enumerate(points, start=1)],
            "title": {"text": "point"},
        },
        "height": min(1400, 150 + 22 * len(points)),
    }
    return {"data": [heat], "layout": layout}


def parts_plot(summary: Summary) -> Spec | None:
    """Scores per question family along the best front: one line per family, a column per point."""
    points = [point for point in summary.front_of_best() if point.parts]
    if not points:
        return None
    told = summary.heldout_problem or summary.problem
    dense = told.get("dense_parts", {})
    names = sorted(points[0].parts, key=lambda name: points[0].parts[name], reverse=True)
    columns = [f"{number}" for number, _ in enumerate(points, start=1)]
    rows = [[point.parts[name] for point in points] for name in names]
    labels = [_escaped(words.plain(name, 24)) for name in names]
    if dense:
        columns.append("dense")
        rows = [[*row, dense[name]] for row, name in zip(rows, names, strict=True)]
    heat: Spec = {
        "type": "heatmap",
        "z": [[100 * value for value in row] for row in rows],
        "x": columns,
        "y": labels,
        "zmin": 0,
        "zmax": 100,
        "colorscale": "Cividis",
        "xgap": 1,
        "ygap": 1,
        "hovertext": [
            [
                f"{label}, point {column}: {words.number(value, 2)}"
                for column, value in zip(columns, row, strict=True)
            ]
            for label, row in zip(labels, rows, strict=True)
        ],
        "hovertemplate": HOVER,
        "colorbar": {
            "title": {"text": "score, %", "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
        },
    }
    if len(columns) <= MOST_CELLS_WITH_TEXT:
        heat["texttemplate"] = "%{z:.0f}"
        heat["textfont"] = {"size": 11}
    layout = {
        "xaxis": {"title": {"text": "point of the best front, by cost"}, "type": "category"},
        "yaxis": {"type": "category", "title": {"text": ""}},
        "height": 150 + 24 * len(names),
    }
    return {"data": [heat], "layout": layout}


def _point_name(number: int, point: FrontPoint, summary: Summary) -> str:
    """A point by its first two objectives, such as `3: score 0.91, compute 0.42`."""
    figures = [
        f"{_escaped(words.plain(o.name, 12))} {words.number(point.search.get(o.name), 2)}"
        for o in summary.objectives[:2]
    ]
    if words.has_operators(summary.front) and point.pruner is not None:
        figures.append(_escaped(words.plain(point.pruner, 16)))
    return f"{number}: {', '.join(figures)}"


def _folded(text: str, width: int = 50) -> str:
    """Break a long configuration behind blanks, so that hover boxes fit a phone."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return "\n".join(lines)


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def _escaped(text: str) -> str:
    """Text for plotly: its own parser knows `&lt; &gt; &amp;`, and quotes mean nothing to it."""
    return html.escape(text, quote=False)
