"""Prints which member of each kernel is closest to a schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretoprune.report import words
from paretoprune.report.console import show
from paretoprune.schedules import KeepSchedule
from paretoprune.schedules.kernels import KernelFit


def print_fits(
    console: Console,
    schedule: KeepSchedule,
    fits: Sequence[KernelFit],
    left_out: Mapping[str, str],
) -> None:
    """A line per kernel, the closest first, and what was left out."""
    show(console, Text(f"keep {words.schedule(schedule.ratios)} (% of visual tokens per layer)"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("kernel", no_wrap=True)
    table.add_column("distance", justify="right", no_wrap=True)
    table.add_column("parameters")
    for fit in sorted(fits, key=lambda f: (f.distance, len(f.values))):
        told = ", ".join(f"{name} {value:.3g}" for name, value in fit.values.items())
        table.add_row(Text(fit.kernel), words.number(fit.distance), Text(told))
    show(console, table)
    show(console, Text("distance: root mean square difference of keep ratios", style="dim"))
    for reason in left_out.values():
        show(console, Text(f"left out: {reason}", style="dim"))
