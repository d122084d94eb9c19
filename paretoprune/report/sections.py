"""The HTML report's sections: tables, figures with captions, explanations."""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Mapping
from typing import Any

from paretoprune.comparison.gradients import Gradients
from paretoprune.comparison.results import Summary
from paretoprune.compression.kept import Examples
from paretoprune.report import presets, ranking, shapes, words
from paretoprune.report.blocks import Head, figure, section, table
from paretoprune.report.budgets import budgets_section
from paretoprune.report.comparisons import attainment_section, pairs_section
from paretoprune.report.downloads import downloads_section
from paretoprune.report.gradient_sections import gradient_sections
from paretoprune.report.kept_html import kept_section
from paretoprune.report.palette import looks
from paretoprune.report.sensitivity import sensitivity_section
from paretoprune.report.terms import terms


def sections(
    summary: Summary,
    plotted: Collection[str],
    examples: Examples | None = None,
    gradients: Gradients | None = None,
) -> list[str]:
    """All sections that there are data for, as HTML; `plotted` are ids of the page's plots."""
    found = [
        _ranking(summary),
        _front_plot(summary, shapes.axes(summary), "plot-front", plotted),
        *(
            _front_plot(summary, further, f"plot-front-{number}", plotted)
            for number, further in enumerate(shapes.further_axes(summary), start=3)
        ),
        _curves_plot(summary) if "plot-curves" in plotted else "",
        _schedules_plot(summary) if "plot-schedules" in plotted else "",
        _parts_plot(summary) if "plot-parts" in plotted else "",
        _best_front(summary),
        budgets_section(summary),
        _presets(summary),
        pairs_section(summary),
        attainment_section(summary) if "plot-attainment" in plotted else "",
        sensitivity_section(summary),
        kept_section(examples),
        *gradient_sections(gradients, plotted),
        _notes(summary),
        _studies(summary),
        _settings(summary),
        downloads_section(summary),
    ]
    return [text for text in found if text]


def _ranking(summary: Summary) -> str:
    if not summary.standings:
        return section("Ranking", "<p>There is nothing to rank.</p>")
    style = looks(summary)
    columns = ranking.columns(summary)
    cells = {c: [html.escape(text) for text in c.cells(summary.standings)] for c in columns}
    cells[ranking.STRATEGY] = [
        f'<span class="glyph" style="color:{look.colour}" aria-hidden="true">{look.glyph}</span> '
        f"{label}"
        for label, look in zip(
            cells[ranking.STRATEGY], [style[row.label] for row in summary.standings], strict=True
        )
    ]
    heads = [
        Head(column.title, "number" if column.numeric else "text", column.meaning)
        for column in columns
    ]
    body = table("Ranking of the strategies", heads, list(zip(*cells.values(), strict=True)))
    return section("Ranking", body + f"<p>{html.escape(ranking.explanation(summary))}</p>")


def _best_front(summary: Summary) -> str:
    points = summary.front_of_best()
    if not points:
        return ""
    heldout = any(point.heldout is not None for point in points)
    scheduled = any(point.keep is not None for point in points)
    heads = [Head("point")]
    for objective in summary.objectives:
        name = words.plain(objective.name, 40)
        heads.append(Head(f"{name}, search"))
        if heldout:
            heads.append(Head(f"{name}, held-out"))
    several = words.has_operators(summary.front)
    if several:
        heads.append(Head("pruner", kind="wide"))
    heads.append(Head("keep schedule, %" if scheduled else "knobs", kind="wide"))
    heads.append(Head("union front", kind="text"))
    judged = any(point.separated is not None for point in points)
    if judged:
        heads.append(Head("separated", kind="text"))
    timed = any("measured_latency_ms" in point.metrics for point in points)
    if timed:
        heads += [Head("measured prefill ms"), Head("measured first token ms")]
    rows = []
    for number, point in enumerate(points, start=1):
        cells = [str(number)]
        for objective in summary.objectives:
            cells.append(words.figure_error(point.search, point.search_error, objective.name))
            if heldout:
                held = words.figure_error(point.heldout or {}, point.heldout_error, objective.name)
                cells.append(held)
        if several:
            cells.append(words.operator(point))
        cells += [words.configuration(point), "yes" if point.on_union else "no"]
        if judged:
            cells.append({True: "yes", False: words.LEVEL, None: words.MISSING}[point.separated])
        if timed:
            for name in ("measured_latency", "measured_first_token"):
                spread = {f"{name}_ms": point.metrics.get(f"{name}_spread_ms", 0.0)}
                cells.append(words.figure_error(point.metrics, spread, f"{name}_ms"))
        rows.append([html.escape(cell) for cell in cells])
    who = html.escape(f"{words.plain(points[0].label)}, seed {points[0].seed}")
    errors = "; ± is the standard error" if any(p.search_error for p in points) else ""
    note = f"<p>The front of {who}, in the order of cost{errors}.</p>"
    if judged:
        note += (
            f"<p>{words.LEVEL} under “separated”: the score does not exceed that of every point "
            "that costs no more by more than sampling error (paired by sample, 95 %).</p>"
        )
    note += "".join(f"<p>{html.escape(words.plain(told, 400))}</p>" for told in summary.notes)
    return section("Best front", note + table("Best front", heads, rows))


def _presets(summary: Summary) -> str:
    """Published presets beside the found front."""
    if not summary.presets:
        return ""
    heads = [Head("preset", kind="wide", meaning="name, and other names of the same configuration")]
    kinds = ("number", "number", "number", "number", "text", "number", "text")
    heads += [Head(t, kind=k) for t, k in zip(presets.heads(summary), kinds, strict=True)]
    scheduled = any(point.keep is not None for point in summary.presets)
    if scheduled:
        heads.append(Head("keep schedule, %", kind="wide"))
    heads.append(Head("published", kind="wide"))
    rows = []
    for point in summary.presets:
        cells = [" ".join(presets.names(point)), *presets.cells(point, summary)]
        if scheduled:
            cells.append(words.schedule(point.keep) if point.keep else words.MISSING)
        cells.append("; ".join(words.plain(about, 200) for about in point.about))
        rows.append([html.escape(cell) for cell in cells])
    told = f"<p>{html.escape(presets.finding(summary))}</p>"
    body = told + table("Published presets", heads, rows)
    return section("Published presets", body + f"<p>{html.escape(presets.caption(summary))}</p>")


def _studies(summary: Summary) -> str:
    if not summary.studies:
        return ""
    heads = [
        Head("strategy", kind="text"), Head("seed"), Head("space", kind="text"),
        Head("held-out front area"), Head("hypervolume"), Head("IGD+"), Head("epsilon"),
        Head("Hausdorff"), Head("front size"), Head("evaluations"), Head("failed"),
        Head("search cost"), Head("executed"), Head("seconds"), Head("of which evaluating"),
        Head("stopped", kind="text"),
    ]  # fmt: skip
    rows = [
        [
            words.plain(s.label), str(s.seed), words.plain(s.space, 40),
            words.number(s.heldout_area), words.number(s.hypervolume), words.number(s.igd_plus),
            words.number(s.epsilon), words.number(s.hausdorff), str(s.front_size),
            str(s.evaluations), str(s.failures), words.amount(s.cost), words.amount(s.executed),
            words.amount(s.seconds), words.amount(s.evaluating), words.plain(s.stopped, 40),
        ]
        for s in summary.studies
    ]  # fmt: skip
    escaped = [[html.escape(cell) for cell in row] for row in rows]
    return section("Studies", table("All studies", heads, escaped))


def _settings(summary: Summary) -> str:
    groups: dict[str, Mapping[str, Any] | None] = {
        "settings": summary.settings,
        "search split": summary.problem,
        "held-out split": summary.heldout_problem,
        "versions": summary.versions,
    }
    rows = [
        [html.escape(group), html.escape(words.plain(key, 60)), html.escape(_value(value))]
        for group, values in groups.items()
        for key, value in (values or {}).items()
    ]
    heads = [Head("of", kind="text"), Head("name", kind="text"), Head("value", kind="wide")]
    return section("Settings and versions", table("Settings and versions", heads, rows))


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return words.plain(value if isinstance(value, str) else json.dumps(value, default=str), 300)


def _front_plot(
    summary: Summary, axes: shapes.Axes | None, name: str, plotted: Collection[str]
) -> str:
    if axes is None or name not in plotted:
        return ""
    points = len([p for p in summary.front if axes.values(p) is not None])
    alt = (
        f"Scatter plot of {points} configurations: {axes.label(axes.y)}, over "
        f"{axes.label(axes.x)}. The numbers of the best front are in the table below."
    )
    told = ["Each point is a non-dominated configuration of one study; point at one to read it."]
    if axes.heldout:
        told.append(
            "Configurations were chosen on the search split and are drawn where held-out data put "
            "them, so a line may go down: that is what chance on the search split looks like."
        )
    if axes.complete:
        told.append(
            "Lines join the front of each strategy's best seed by search hypervolume; points of "
            "other seeds are pale."
        )
    else:
        told.append(
            "The problem has more objectives than the two that are drawn, so a point may only "
            "seem dominated; every other objective has a figure of its own."
        )
    told.append(
        "Grey rings: the union front, which no point of any study dominates on the search split."
    )
    if summary.presets:
        told.append(
            "Grey crosses: published presets, which no search saw; point at one to read it."
        )
    return figure(axes.title, name, alt, " ".join(told))


def _curves_plot(summary: Summary) -> str:
    alt = (
        "Line plot of hypervolume on the search split over search cost, one line per strategy. "
        "The final values are in the ranking."
    )
    told = (
        "How far each strategy had come at each search cost: the median of its seeds, and their "
        "range as a band. Higher and further left is better."
    )
    return figure("Hypervolume over search cost", "plot-curves", alt, told)


def _schedules_plot(summary: Summary) -> str:
    points = summary.front_of_best()
    alt = (
        f"Heat map of {len(points)} keep schedules, one row per configuration and one column per "
        "decoder layer. The same numbers are in the table below."
    )
    told = (
        "Share of visual tokens that each decoder layer still processes, on the best front from "
        "the cheapest configuration (bottom) to the dearest (top)."
    )
    return figure("Keep schedules of the best front", "plot-schedules", alt, told)


def _parts_plot(summary: Summary) -> str:
    split = "held-out data" if summary.heldout_problem is not None else "search split"
    alt = (
        "Heat map of scores, one row per question family and one column per configuration of the "
        "best front, the dense model last. The same numbers are in comparison.json."
    )
    told = (
        "Mean score of each question family along the best front. Families that fade first, from "
        "right to left, are those that need their visual tokens most."
    )
    return figure(f"Scores per question family, {split}", "plot-parts", alt, told)


def _notes(summary: Summary) -> str:
    body = "\n".join(
        f"<dt>{html.escape(term)}</dt><dd>{html.escape(meaning)}</dd>"
        for term, meaning in terms(summary).items()
    )
    return section("How to read this", f"<dl>\n{body}\n</dl>")
