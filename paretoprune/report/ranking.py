"""The ranking of strategies: its table in every medium, its terms, and the result in a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.cells import cell_len

from paretoprune.comparison.results import FrontPoint, ObjectiveInfo, PairRow, Standing, Summary
from paretoprune.report import display, glossary
from paretoprune.report.display import LEVEL, MISSING
from paretoprune.report.palette import looks
from paretoprune.report.table import GAP, Column, Table, escaped

MIN_LABEL = 10
"""Characters for labels on a terminal, at least."""
ORDER = (
    "rank", "strategy", "area", "verdict", "hypervolume", "igd", "front", "evaluations", "cost",
    "computed", "seconds", "space",
)  # fmt: skip
"""Columns from left to right."""
BY_IMPORTANCE = (
    "hypervolume", "cost", "evaluations", "igd", "front", "seconds", "space", "area", "computed",
)  # fmt: skip
"""Columns in the order in which a narrow terminal gets them."""


def columns(summary: Summary) -> dict[str, Column]:
    """All columns that the summary has something for, left to right."""
    rows = summary.standings
    style = looks(summary)

    def numbers(value: Callable[[Standing], float]) -> list[str]:
        return [display.number(value(row)) for row in rows]

    made = {
        "rank": Column(
            "rank", [str(row.rank) for row in rows], head="#", meaning="from best to worst"
        ),
        "strategy": Column(
            "strategy", [display.plain(row.label, 60) for row in rows], "text",
            meaning="name and options, as they were written",
            looks=[style[row.label] for row in rows],
        ),
        "area": Column(
            "held-out front area [95 %]", [display.area(row) for row in rows],
            head="held-out area",
            meaning="mean held-out score over 20 budgets, each with the configuration that the "
            "search split picks there; strategies are ranked by it",
        ),
        "verdict": Column(
            "vs best", [LEVEL if row.separated is False else "" for row in rows], "text", head="",
            meaning=f"{LEVEL}: {glossary.NOT_SIGNIFICANT} from the best by the paired difference, "
            "corrected for all pairs",
        ),
        "hypervolume": Column(
            "hypervolume", numbers(lambda row: row.hypervolume), head="HV",
            meaning="area that the front dominates on the search split; higher is better",
        ),
        "igd": Column(
            "IGD+", numbers(lambda row: row.igd_plus),
            meaning="mean shortfall from the reference front; lower is better",
        ),
        "front": Column(
            "front size", display.counts([row.front_size for row in rows]), head="front",
            meaning="non-dominated configurations",
        ),
        "evaluations": Column(
            "evaluations", display.counts([row.evaluations for row in rows]), head="evals",
            meaning="configurations evaluated",
        ),
        "cost": Column(
            "search cost", display.amounts([row.cost for row in rows]), head="cost",
            meaning="cost of all that the strategy asked for, its own training included",
        ),
        "computed": Column(
            "computed", display.amounts([row.executed for row in rows]), head="comp",
            meaning="cost of the evaluations after sharing; same unit as the search cost",
        ),
        "seconds": Column(
            "seconds", display.amounts([row.seconds for row in rows]), head="sec",
            meaning="wall time of the search",
        ),
        "space": Column(
            "space", [display.plain(row.space, 40) for row in rows], "text",
            meaning="search space: the knobs it could turn",
        ),
    }  # fmt: skip
    return {name: made[name] for name in ORDER}


def _empty(summary: Summary) -> set[str]:
    """Columns without any content."""
    empty = set() if glossary.has_heldout(summary) else {"area"}
    return empty if _has_level(summary) else empty | {"verdict"}


def _has_level(summary: Summary) -> bool:
    return any(row.separated is False for row in summary.standings)


def ranking_table(summary: Summary) -> Table:
    """One line per strategy, from best to worst, with every column."""
    kept = [column for name, column in columns(summary).items() if name not in _empty(summary)]
    return Table("Ranking", kept, explanation(summary))


def narrow_ranking_table(summary: Summary, width: int) -> Table:
    """The ranking in `width` characters of a terminal.

    Columns that do not fit are left out, the least important first; a long label is broken behind
    a sign such as its colon, a number never.
    """
    made = columns(summary)
    strategy = made["strategy"]
    longest = max(map(cell_len, [strategy.title, *(p for c in strategy.cells for p in _parts(c))]))

    def left_for_labels(shown: set[str]) -> int:
        return width - sum(made[name].terminal_width for name in shown - {"strategy"})

    shown = {"rank", "strategy", "area" if glossary.has_heldout(summary) else "hypervolume"}
    if _has_level(summary):
        shown.add("verdict")
    for name in BY_IMPORTANCE:
        if left_for_labels(shown | {name}) >= longest:
            shown.add(name)
    label_width = min(strategy.terminal_width - GAP, max(MIN_LABEL, left_for_labels(shown)))
    broken = [_broken(label, label_width) for label in strategy.cells]
    made["strategy"] = replace(strategy, cells=broken, width=label_width)
    return Table(
        "Ranking",
        [column for name, column in made.items() if name in shown],
        _short_explanation(summary, shown),
        bold=[number for number, row in enumerate(summary.standings) if row.rank == 1],
    )


def _parts(label: str) -> list[str]:
    """Parts of a label that stay on one line: it may be broken behind `:`, `,` and `=`."""
    return [part for part in re.split(r"(?<=[:,=])", label) if part]


def _broken(label: str, width: int) -> str:
    """A label on as many lines of `width` as it needs."""
    lines = [""]
    for part in _parts(label):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def ranking_markdown(summary: Summary) -> str:
    """Finding, table and terms in Markdown; nothing in a name acts as markup."""
    lines = [escaped(finding(summary))]
    if summary.interrupted:
        lines.append("The comparison was interrupted and covers what was finished.")
    if summary.standings:
        lines.append(ranking_table(summary).markdown())
        seconds = display.amount(sum(row.seconds for row in summary.studies))
        lines.append(f"{explanation(summary)} All studies together: {seconds} s.")
    return "\n\n".join(lines) + "\n"


def explanation(summary: Summary) -> str:
    """Terms and units of the table with full titles, and the number of seeds."""
    return (
        f"{_criterion(summary)} Hypervolume: on the search split. IGD+: mean shortfall from "
        f"{glossary.reference_front(summary)}. Search cost and computed cost in "
        f"{glossary.cost_unit(summary)}. {glossary.seeds(summary).capitalize()}."
    )


def _short_explanation(summary: Summary, shown: set[str]) -> str:
    parts = [_criterion(summary)]
    if "hypervolume" in shown:
        parts.append("HV: hypervolume (search).")
    if "cost" in shown:
        parts.append(f"Cost: {glossary.cost_unit(summary)}.")
    if "computed" in shown:
        parts.append("Comp: computed after sharing.")
    return " ".join([*parts, f"{glossary.seeds(summary).capitalize()}."])


def _criterion(summary: Summary) -> str:
    if not glossary.has_heldout(summary):
        if summary.heldout_problem is not None:
            return "More than two objectives: ranked by hypervolume."
        return "No held-out data: ranked by hypervolume."
    level = f"; {LEVEL} {glossary.NOT_SIGNIFICANT} from the best" if _has_level(summary) else ""
    return f"Held-out area: mean score over 20 budgets [95 %]{level}."


def pairs_table(pairs: Sequence[PairRow]) -> Table:
    """Every strategy against every other on the same held-out samples."""
    return Table(
        "Every strategy against every other",
        [
            Column("better", [display.plain(pair.first) for pair in pairs], "text"),
            Column("than", [display.plain(pair.second) for pair in pairs], "text"),
            Column(
                "by [95 %]",
                [f"{p.difference:+.3f} [{p.low:+.3f}, {p.high:+.3f}]" for p in pairs],
                meaning="difference in held-out front area, with the pair's interval",
            ),
            Column(
                "effect size",
                [MISSING if p.effect_size is None else f"{p.effect_size:.2f}" for p in pairs],
                meaning="Cohen's d over held-out samples",
            ),
            Column(
                "p", [display.p_value(pair.p_value) for pair in pairs],
                meaning="two-sided, by bootstrap over seeds and samples",
            ),
            Column(
                "p adjusted", [display.p_value(pair.adjusted) for pair in pairs],
                meaning="corrected for the number of pairs (Holm)",
            ),
            Column(
                "verdict",
                ["significant" if pair.separated else "not significant" for pair in pairs], "text",
            ),
        ],
    )  # fmt: skip


def finding(summary: Summary) -> str:
    """The result in one honest sentence."""
    if not summary.standings:
        return "No study has a front, so there is nothing to rank."
    without = _without_gain(summary)
    if without:
        return (
            f"No evaluated configuration is better than the reference in "
            f"{display.listed(without)}, so every hypervolume is 0 and nothing is ranked by it."
        )
    best, *others = summary.standings
    name = display.plain(best.label)
    if best.heldout_area is None:
        return _finding_by_hypervolume(name, best, others, summary.heldout_problem is not None)
    if not others:
        area = display.area(best)
        return f"{name} reaches a held-out front area of {area}; nothing is compared with it."
    level = [display.plain(row.label) for row in others if row.separated is False]
    worse = [display.plain(row.label) for row in others if row.separated]
    verdict = ""
    if level:
        verdict = f"; {glossary.NOT_SIGNIFICANT} from {display.listed(level)}"
    if worse:
        every = "the others" if level else "every other strategy"
        names = every if len(worse) > 1 else display.listed(worse)
        verdict += f"; significantly different from {names}"
    return f"{name} has the highest held-out front area, {display.area(best)}{verdict}."


def _without_gain(summary: Summary) -> list[str]:
    """Objectives in which no point is better than the reference, such as the dense model's time."""

    def gains(objective: ObjectiveInfo, point: FrontPoint) -> bool:
        value = point.search[objective.name]
        if objective.direction == "min":
            return value < objective.reference
        return value > objective.reference

    return [
        f"{display.plain(objective.name, 40)} ({display.number(objective.reference)})"
        for objective in summary.objectives
        if summary.front and not any(gains(objective, point) for point in summary.front)
    ]


def _finding_by_hypervolume(
    name: str, best: Standing, others: Sequence[Standing], heldout: bool
) -> str:
    reached = display.number(best.hypervolume)
    if not others:
        return f"{name} reaches a hypervolume of {reached}; nothing is compared with it."
    same = [display.plain(r.label) for r in others if display.number(r.hypervolume) == reached]
    have = "has" if len(same) == 1 else "have"
    equal = f", and so {have} {display.listed(same)}" if same else ""
    why = "with more than two objectives" if heldout else "without held-out data"
    return (
        f"{name} has the highest hypervolume on the search split, {reached}{equal}; {why}, "
        "nothing says whether the difference is more than chance."
    )
