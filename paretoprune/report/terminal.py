"""The result of a comparison on a terminal: ranking, best front, presets, and the finding."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from paretoprune.comparison.results import FRONT_NAME, SCHEDULES, SUMMARY_NAME, Summary
from paretoprune.report import FIGURE_NAME, HTML_NAME, TABLE_NAME, display
from paretoprune.report.budgets import budget_sentences
from paretoprune.report.front import front_table
from paretoprune.report.presets import presets_finding, presets_table
from paretoprune.report.ranking import finding, narrow_ranking_table
from paretoprune.report.table import show


def print_summary(console: Console, summary: Summary) -> None:
    """Print the ranking, the best front and the finding."""
    console.print()
    if summary.interrupted:
        count = display.counted(len(summary.studies), "study", "studies")
        text = f"Interrupted: this covers {count}, the last one perhaps in part."
        show(console, Text(text, style="bold"))
    tables = []
    if summary.standings:
        tables.append(narrow_ranking_table(summary, console.width))
    if summary.front_of_best():
        tables.append(front_table(summary, width=console.width))
    if summary.presets:
        tables.append(presets_table(summary))
    for table in tables:
        show(console, table.rich())
        console.print()
    show(console, Text(finding(summary), style="bold"))
    if summary.presets:
        show(console, presets_finding(summary))
    show(console, *budget_sentences(summary))
    show(console, *(display.plain(note, 400) for note in summary.notes))


def print_written(console: Console, folder: Path) -> None:
    """Print the names of all files that were written."""
    parts = (
        HTML_NAME, FIGURE_NAME, TABLE_NAME, SUMMARY_NAME, FRONT_NAME, f"{SCHEDULES}/", "study.db",
        "log.json",
    )  # fmt: skip
    names = ", ".join(name for name in parts if (folder / name).exists())
    show(console, f"In {display.plain(folder, 400)}: {names}")
