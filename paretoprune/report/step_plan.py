"""Prints what a gradient step needs, before a run starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretoprune.report import words
from paretoprune.report.console import show

if TYPE_CHECKING:
    from paretoprune.compression.step_plan import StepPlan

GIB, MIB = 2**30, 2**20
TERA, GIGA = 1e12, 1e9


def print_plan(console: Console, plan: StepPlan) -> None:
    """Memory by part, FLOPs and seconds of one step, and what would make it smaller."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("")

    def row(name: str, text: str) -> None:
        table.add_row(Text(name), Text(text))

    row("model", f"{words.plain(plan.model, 200)}, {plan.parameters / 1e6:,.1f} million parameters")
    row("sample", f"{plan.visual} visual and {plan.text} text tokens, {plan.layers} layers")
    recomputed = "layers recomputed" if plan.checkpoint else "layers kept"
    row("step", f"{plan.batch} samples, {plan.micro_batch} in memory at a time, {recomputed}")
    row("weights", f"{_size(plan.weights)} in {plan.dtype}")
    row("kept for backward", f"{_size(plan.saved)} at the dense end of the budgets")
    row("working memory", f"{_size(plan.working)}")
    how = "asked of the GPU" if plan.measured else "counted; fused attention on a GPU keeps less"
    row("peak", f"{_size(plan.peak)}, {how}")
    row("beside it", f"prefills and dense states of the split, up to {_size(plan.split)}")
    row(
        "FLOPs per step",
        f"{_flops(plan.step_flops)} at {plan.average:.0%} of dense on average",
    )
    row("speed", f"{_flops(plan.teraflops * TERA)}/s on {plan.device}")
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


def _size(amount: float) -> str:
    """Bytes in a unit that leaves something before the point."""
    return f"{amount / GIB:.1f} GiB" if amount >= GIB else f"{amount / MIB:.0f} MiB"


def _flops(amount: float) -> str:
    return f"{amount / TERA:.1f} TFLOP" if amount >= TERA else f"{amount / GIGA:.1f} GFLOP"
