"""Several comparisons together: strategies ranked over problems, as a table and a diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretoprune.comparison.results import Summary
from paretoprune.errors import InvalidValueError
from paretoprune.frontier import Ranks, rank_over_problems
from paretoprune.report import words
from paretoprune.report.console import show


@dataclass(frozen=True)
class RankedProblems:
    """Ranks over several comparisons; `figure` says what was ranked, `left_out` who was missing."""

    ranks: Ranks
    problems: tuple[str, ...]
    figure: str
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
    held = all(table[label].heldout_area is not None for table in tables for label in common)
    scores = [
        [float(t[n].heldout_area or 0.0) if held else t[n].hypervolume for n in common]
        for t in tables
    ]
    everyone = dict.fromkeys(label for table in tables for label in table)
    return RankedProblems(
        rank_over_problems(scores, common),
        tuple(folder.name for folder, _ in results),
        "held-out front area" if held else "hypervolume",
        tuple(label for label in everyone if label not in common),
    )


def print_ranks(console: Console, found: RankedProblems) -> None:
    """A line per strategy, best mean rank first, and what the ranks do and do not tell apart."""
    ranks = found.ranks
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("strategy", overflow="fold")
    table.add_column("mean rank", justify="right", no_wrap=True)
    table.add_column("rank on each problem")
    for label, mean, each in zip(ranks.labels, ranks.mean_ranks, ranks.ranks, strict=True):
        told = " ".join(f"{rank:g}" for rank in each)
        table.add_row(Text(words.plain(label, 60)), words.number(mean, 2), told)
    show(console, table)
    show(console, Text(sentence(found)))
    for label in found.left_out:
        show(console, Text(f"left out: {words.plain(label, 60)} is not in every folder", "dim"))


def sentence(found: RankedProblems) -> str:
    """What the ranks say, and how sure."""
    ranks = found.ranks
    told = (
        f"Ranked by {found.figure} on {ranks.problems} problems. Friedman test: p "
        f"{words.p_value(ranks.p_value)}. Mean ranks that differ by less than "
        f"{words.number(ranks.critical_difference, 2)} (Nemenyi, 95 %) are not separated"
    )
    if not ranks.groups:
        return f"{told}: all are."
    groups = "; ".join(
        " = ".join(words.plain(label, 40) for label in ranks.labels[first : last + 1])
        for first, last in ranks.groups
    )
    return f"{told}: {groups}."
