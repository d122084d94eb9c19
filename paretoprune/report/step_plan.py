"""Prints what a gradient step needs, before a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretoprune.report import words
from paretoprune.report.console import show

if TYPE_CHECKING:
    from paretoprune.problems.step_plan import StepPlan

GIB = 2**30


def print_plan(console: Console, plan: StepPlan) -> None:
    """Memory by part, FLOPs and seconds of one step, and what would make it smaller."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("")

    def row(name: str, text: str) -> None:
        table.add_row(Text(name), Text(text))

    row("model", f"{words.plain(plan.model, 200)}, {plan.parameters / 1e9:.2f} billion parameters")
    row("sample", f"{plan.visual} visual and {plan.text} text tokens, {plan.layers} layers")
    recomputed = "layers recomputed" if plan.checkpoint else "layers kept"
    row("step", f"{plan.batch} samples, {plan.micro_batch} in memory at a time, {recomputed}")
    row("weights", f"{plan.weights / GIB:.1f} GiB in {plan.dtype}")
    row("kept for backward", f"{plan.saved / GIB:.1f} GiB at the dense end of the budgets")
    row("working memory", f"{plan.working / GIB:.1f} GiB")
    row("peak", f"{plan.peak / GIB:.1f} GiB")
    row(
        "FLOPs per step",
        f"{plan.step_flops / 1e12:.1f} TFLOP at {plan.average:.0%} of dense on average",
    )
    row("speed", f"{plan.teraflops:.2f} TFLOP/s on {plan.device}")
    row("seconds per step", words.amount(plan.step_seconds))
    if plan.predictor is not None:
        row("predictor", f"{plan.predictor:,} parameters, {plan.deciding:.2g} of dense compute")
    show(console, table)
    ways = []
    if not plan.checkpoint:
        ways.append("checkpoint=true (a forward pass more)")
    if plan.micro_batch > 1:
        ways.append("micro_batch=1")
    if ways:
        show(console, Text(f"Less memory: {' or '.join(ways)}; neither changes what a step finds."))
