"""Prints what each pruner answers and keeps, beside the drawing of `paretoprune show`."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretoprune.compression.kept import Example
from paretoprune.report import words
from paretoprune.report.console import show


def print_kept(console: Console, example: Example, file: Path) -> None:
    """Print the question, the answers, visual tokens per layer, and the file that was written."""
    show(console, Text(f"{words.plain(example.model, 60)}: {words.plain(example.question, 300)}"))
    known = "" if example.answer is None else f"; known answer {words.plain(example.answer, 60)}"
    dense = words.said(example.dense_answer, example.dense_right)
    show(console, Text(f"dense answer {dense}{known}; {example.tokens} visual tokens"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("pruner")
    table.add_column("answer", overflow="fold")
    table.add_column("visual tokens per layer", overflow="fold")
    merges = any(step.merged for one in example.pruned for step in one.steps)
    if merges:
        table.add_column("merged", justify="right")
    for one in example.pruned:
        merged = sum(len(step.merged) for step in one.steps)
        cells = [words.plain(one.label, 60), words.said(one.answer, one.right),
                 words.runs(one.counts())]  # fmt: skip
        table.add_row(*map(Text, [*cells, *([str(merged)] if merges else [])]))
    show(console, table)
    show(console, Text(f"written to {file}"))
