"""Several comparisons together: their overview as files and on a terminal, and ranks over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from paretoprune.comparison.results import Standing, Summary
from paretoprune.comparison.sweep import CaseRecord, Matrix, read_matrix, read_summaries
from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.files import write_whole
from paretoprune.frontier import Ranks, rank_over_problems
from paretoprune.report import HTML_NAME, display, glossary
from paretoprune.report.page import Section, render_page
from paretoprune.report.table import Column, Table, escaped, show

OVERVIEW_HTML = "overview.html"
OVERVIEW_TABLE = "overview.md"


@dataclass(frozen=True)
class _Overall:
    """A strategy over all comparisons it took part in; the area where all have held-out data."""

    label: str
    comparisons: int
    first: int
    mean_rank: float
    heldout_area: float | None


def _overall(summaries: Mapping[str, Summary]) -> list[_Overall]:
    """Strategies by mean rank, best first."""
    standings_of: dict[str, list[Standing]] = {}
    for summary in summaries.values():
        for standing in summary.standings:
            standings_of.setdefault(standing.label, []).append(standing)
    rows = []
    for label, standings in standings_of.items():
        areas = [s.heldout_area for s in standings if s.heldout_area is not None]
        rows.append(
            _Overall(
                label,
                len(standings),
                sum(s.rank == 1 for s in standings),
                float(np.mean([s.rank for s in standings])),
                float(np.mean(areas)) if len(areas) == len(standings) else None,
            )
        )
    return sorted(rows, key=lambda row: (row.mean_rank, row.label))


def write_overview(folder: Path) -> None:
    """Write `overview.html` and `overview.md` from the sub-folders; raises `BrokenFileError`."""
    matrix, summaries = _read(folder)
    versions = {summary.versions.get("paretoprune", "") for summary in summaries.values()}
    tables = _tables(matrix, summaries)
    finding = _finding(matrix, summaries)
    page = render_page(
        f"{len(matrix.cases)} comparisons of search strategies",
        finding,
        f"Written by paretoprune {display.plain(', '.join(sorted(versions)), 40)}",
        [Section(table.title, [table]) for table in tables],
    )
    write_whole(folder / OVERVIEW_HTML, page.encode("utf-8"))
    parts = [escaped(finding), *(table.markdown() for table in tables)]
    write_whole(folder / OVERVIEW_TABLE, ("\n\n".join(parts) + "\n").encode("utf-8"))


def print_overview(console: Console, folder: Path) -> None:
    """Print both tables and the names of the files."""
    for table in _tables(*_read(folder)):
        console.print()
        show(console, table.rich())
    written = f"{OVERVIEW_HTML}, {OVERVIEW_TABLE} and a folder per comparison"
    show(console, f"In {display.plain(folder, 400)}: {written}")


def _read(folder: Path) -> tuple[Matrix, dict[str, Summary]]:
    matrix = read_matrix(folder)
    if matrix is None:
        raise BrokenFileError(f"{folder} does not hold several comparisons")
    return matrix, read_summaries(folder)


def _tables(matrix: Matrix, summaries: Mapping[str, Summary]) -> list[Table]:
    """A row per comparison, and a row per strategy."""
    cases = matrix.cases
    best = [_best_of_case(case, summaries.get(case.folder)) for case in cases]
    comparisons = Table(
        "Comparisons",
        [
            Column(
                "comparison", [display.plain(case.folder, 60) for case in cases], "text",
                links=[f"{c.folder}/{HTML_NAME}" if c.folder in summaries else None for c in cases],
            ),
            Column("model", [display.plain(case.model, 60) for case in cases], "text"),
            Column("task", [display.plain(case.task or "its own", 60) for case in cases], "text"),
            Column("pruner", [display.plain(case.pruner, 60) for case in cases], "text"),
            Column("best strategy", [label for label, _, _ in best], "text"),
            Column(
                "held-out area", [area for _, area, _ in best],
                meaning="of the best strategy, mean over seeds",
            ),
            Column(
                "hypervolume", [hypervolume for _, _, hypervolume in best],
                meaning="of the best strategy on the search split, mean over seeds",
            ),
        ],
    )  # fmt: skip
    if not summaries:
        return [comparisons]
    rows = _overall(summaries)
    strategies = Table(
        "Strategies over all comparisons",
        [
            Column("strategy", [display.plain(row.label, 60) for row in rows], "text"),
            Column("comparisons", [str(row.comparisons) for row in rows]),
            Column(
                "first", [str(row.first) for row in rows],
                meaning="in how many comparisons it is ranked first",
            ),
            Column("mean rank", [display.number(row.mean_rank, 2) for row in rows]),
            Column(
                "mean held-out area", [display.number(row.heldout_area) for row in rows],
                meaning="over its comparisons",
            ),
        ],
    )  # fmt: skip
    return [comparisons, strategies]


def _best_of_case(case: CaseRecord, summary: Summary | None) -> tuple[str, str, str]:
    """The best strategy of a comparison with its area and hypervolume, or why there is none."""
    if case.failure is not None:
        return display.plain(f"not run: {case.failure}", 300), "", ""
    if summary is None or not summary.standings:
        return "not finished", "", ""
    best = summary.standings[0]
    label = display.plain(best.label, 60) + (" (interrupted)" if summary.interrupted else "")
    return label, display.number(best.heldout_area), display.number(best.hypervolume)


def _finding(matrix: Matrix, summaries: Mapping[str, Summary]) -> str:
    rows = _overall(summaries)
    finished = f"{len(summaries)} of {len(matrix.cases)} comparisons are finished."
    if not rows:
        return finished
    best = rows[0]
    return (
        f"{finished} {display.plain(best.label, 60)} has the best mean rank, "
        f"{best.mean_rank:.2f}, and is first in {best.first} of its {best.comparisons}."
    )


# --- ranks over problems


@dataclass(frozen=True)
class RankedProblems:
    """Ranks over several comparisons by `criterion`, without the strategies `left_out`."""

    ranks: Ranks
    problems: tuple[str, ...]
    criterion: str
    left_out: tuple[str, ...]


def rank_problems(results: Sequence[tuple[Path, Summary]]) -> RankedProblems:
    """Rank the strategies that all comparisons have, each comparison being one problem.

    By held-out front area where every comparison has it, else by hypervolume.

    Raises `InvalidValueError` for fewer than two comparisons or common strategies.
    """
    if len(results) < 2:
        raise InvalidValueError(
            f"ranking over problems needs at least 2 results folders, got {len(results)}"
        )
    tables = [{row.label: row for row in summary.standings} for _, summary in results]
    common = [label for label in tables[0] if all(label in table for table in tables)]
    if len(common) < 2:
        raise InvalidValueError(
            "ranking over problems needs at least 2 strategies that all folders have, got "
            + (f"only {common[0]}" if common else "none")
        )
    heldout = all(table[label].heldout_area is not None for table in tables for label in common)
    scores = [
        [float(t[n].heldout_area or 0.0) if heldout else t[n].hypervolume for n in common]
        for t in tables
    ]
    everyone = dict.fromkeys(label for table in tables for label in table)
    return RankedProblems(
        rank_over_problems(scores, common),
        tuple(folder.name for folder, _ in results),
        "held-out front area" if heldout else "hypervolume",
        tuple(label for label in everyone if label not in common),
    )


def print_ranks(console: Console, ranked: RankedProblems) -> None:
    """A line per strategy, best mean rank first, and which ranks differ significantly."""
    ranks = ranked.ranks
    columns = [
        Column("strategy", [display.plain(label, 60) for label in ranks.labels], "text"),
        Column("mean rank", [display.number(mean, 2) for mean in ranks.mean_ranks]),
        Column(
            "rank on each problem", [" ".join(f"{r:g}" for r in row) for row in ranks.ranks], "text"
        ),
    ]
    show(console, Table("Ranks", columns).rich(titled=False), ranks_sentence(ranked))
    for label in ranked.left_out:
        show(console, Text(f"left out: {display.plain(label, 60)} is not in every folder", "dim"))


def ranks_sentence(ranked: RankedProblems) -> str:
    """The test of the ranks, and which of them do not differ significantly."""
    ranks = ranked.ranks
    sentence = (
        f"Ranked by {ranked.criterion} on {ranks.problems} problems. Friedman test: p "
        f"{display.p_value(ranks.p_value)}. Mean ranks that differ by less than "
        f"{display.number(ranks.critical_difference, 2)} (Nemenyi, 95 %) are "
        f"{glossary.NOT_SIGNIFICANT}"
    )
    if not ranks.groups:
        return f"{sentence}: all differ by more."
    groups = "; ".join(
        " = ".join(display.plain(label, 40) for label in ranks.labels[first : last + 1])
        for first, last in ranks.groups
    )
    return f"{sentence}: {groups}."
