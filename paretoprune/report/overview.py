"""The overview of several comparisons: `overview.html` and `overview.md`, from their files."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
from rich.console import Console
from rich.text import Text

from paretoprune.comparison.results import Standing, Summary
from paretoprune.comparison.sweep import CaseRecord, Matrix, read_matrix, read_summaries
from paretoprune.errors import BrokenFileError
from paretoprune.report import HTML_NAME, words
from paretoprune.report.blocks import Head, section, table
from paretoprune.report.console import show
from paretoprune.report.files import resource, write_whole
from paretoprune.report.html import policy
from paretoprune.report.markdown import escaped
from paretoprune.report.terminal import new_table

OVERVIEW_HTML = "overview.html"
OVERVIEW_TABLE = "overview.md"
WAITING = "not finished"


@dataclass(frozen=True)
class Overall:
    """A strategy over all comparisons it took part in; the area where all have held-out data."""

    label: str
    comparisons: int
    first: int
    mean_rank: float
    heldout_area: float | None


def overall(summaries: Mapping[str, Summary]) -> list[Overall]:
    """Strategies by mean rank, best first."""
    found: dict[str, list[Standing]] = {}
    for summary in summaries.values():
        for standing in summary.standings:
            found.setdefault(standing.label, []).append(standing)
    rows = []
    for label, standings in found.items():
        areas = [s.heldout_area for s in standings if s.heldout_area is not None]
        rows.append(
            Overall(
                label,
                len(standings),
                sum(s.rank == 1 for s in standings),
                float(np.mean([s.rank for s in standings])),
                float(np.mean(areas)) if len(areas) == len(standings) else None,
            )
        )
    return sorted(rows, key=lambda row: (row.mean_rank, row.label))


CASE_HEADS = (
    Head("comparison", kind="text"),
    Head("model", kind="text"),
    Head("task", kind="text"),
    Head("pruner", kind="text"),
    Head("best strategy", kind="text"),
    Head("held-out area", meaning="of the best strategy, mean over seeds"),
    Head("hypervolume", meaning="of the best strategy on the search split, mean over seeds"),
)
STRATEGY_HEADS = (
    Head("strategy", kind="text"),
    Head("comparisons"),
    Head("first", meaning="in how many comparisons it is ranked first"),
    Head("mean rank"),
    Head("mean held-out area", meaning="over its comparisons"),
)


def case_rows(matrix: Matrix, summaries: Mapping[str, Summary]) -> list[list[str]]:
    """One row per comparison, plain text."""
    return [_case_row(case, summaries.get(case.folder)) for case in matrix.cases]


def _case_row(case: CaseRecord, summary: Summary | None) -> list[str]:
    task = case.task or "its own"
    named = [words.plain(t, 60) for t in (case.folder, case.model, task, case.pruner)]
    if case.failure is not None:
        return [*named, words.plain(f"not run: {case.failure}", 300), "", ""]
    if summary is None or not summary.standings:
        return [*named, WAITING, "", ""]
    best = summary.standings[0]
    label = words.plain(best.label, 60) + (" (interrupted)" if summary.interrupted else "")
    return [*named, label, words.number(best.heldout_area), words.number(best.hypervolume)]


def strategy_rows(summaries: Mapping[str, Summary]) -> list[list[str]]:
    """One row per strategy, plain text."""
    return [
        [
            words.plain(row.label, 60), str(row.comparisons), str(row.first),
            words.number(row.mean_rank, 2), words.number(row.heldout_area),
        ]
        for row in overall(summaries)
    ]  # fmt: skip


def write_overview(folder: Path) -> None:
    """Write both files from what the sub-folders hold; raises `BrokenFileError`."""
    matrix, summaries = _read(folder)
    write_whole(folder / OVERVIEW_HTML, _html(matrix, summaries).encode("utf-8"))
    write_whole(folder / OVERVIEW_TABLE, _markdown(matrix, summaries).encode("utf-8"))


def print_overview(console: Console, folder: Path) -> None:
    """Print both tables and where they are."""
    matrix, summaries = _read(folder)
    for title, heads, rows in _tables(matrix, summaries):
        printed = new_table(title, "")
        for head in heads:
            printed.add_column(
                head.title, justify="right" if head.kind == "number" else "left", overflow="fold"
            )
        for row in rows:
            printed.add_row(*map(Text, row))
        console.print()
        show(console, printed)
    written = f"{OVERVIEW_HTML}, {OVERVIEW_TABLE} and a folder per comparison"
    show(console, Text(f"In {words.plain(folder, 400)}: {written}"))


def _read(folder: Path) -> tuple[Matrix, dict[str, Summary]]:
    matrix = read_matrix(folder)
    if matrix is None:
        raise BrokenFileError(f"{folder} does not hold several comparisons")
    return matrix, read_summaries(folder)


def _tables(
    matrix: Matrix, summaries: Mapping[str, Summary]
) -> Iterator[tuple[str, tuple[Head, ...], list[list[str]]]]:
    yield "Comparisons", CASE_HEADS, case_rows(matrix, summaries)
    if summaries:
        yield "Strategies over all comparisons", STRATEGY_HEADS, strategy_rows(summaries)


def _html(matrix: Matrix, summaries: Mapping[str, Summary]) -> str:
    body = []
    for title, heads, rows in _tables(matrix, summaries):
        cells = [[html.escape(cell) for cell in row] for row in rows]
        if heads is CASE_HEADS:
            for case, row in zip(matrix.cases, cells, strict=True):
                if case.folder in summaries:
                    link = html.escape(f"{case.folder}/{HTML_NAME}", quote=True)
                    row[0] = f'<a href="{link}">{row[0]}</a>'
        body.append(section(title, table(title, heads, cells)))
    versions = {s.versions.get("paretoprune", "") for s in summaries.values()}
    return Template(resource("page.html")).substitute(
        policy=policy([]),
        title=html.escape(f"{len(matrix.cases)} comparisons of search strategies"),
        style=resource("style.css"),
        finding=html.escape(_finding(matrix, summaries)),
        about=html.escape(f"Written by paretoprune {words.plain(', '.join(sorted(versions)), 40)}"),
        interrupted="",
        contents="",
        sections="\n".join(body),
        plots="{}",
        library="",
        script="",
    )


def _markdown(matrix: Matrix, summaries: Mapping[str, Summary]) -> str:
    parts = [escaped(_finding(matrix, summaries))]
    for _, heads, rows in _tables(matrix, summaries):
        lines = [
            [head.title for head in heads],
            ["---:" if head.kind == "number" else "---" for head in heads],
            *([escaped(cell) for cell in row] for row in rows),
        ]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _finding(matrix: Matrix, summaries: Mapping[str, Summary]) -> str:
    rows = overall(summaries)
    done = f"{len(summaries)} of {len(matrix.cases)} comparisons are finished."
    if not rows:
        return done
    best = rows[0]
    return (
        f"{done} {words.plain(best.label, 60)} has the best mean rank, {best.mean_rank:.2f}, and "
        f"is first in {best.first} of its {best.comparisons}."
    )
