"""Prints what was found out about a model: verification, dimensions, knobs, the cost of dense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretoprune.core.space import Categorical, Float, Knob
from paretoprune.report import words
from paretoprune.report.console import show

if TYPE_CHECKING:
    from paretoprune.deploy.model_check import ModelCheck

MOST_KNOBS = 4
"""Longer search spaces are written by their first and last knob."""


def print_model_check(console: Console, found: ModelCheck) -> None:
    """Print a model's check; the last line is the verdict."""
    spec, seen = found.spec, found.verification
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("")

    def row(name: str, text: str) -> None:
        table.add_row(Text(name), Text(text))

    row("model", f"{words.plain(found.model, 200)} ({found.architecture})")
    row("adapter", found.adapter)
    row("weights", f"{found.parameters / 1e6:,.1f} million parameters, {found.dtype}")
    queries = f"{spec.heads} heads of {spec.head_dim}, {spec.kv_heads} for keys and values"
    row(
        "decoder",
        f"{spec.layers} layers, hidden {spec.hidden}, {queries}, "
        f"{'gated ' if spec.gated else ''}MLP {spec.mlp}",
    )
    for side, difference in seen.logits.items():
        row(
            f"keep-all, {side} padding",
            f"differs from the model's own logits by {difference:.1e} of the largest "
            f"(allowed {seen.tolerance:g})",
        )
    if found.pruned is not None:
        row(
            "pruned, half dropped",
            f"differs by {found.pruned:.1e} of the largest from the model's own logits with the "
            f"dropped tokens' keys masked (allowed {seen.tolerance:g})",
        )
    if seen.attention is not None:
        row("attention scores", f"differ from eager attention by {seen.attention:.1e}")
    row("FLOPs", f"{seen.flops:.2%} off PyTorch's count")
    for cost in found.costs:
        height, width = cost.picture
        row(
            f"dense, {width} x {height} pixels",
            f"{cost.visual_tokens} visual and {cost.text_tokens} text tokens: "
            f"{words.amount(cost.gflops)} GFLOPs ({words.amount(cost.blind_gflops)} without "
            f"visual ones), KV cache {cost.kv_bytes / 1024:,.0f} KiB",
        )
    for name, space in found.spaces.items():
        knobs = [_knob(knob) for knob in space.knobs]
        if len(knobs) > MOST_KNOBS:
            knobs = [knobs[0], "…", f"{knobs[-1]} ({len(knobs)} knobs)"]
        row(f"space {name}", "; ".join(knobs))
    show(console, table)
    if found.note is not None:
        show(console, Text(f"Note: {words.plain(found.note, 400)}"))
    verdict = (
        "Verified: this model can be searched and pruned."
        if found.problem is None
        else f"Not usable: {words.plain(found.problem, 400)}."
    )
    show(console, Text(verdict, style="bold"))


def _knob(knob: Knob) -> str:
    """`keep 0 to 1 in 18 steps`."""
    if isinstance(knob, Categorical):
        return f"{knob.name} {', '.join(knob.choices)}"
    text = f"{knob.name} {knob.low:g} to {knob.high:g}"
    if isinstance(knob, Float) and knob.step is not None:
        text += f" in {int(knob.size) - 1} steps"
    return text
