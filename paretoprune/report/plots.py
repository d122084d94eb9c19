"""The HTML report's plots as plotly figures in plain dicts, ready for JSON.

Colours of text, grid and background are left to `page.js`, which follows the page's theme. Names
from the summary are escaped: plotly reads a subset of HTML in every text.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from paretoprune.comparison.results import FrontPoint, PresetPoint, Summary
from paretoprune.report import display, glossary, presets, series
from paretoprune.report.palette import Look

Spec = dict[str, Any]

PALE = 0.4
"""Opacity of the points of seeds other than the best."""
MAX_CELLS_WITH_TEXT = 16
GREY = "rgba(128,128,128,0.9)"


def plots(summary: Summary) -> dict[str, Spec]:
    """All plots that the summary has data for, by the id of their element on the page."""
    further = enumerate(series.further_axes(summary), start=3)
    specs = {
        "plot-front": _front_plot(summary, series.axes(summary)),
        **{f"plot-front-{number}": _front_plot(summary, axes) for number, axes in further},
        "plot-curves": _curves_plot(summary),
        "plot-attainment": _attainment_plot(summary),
        "plot-schedules": _schedules_plot(summary),
        "plot-parts": _parts_plot(summary),
    }
    return {name: spec for name, spec in specs.items() if spec is not None}


def scatter(name: str, mode: str, xs: Sequence[Any], ys: Sequence[Any], **more: Any) -> Spec:
    """A trace of points, of lines or of both."""
    return {"type": "scatter", "mode": mode, "name": name, "x": xs, "y": ys, **more}


def hovering(texts: Sequence[Any]) -> Spec:
    """A trace's setting that shows a text over each of its points."""
    return {"hovertext": texts, "hovertemplate": "%{hovertext}<extra></extra>"}


def figure(traces: list[Spec], x_title: str, y_title: str, **layout: Any) -> Spec:
    """Traces with titled axes; `x_axis` holds more settings of that axis."""
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": escaped(x_title)}, **layout.pop("x_axis", {})},
            "yaxis": {"title": {"text": escaped(y_title)}},
            "hovermode": "closest",
            **layout,
        },
    }


def _front_plot(summary: Summary, axes: series.Axes | None) -> Spec | None:
    """Fronts of all strategies: every seed's points, the best seed's stairs, the union front."""
    if axes is None or not summary.front:
        return None
    step = "hv" if axes.x.direction == "min" else "vh"
    joined = "lines+markers" if axes.complete else "markers"
    traces: list[Spec] = []
    union = series.union_front(summary, axes)
    if union:
        ring = {"symbol": "circle-open", "size": 15, "color": GREY, "line": {"width": 1.3}}
        line = {"shape": step, "width": 7, "color": "rgba(128,128,128,0.3)"}
        xs, ys = [x for _, x, _ in union], [y for _, _, y in union]
        traces.append(
            scatter(glossary.UNION_FRONT, joined, xs, ys, line=line, marker=ring, hoverinfo="skip")
        )
    for number, front in enumerate(series.front_series(summary, axes)):
        line = {"shape": step, "width": 1.8, "color": front.look.colour}
        for part, opacity in ((front.others, PALE), (front.best, 1.0)):
            if not part:
                continue
            traces.append(
                scatter(
                    escaped(display.plain(front.label, 40)),
                    joined if part is front.best else "markers",
                    [x for _, x, _ in part],
                    [y for _, _, y in part],
                    line=line,
                    marker=_marker(front.look, 8) | {"opacity": opacity},
                    legendgroup=f"strategy {number}",
                    showlegend=part is front.best or not front.best,
                    **hovering([hover(point, summary) for point, _, _ in part]),
                )
            )
    placed = [(p, at) for p in summary.presets if (at := axes.values(p)) is not None]
    if placed:
        traces.append(
            scatter(
                glossary.PRESETS, "markers", [x for _, (x, _) in placed],
                [y for _, (_, y) in placed],
                marker={"symbol": "x", "size": 8, "color": "rgba(128,128,128,1)"},
                **hovering([_preset_hover(point, summary) for point, _ in placed]),
            )
        )  # fmt: skip
    drawn = figure(traces, axes.label(axes.x), axes.label(axes.y))
    if series.dense_line(summary, axes):
        line = {"width": 1, "dash": "dot", "color": GREY}
        drawn["layout"]["shapes"] = [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "line": line}
        ]
        drawn["layout"]["annotations"] = [
            {
                "text": "dense", "xref": "paper", "x": 0, "y": 1, "xanchor": "left",
                "yanchor": "bottom", "showarrow": False, "font": {"size": 11},
            }
        ]  # fmt: skip
    return drawn


def hover(point: FrontPoint, summary: Summary) -> str:
    """A point's strategy, seed, configuration, and objectives on both splits."""
    lines = [f"<b>{escaped(display.plain(point.label, 60))}</b>, seed {point.seed}"]
    if point.keep is not None:
        # plotly drops leading and repeated blanks: a layer without tokens is drawn as a dot
        lines.append(_folded(display.layer_chart(point.keep).replace(" ", "·"), 60))
    what = "keep" if point.keep is not None else "knobs"
    lines.append(f"{what} {escaped(_folded(display.configuration(point)))}")
    if display.has_operators(summary.front):
        lines.append(f"pruner {escaped(_folded(display.operator(point)))}")
    lines += _objectives(point, summary)
    if point.on_union:
        lines.append("on the union front")
    return _joined(lines)


def _preset_hover(point: PresetPoint, summary: Summary) -> str:
    """A preset's names, source, configuration, and the found front's gain."""
    lines = [f"<b>{escaped(_folded(' '.join(presets.names(point))))}</b>"]
    lines.append(escaped(_folded(display.plain(point.about[0] if point.about else "", 200))))
    if point.keep is not None:
        lines.append(f"keep {escaped(_folded(display.schedule(point.keep)))}")
    lines += _objectives(point, summary)
    if point.gain is not None:
        lines.append(f"found front at no higher cost: {escaped(presets.gain(point))}")
    return _joined(lines)


def _objectives(point: FrontPoint | PresetPoint, summary: Summary) -> list[str]:
    """A line per objective with its values on both splits."""
    lines = []
    for objective in summary.objectives:
        line = escaped(display.plain(objective.name, 40))
        line += f" {display.with_error(point.search, point.search_error, objective.name)}"
        if point.heldout is not None:
            held = display.with_error(point.heldout, point.heldout_error, objective.name)
            line += f", held-out {held}"
        lines.append(line)
    return lines


def _curves_plot(summary: Summary) -> Spec | None:
    """Median hypervolume over search cost, with the range of the seeds."""
    traces: list[Spec] = []
    for label, look, band in series.anytime_bands(summary):
        group = f"strategy {len(traces)}"
        name = escaped(display.plain(label, 40))
        if band.seeds > 1:
            line = {"shape": "hv", "width": 0, "color": look.colour}
            edge: Spec = {
                "line": line, "legendgroup": group, "showlegend": False, "hoverinfo": "skip",
            }  # fmt: skip
            fill = {"fill": "tonexty", "fillcolor": _translucent(look.colour)}
            traces.append(scatter(name, "lines", band.cost, band.low, **edge))
            traces.append(scatter(name, "lines", band.cost, band.high, **edge, **fill))
        texts = [
            f"<b>{name}</b><br>after cost {display.amount(cost)}: hypervolume "
            f"{display.number(median)}<br>seeds from {display.number(low)} to "
            f"{display.number(high)}"
            for cost, median, low, high in zip(
                band.cost, band.median, band.low, band.high, strict=True
            )
        ]
        traces.append(
            scatter(
                name, "lines+markers", band.cost, band.median, legendgroup=group,
                **hovering(texts),
                line={"shape": "hv", "width": 1.8, "color": look.colour},
                marker={"symbol": look.symbol, "size": 7, "maxdisplayed": 8},
            )
        )  # fmt: skip
    if not traces:
        return None
    cost = glossary.search_cost(summary)
    return figure(traces, cost, glossary.HYPERVOLUME, x_axis={"rangemode": "tozero"})


def _attainment_plot(summary: Summary) -> Spec | None:
    """Median (solid) and worst-case (dotted) attainment surface of each strategy's seeds.

    With three objectives also the median within a limit of the third (dashed).
    """
    axes = series.axes(summary)
    if axes is None:
        return None
    step = "hv" if axes.x.direction == "min" else "vh"
    traces: list[Spec] = []
    x_name, y_name = (escaped(display.plain(o.name, 40)) for o in (axes.x, axes.y))
    groups: dict[str, str] = {}
    for label, look, surface in series.attainment_surfaces(summary, axes):
        group = groups.setdefault(label, f"strategy {len(groups)}")
        name = escaped(display.plain(label, 40))
        dash = "solid" if surface.leads else "dot" if surface.what == "worst" else "dash"
        reach = f"{surface.what} of seeds"
        if surface.limit is not None:
            third = next(o for o in summary.objectives if o not in (axes.x, axes.y))
            bound = "at most" if third.direction == "min" else "at least"
            third_name = escaped(display.plain(third.name, 40))
            reach += f", {third_name} {bound} {display.number(surface.limit)}"
        texts = [
            f"<b>{name}</b>, {reach}<br>{x_name} {display.number(x)}, {y_name} {display.number(y)}"
            for x, y in surface.corners
        ]
        traces.append(
            scatter(
                name, "lines+markers" if surface.leads else "lines",
                [x for x, _ in surface.corners], [y for _, y in surface.corners],
                line={"shape": step, "width": 1.8, "color": look.colour, "dash": dash},
                marker=_marker(look, 6), legendgroup=group, showlegend=surface.leads,
                **hovering(texts),
            )
        )  # fmt: skip
    return figure(traces, axes.label(axes.x), axes.label(axes.y)) if traces else None


def _schedules_plot(summary: Summary) -> Spec | None:
    """The best front's keep schedules: one line per point, one column per layer."""
    points = series.scheduled_points(summary)
    if not points:
        return None
    percent = [[100 * share for share in point.keep or []] for point in points]
    names = [_point_name(number, point, summary) for number, point in enumerate(points, start=1)]
    layers = max(map(len, percent))
    texts = [
        [f"layer {layer}: {share:.0f} % of visual tokens<br>{name}" for layer, share in
         enumerate(row)]
        for row, name in zip(percent, names, strict=True)
    ]  # fmt: skip
    rows = list(range(len(points)))
    heat = _heat_map(percent, list(range(layers)), rows, texts, "kept, %")
    layout = {
        "xaxis": {"title": {"text": glossary.LAYER}, "dtick": 1 if layers <= 16 else 4},
        "yaxis": {"tickvals": rows, "ticktext": names, "title": {"text": ""}},
        "yaxis_narrow": {"ticktext": [str(row + 1) for row in rows], "title": {"text": "point"}},
        "height": min(1400, 150 + 22 * len(points)),
    }
    return {"data": [heat], "layout": layout}


def _parts_plot(summary: Summary) -> Spec | None:
    """Scores per question family along the best front: one line per family, a column per point."""
    points = [point for point in summary.front_of_best() if point.parts]
    if not points:
        return None
    dense = (summary.heldout_problem or summary.problem).get("dense_parts", {})
    names = sorted(points[0].parts, key=lambda name: points[0].parts[name], reverse=True)
    columns = [f"{number}" for number, _ in enumerate(points, start=1)]
    rows = [[point.parts[name] for point in points] for name in names]
    labels = [escaped(display.plain(name, 24)) for name in names]
    if dense:
        columns.append("dense")
        rows = [[*row, dense[name]] for row, name in zip(rows, names, strict=True)]
    texts = [
        [f"{label}, point {column}: {display.number(value, 2)}" for column, value in
         zip(columns, row, strict=True)]
        for label, row in zip(labels, rows, strict=True)
    ]  # fmt: skip
    percent = [[100 * value for value in row] for row in rows]
    heat = _heat_map(percent, columns, labels, texts, "score, %")
    layout = {
        "xaxis": {"title": {"text": "point of the best front, by cost"}, "type": "category"},
        "yaxis": {"type": "category", "title": {"text": ""}},
        "height": 150 + 24 * len(names),
    }
    return {"data": [heat], "layout": layout}


def _heat_map(
    percent: Sequence[Sequence[float]], columns: Sequence[Any], rows: Sequence[Any],
    texts: Sequence[Sequence[str]], title: str,
) -> Spec:  # fmt: skip
    """Percentages as colours, and as numbers where there are few columns."""
    heat: Spec = {
        "type": "heatmap", "z": percent, "x": columns, "y": rows, "zmin": 0, "zmax": 100,
        "colorscale": "Cividis", "xgap": 1, "ygap": 1, **hovering(texts),
        "colorbar": {
            "title": {"text": title, "side": "right"}, "thickness": 12, "outlinewidth": 0,
        },
    }  # fmt: skip
    if len(columns) <= MAX_CELLS_WITH_TEXT:
        heat |= {"texttemplate": "%{z:.0f}", "textfont": {"size": 11}}
    return heat


def _point_name(number: int, point: FrontPoint, summary: Summary) -> str:
    """A point by its first two objectives, such as `3: score 0.91, compute 0.42`."""
    values = [
        f"{escaped(display.plain(o.name, 12))} {display.number(point.search.get(o.name), 2)}"
        for o in summary.objectives[:2]
    ]
    if display.has_operators(summary.front) and point.pruner is not None:
        values.append(escaped(display.plain(point.pruner, 16)))
    return f"{number}: {', '.join(values)}"


def _marker(look: Look, size: int) -> Spec:
    return {"symbol": look.symbol, "size": size, "color": look.colour}


def _folded(text: str, width: int = 50) -> str:
    """Break a long configuration behind blanks, so that hover boxes fit a phone."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return "\n".join(lines)


def _joined(lines: Sequence[str]) -> str:
    return "<br>".join(line.replace("\n", "<br>") for line in lines)


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def escaped(text: str) -> str:
    """Text for plotly: its own parser knows `&lt; &gt; &amp;`, and quotes mean nothing to it."""
    return html.escape(text, quote=False)
