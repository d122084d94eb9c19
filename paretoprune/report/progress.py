"""Live progress of a comparison: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from paretoprune.report import display, glossary
from paretoprune.report.table import show

if TYPE_CHECKING:
    from paretoprune.comparison.compare import Progress as Report

SPEED_SECONDS = 3600.0
"""Time over which a phase's speed is taken: a study's asks differ by more than a second."""
ELAPSED_WIDTH = 60
"""Columns that the time elapsed needs; the time left is always there."""
HELDOUT = "held-out evaluation"


class SearchProgress:
    """The `observe` callback of `compare.compare`, used as a context manager.

    On a terminal: a bar over all studies, one over the current study's budget, and its state; the
    bars vanish at the end. Everywhere: one line per study when it is over.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last: Report | None = None
        self._phase = "search"
        self._status = Text("starting", no_wrap=True, overflow="ellipsis")
        self._bars = _bars(console)
        self._studies = self._bars.add_task("searching", total=None)
        self._study = self._bars.add_task("this study", total=None)
        self._live: Live | None = None
        if _is_live(console):
            self._live = Live(
                Group(self._bars, self._status),
                console=console,
                refresh_per_second=4,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._close_study()
        finally:
            if self._live is not None:
                self._live.stop()

    def __call__(self, report: Report) -> None:
        """Show where the comparison is; called after every ask."""
        last = self._last
        if last is not None and (report.phase, report.done) != (last.phase, last.done):
            self._close_study()
            self._bars.reset(self._study)
        if report.phase != self._phase:
            self._begin(report)
        self._last = report if report.phase == "search" else None
        if self._live is not None:
            self._show(report)

    def _begin(self, report: Report) -> None:
        """Show the bar, or print the line, of a phase after the search."""
        self._phase = report.phase
        name = glossary.PRESETS if report.phase == "presets" else HELDOUT
        self._bars.update(self._studies, visible=False)
        self._bars.reset(self._study, description=name, total=report.total)
        if self._live is None:
            _announce(self.console, name)

    def _close_study(self) -> None:
        """Print the line of the study that was last reported, once."""
        last, self._last = self._last, None
        if last is None:
            return
        digits = len(str(last.total))
        show(
            self.console,
            f"[{last.done + 1:{digits}}/{last.total}] {_state(last)}, cost "
            f"{display.amount(last.spent)}",
        )

    def _show(self, report: Report) -> None:
        if report.phase == "search":
            share = min(1.0, report.spent / report.budget) if report.budget > 0 else 0.0
            self._bars.update(self._studies, total=report.total, completed=report.done + share)
            self._bars.update(self._study, total=report.budget, completed=report.spent)
            self._status.plain = _state(report)
        else:
            self._bars.update(self._study, total=report.total, completed=report.done)
            held_out = "configurations on held-out data"
            what = glossary.PRESETS if report.phase == "presets" else held_out
            self._status.plain = f"evaluating {report.total} {what}"


def _state(report: Report) -> str:
    return (
        f"{display.plain(report.label, 60)} seed {report.seed}: hypervolume "
        f"{display.number(report.hypervolume)}, {report.evaluations} evaluations"
    )


@contextmanager
def phase(console: Console, name: str) -> Iterator[Callable[[int, int], None]]:
    """One phase of a command: yields a callback that takes done and total.

    On a terminal: a bar with the time left, which vanishes at the end. Elsewhere: one line.
    """
    bars = _bars(console)
    line = bars.add_task(name, total=None)
    if not _is_live(console):
        _announce(console, name)
        yield lambda done, total: None
        return
    with bars:
        yield lambda done, total: bars.update(line, completed=done, total=total)


def _bars(console: Console) -> Progress:
    elapsed = [TimeElapsedColumn()] if console.width >= ELAPSED_WIDTH else []
    return Progress(
        TextColumn("{task.description}", table_column=Column()),  # on two lines, if it must be
        BarColumn(bar_width=None),
        TaskProgressColumn(table_column=Column(min_width=4)),
        *elapsed,
        TextColumn("left", table_column=Column(min_width=4)),
        TimeRemainingColumn(table_column=Column(min_width=7)),
        console=console,
        expand=True,
        transient=True,
        speed_estimate_period=SPEED_SECONDS,
    )


def _is_live(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


def _announce(console: Console, text: str) -> None:
    show(console, f"{text} ...")
