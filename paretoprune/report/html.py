"""The HTML report of a comparison: one file with everything in it, which opens without a network.

A section is data, a heading with tables, plots and texts, and `page.render_page` draws them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from paretoprune.comparison.gradients import Gradients
from paretoprune.comparison.results import FRONT_NAME, SUMMARY_NAME, Summary, front_csv
from paretoprune.compression.kept import Examples
from paretoprune.files import write_whole
from paretoprune.report import display, glossary, series
from paretoprune.report.budgets import budget_sentences, budgets_table, kept_budgets
from paretoprune.report.display import LEVEL
from paretoprune.report.front import best_front_table
from paretoprune.report.glossary import terms
from paretoprune.report.gradient_plots import gradient_plots
from paretoprune.report.gradients import gradient_sections
from paretoprune.report.kept_section import kept_section
from paretoprune.report.page import (
    Blocks,
    Download,
    Downloads,
    Plot,
    Section,
    Terms,
    render_page,
    resource,
)
from paretoprune.report.picked import IMPORTANCE, sensitivity_by_space, sensitivity_table
from paretoprune.report.plots import plots
from paretoprune.report.presets import presets_finding, presets_table
from paretoprune.report.ranking import finding, pairs_table, ranking_table
from paretoprune.report.table import Column, Table

INTERRUPTED = (
    "The comparison was interrupted: it covers what was finished, and the last study perhaps in "
    "part."
)


def write_html(
    summary: Summary,
    file: Path,
    examples: Examples | None = None,
    gradients: Gradients | None = None,
) -> None:
    """Write the report; raises `BrokenFileError` where that fails."""
    write_whole(file, render_html(summary, examples, gradients).encode("utf-8"))


def render_html(
    summary: Summary, examples: Examples | None = None, gradients: Gradients | None = None
) -> str:
    """The report as one self-contained HTML page.

    With example pictures and the insides of gradient searches, if there are any.
    """
    drawn = plots(summary) | gradient_plots(gradients)
    pictures = kept_section(examples)
    about = [
        f"Written by paretoprune {display.plain(summary.versions.get('paretoprune', ''), 20)}",
        display.plain(summary.created, 40),
    ]
    budget = summary.settings.get("budget")
    if isinstance(budget, int | float):
        about.append(f"{display.amount(float(budget))} {glossary.cost_unit(summary)} per study")
    if summary.standings:
        about.append(glossary.seeds(summary))
    strategies = display.counted(len(summary.standings), "search strategy", "search strategies")
    return render_page(
        f"{strategies} compared on {glossary.subject(summary)}",
        finding(summary),
        " · ".join(about),
        [
            *_result_sections(summary, drawn),
            *([pictures] if pictures else []),
            *gradient_sections(gradients, drawn),
            *_closing_sections(summary),
        ],
        plots=drawn,
        library=get_plotlyjs() if drawn else "",
        script=resource("page.js") if drawn or pictures else "",
        warning=INTERRUPTED if summary.interrupted else "",
        contents=True,
    )


def _result_sections(summary: Summary, plotted: Collection[str]) -> list[Section]:
    """Ranking, fronts, and comparisons of strategies with each other and with presets."""
    sections = [_ranking(summary), *_plots(summary, plotted)]
    points = summary.front_of_best()
    if points:
        who = f"{display.plain(points[0].label)}, seed {points[0].seed}"
        errors = "; ± is the standard error" if any(p.search_error for p in points) else ""
        texts = [f"The front of {who}, in the order of cost{errors}."]
        if any(point.separated is not None for point in points):
            texts.append(
                f"{LEVEL} under “significant”: the score is not significantly higher than that of "
                "every point that costs no more (paired by sample, 95 %)."
            )
        texts += [display.plain(note, 400) for note in summary.notes]
        front: Blocks = [*texts, best_front_table(summary)]
        sections.append(Section("Best front", front))
    budgets = kept_budgets(summary.front)
    if budgets:
        policies: Blocks = [*budget_sentences(summary), budgets_table(budgets)]
        sections.append(Section("Mean budgets of policies", policies))
    if summary.presets:
        table = presets_table(summary, full=True)
        presets: Blocks = [presets_finding(summary), table, table.caption]
        sections.append(Section("Published presets", presets))
    if summary.pairs:
        pairs = pairs_table(summary.pairs)
        note = (
            f"{len(summary.pairs)} paired comparisons on the same held-out samples. “Significant” "
            "means that the p-value, corrected for their number, is below 0.05."
        )
        sections.append(Section(pairs.title, [note, pairs]))
    if "plot-attainment" in plotted:
        sections.append(_attainment(summary))
    if summary.sensitivity:
        knobs: Blocks = []
        for space, entries in sensitivity_by_space(summary).items():
            count = entries[0].evaluations
            knobs.append(f"Space {display.plain(space, 40)}, {count} configurations.")
            knobs.append(sensitivity_table(entries, f"Knobs of {space}"))
        sections.append(Section("Which knobs matter", [*knobs, IMPORTANCE]))
    return sections


def _closing_sections(summary: Summary) -> list[Section]:
    """Terms, studies, settings and files."""
    files = [
        Download(FRONT_NAME, "text/csv", "every front's points", front_csv(summary)),
        Download(
            SUMMARY_NAME, "application/json", "everything",
            summary.model_dump_json(indent=1) + "\n",
        ),
    ]  # fmt: skip
    studies = [Section("Studies", [_studies_table(summary)])] if summary.studies else []
    return [
        Section("How to read this", [Terms(terms(summary))]),
        *studies,
        Section("Settings and versions", [_settings_table(summary)]),
        Section("Downloads", [Downloads(files)]),
    ]


def _ranking(summary: Summary) -> Section:
    if not summary.standings:
        return Section("Ranking", ["There is nothing to rank."])
    table = ranking_table(summary)
    return Section("Ranking", [replace(table, title="Ranking of the strategies"), table.caption])


def _studies_table(summary: Summary) -> Table:
    studies = summary.studies
    texts = {
        "strategy": [display.plain(study.label) for study in studies],
        "seed": [str(study.seed) for study in studies],
        "space": [display.plain(study.space, 40) for study in studies],
        "held-out front area": [display.number(study.heldout_area) for study in studies],
        "hypervolume": [display.number(study.hypervolume) for study in studies],
        "IGD+": [display.number(study.igd_plus) for study in studies],
        "epsilon": [display.number(study.epsilon) for study in studies],
        "Hausdorff": [display.number(study.hausdorff) for study in studies],
        "front size": [str(study.front_size) for study in studies],
        "evaluations": [str(study.evaluations) for study in studies],
        "failed": [str(study.failures) for study in studies],
        "search cost": [display.amount(study.cost) for study in studies],
        "computed": [display.amount(study.executed) for study in studies],
        "seconds": [display.amount(study.seconds) for study in studies],
        "of which evaluating": [display.amount(study.evaluating) for study in studies],
        "stopped": [display.plain(study.stopped, 40) for study in studies],
    }
    left = ("strategy", "space", "stopped")
    columns = [
        Column(title, cells, "text" if title in left else "number")
        for title, cells in texts.items()
    ]
    return Table("All studies", columns)


def _settings_table(summary: Summary) -> Table:
    groups: dict[str, Mapping[str, Any] | None] = {
        "settings": summary.settings,
        "search split": summary.problem,
        "held-out split": summary.heldout_problem,
        "versions": summary.versions,
    }
    rows = [
        (group, display.plain(name, 60), _value(value))
        for group, values in groups.items()
        for name, value in (values or {}).items()
    ]
    columns = [
        Column("of", [group for group, _, _ in rows], "text"),
        Column("name", [name for _, name, _ in rows], "text"),
        Column("value", [value for _, _, value in rows], "wide"),
    ]
    return Table("Settings and versions", columns)


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return display.plain(value if isinstance(value, str) else json.dumps(value, default=str), 300)


def _plots(summary: Summary, plotted: Collection[str]) -> list[Section]:
    """Fronts, curves, keep schedules and question families, where they are drawn."""
    first = series.axes(summary)
    further = enumerate(series.further_axes(summary), start=3)
    fronts = {"plot-front": first, **{f"plot-front-{number}": axes for number, axes in further}}
    made = {name: _front(summary, name, axes) for name, axes in fronts.items() if axes is not None}
    points = len(summary.front_of_best())
    split = "held-out data" if summary.heldout_problem is not None else "search split"
    made |= {
        "plot-curves": _plot(
            "Hypervolume over search cost", "plot-curves",
            "Line plot of hypervolume on the search split over search cost, one line per strategy. "
            "The final values are in the ranking.",
            "Hypervolume of each strategy at each search cost: the median of its seeds, and their "
            "range as a band. Higher and further left is better.",
        ),
        "plot-schedules": _plot(
            "Keep schedules of the best front", "plot-schedules",
            f"Heat map of {points} keep schedules, one row per configuration and one column per "
            "decoder layer. The same numbers are in the table below.",
            "Share of visual tokens that each decoder layer still processes, on the best front "
            "from the cheapest configuration (bottom) to the most expensive (top).",
        ),
        "plot-parts": _plot(
            f"Scores per question family, {split}", "plot-parts",
            "Heat map of scores, one row per question family and one column per configuration of "
            "the best front, the dense model last. The same numbers are in comparison.json.",
            "Mean score of each question family along the best front. Families that fade first, "
            "from right to left, are those that need their visual tokens most.",
        ),
    }  # fmt: skip
    return [section for name, section in made.items() if name in plotted]


def _plot(title: str, name: str, alt: str, caption: str) -> Section:
    return Section(title, [Plot(name, alt, caption)])


def _front(summary: Summary, name: str, axes: series.Axes) -> Section:
    points = len([p for p in summary.front if axes.values(p) is not None])
    alt = (
        f"Scatter plot of {points} configurations: {axes.label(axes.y)}, over "
        f"{axes.label(axes.x)}. The numbers of the best front are in the table below."
    )
    caption = ["Each point is a non-dominated configuration of one study; point at one to read it."]
    if axes.heldout:
        caption.append(
            "Configurations were chosen on the search split and are drawn at their held-out "
            "values, so a line may go down: that is the effect of chance on the search split."
        )
    if axes.complete:
        caption.append(
            "Lines join the front of each strategy's best seed by search hypervolume; points of "
            "other seeds are pale."
        )
    else:
        caption.append(
            "The problem has more objectives than the two that are drawn, so a point may only "
            "seem dominated; every other objective has a figure of its own."
        )
    caption.append(
        "Grey rings: the union front, which no point of any study dominates on the search split."
    )
    if summary.presets:
        caption.append(
            "Grey crosses: published presets, which no search saw; point at one to read it."
        )
    return _plot(axes.title, name, alt, " ".join(caption))


def _attainment(summary: Summary) -> Section:
    alt = (
        "Line plot of attainment surfaces on the search split: for each strategy the surface that "
        "half of its seeds reach, and the one that all of them reach."
    )
    caption = (
        "Solid: the median attainment surface, reached by at least half of a strategy's seeds. "
        "Dotted: the worst case, reached by all of them. The gap between the two is luck."
    )
    axes = series.axes(summary)
    if axes is not None and len(summary.objectives) == 3:
        third = next(o for o in summary.objectives if o not in (axes.x, axes.y))
        name = display.plain(third.name)
        caption += (
            f" Both hold for any {name}; dashed: the median where {name} is no worse than in "
            "half of all points."
        )
    return _plot("Attainment over seeds, search split", "plot-attainment", alt, caption)
