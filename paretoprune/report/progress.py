"""Live progress of a comparison: bars on a terminal, one line per finished study elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from paretoprune.report import words
from paretoprune.report.console import show

if TYPE_CHECKING:
    from paretoprune.comparison import Progress as Report


class SearchProgress:
    """The `observe` callback of `compare.compare`, used as a context manager.

    On a terminal: a bar over all studies, one over the current study's budget, and what it has
    found; the bars vanish at the end. Everywhere: one line per study when it is over.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last: Report | None = None
        self._status = Text("starting", no_wrap=True, overflow="ellipsis")
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            expand=True,
        )
        self._studies = self._bars.add_task("studies", total=None)
        self._study = self._bars.add_task("current", total=None)
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
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
        self._last = report if report.phase == "search" else None
        if self._live is not None:
            self._show(report)

    def _close_study(self) -> None:
        """Print the line of the study that was last reported, once."""
        last, self._last = self._last, None
        if last is None:
            return
        of = len(str(last.total))
        show(
            self.console,
            Text(
                f"[{last.done + 1:{of}}/{last.total}] {words.plain(last.label, 60)} seed "
                f"{last.seed}: hypervolume {words.number(last.hypervolume)}, {last.evaluations} "
                f"evaluations, cost {words.amount(last.spent)}"
            ),
        )

    def _show(self, report: Report) -> None:
        if report.phase == "search":
            share = min(1.0, report.spent / report.budget) if report.budget > 0 else 0.0
            self._bars.update(self._studies, total=report.total, completed=report.done + share)
            self._bars.update(self._study, total=report.budget, completed=report.spent)
            self._status.plain = (
                f"{words.plain(report.label, 60)} seed {report.seed}: hypervolume "
                f"{words.number(report.hypervolume)}, {report.evaluations} evaluations"
            )
        else:
            studies = self._bars.tasks[0]
            self._bars.update(self._studies, completed=studies.total or 0)
            self._bars.update(self._study, total=report.total, completed=report.done)
            what = "configurations on held-out data"
            what = "published presets" if report.phase == "presets" else what
            self._status.plain = f"judging {report.total} {what}"
