"""The ranking's columns, defined once for terminal, HTML and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from paretoprune.comparison.results import Standing, Summary
from paretoprune.report import words


@dataclass(frozen=True)
class Column:
    """A column: short head for narrow tables, full title, the cells of all rows, and its meaning.

    Cells are plain text; a column's numbers have equally many decimals.
    """

    head: str
    title: str
    cells: Callable[[Sequence[Standing]], list[str]]
    meaning: str
    numeric: bool = True


def _numbers(figure: Callable[[Standing], float]) -> Callable[[Sequence[Standing]], list[str]]:
    return lambda rows: [words.number(figure(row)) for row in rows]


RANK = Column("#", "rank", lambda rows: [str(row.rank) for row in rows], "from best to worst")
STRATEGY = Column(
    "strategy",
    "strategy",
    lambda rows: [words.plain(row.label, 60) for row in rows],
    "name and options, as they were written",
    numeric=False,
)
AREA = Column(
    "held-out area",
    "held-out front area [95 %]",
    lambda rows: [words.area(row) for row in rows],
    "mean held-out score over 20 budgets, each with the configuration that the search split picks "
    "there; strategies are ranked by it",
)
VERDICT = Column(
    "",
    "vs best",
    lambda rows: [words.LEVEL if row.separated is False else "" for row in rows],
    f"{words.LEVEL}: not separated from the best by the paired difference, corrected for all pairs",
    numeric=False,
)
HYPERVOLUME = Column(
    "HV",
    "hypervolume",
    _numbers(lambda row: row.hypervolume),
    "area that the front dominates on the search split; higher is better",
)
IGD = Column(
    "IGD+",
    "IGD+",
    _numbers(lambda row: row.igd_plus),
    "mean shortfall from the reference front; lower is better",
)
FRONT = Column(
    "front",
    "front size",
    lambda rows: words.counts([row.front_size for row in rows]),
    "non-dominated configurations",
)
EVALUATIONS = Column(
    "evals",
    "evaluations",
    lambda rows: words.counts([row.evaluations for row in rows]),
    "configurations evaluated",
)
COST = Column(
    "cost",
    "search cost",
    lambda rows: words.amounts([row.cost for row in rows]),
    "what the strategy asked for, everything it trained on included",
)
EXECUTED = Column(
    "run",
    "executed",
    lambda rows: words.amounts([row.executed for row in rows]),
    "what was really computed of the evaluations, after sharing; same unit as the search cost",
)
SECONDS = Column(
    "sec",
    "seconds",
    lambda rows: words.amounts([row.seconds for row in rows]),
    "wall time of the search",
)
SPACE = Column(
    "space",
    "space",
    lambda rows: [words.plain(row.space, 40) for row in rows],
    "search space: the knobs it could turn",
    numeric=False,
)

ORDER = (
    RANK, STRATEGY, AREA, VERDICT, HYPERVOLUME, IGD, FRONT, EVALUATIONS, COST, EXECUTED, SECONDS,
    SPACE,
)  # fmt: skip


def columns(summary: Summary) -> list[Column]:
    """All columns that the summary has something for, left to right."""
    empty = set() if words.has_heldout(summary) else {AREA}
    if not any(row.separated is False for row in summary.standings):
        empty.add(VERDICT)
    return [column for column in ORDER if column not in empty]


def fitting(summary: Summary, fits: Callable[[Collection[Column]], bool]) -> list[Column]:
    """As many columns as fit, left to right: the important ones first, the indispensable always."""
    held = words.has_heldout(summary)
    kept = {RANK, STRATEGY, AREA if held else HYPERVOLUME}
    if VERDICT in columns(summary):
        kept.add(VERDICT)
    for column in (HYPERVOLUME, COST, EVALUATIONS, IGD, FRONT, SECONDS, SPACE, AREA, EXECUTED):
        if fits(kept | {column}):
            kept.add(column)
    return [column for column in ORDER if column in kept]


def caption(summary: Summary, shown: Collection[Column]) -> str:
    """Terms and units of a table with short heads, and what the figures are means of."""
    parts = [_merit(summary)]
    if HYPERVOLUME in shown:
        parts.append("HV: hypervolume (search).")
    if COST in shown:
        parts.append(f"Cost: {words.cost_unit(summary)}.")
    if EXECUTED in shown:
        parts.append("Run: executed after sharing.")
    return " ".join([*parts, f"{words.seeds(summary).capitalize()}."])


def explanation(summary: Summary) -> str:
    """Terms and units of a table with full titles, and what the figures are means of."""
    return (
        f"{_merit(summary)} Hypervolume: on the search split. IGD+: mean shortfall from "
        f"{words.reference_front(summary)}. Search cost and executed cost in "
        f"{words.cost_unit(summary)}. {words.seeds(summary).capitalize()}."
    )


def _merit(summary: Summary) -> str:
    if not words.has_heldout(summary):
        if summary.heldout_problem is not None:
            return "More than two objectives: ranked by hypervolume."
        return "No held-out data: ranked by hypervolume."
    level = ""
    if VERDICT in columns(summary):
        level = f"; {words.LEVEL} not separated from the best"
    return f"Held-out area: mean score over 20 budgets [95 %]{level}."
