"""A model on a terminal: whether it can be pruned, and the needs of a gradient step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from paretoprune.core.space import Categorical, Float, Knob
from paretoprune.report import display
from paretoprune.report.table import show, show_facts

if TYPE_CHECKING:
    from paretoprune.compression.step_plan import StepPlan
    from paretoprune.deploy.model_check import ModelCheck

MAX_KNOBS = 4
"""Longer search spaces are written by their first and last knob."""
GIB, MIB = 2**30, 2**20
TERA, GIGA = 1e12, 1e9


def print_model_check(console: Console, check: ModelCheck) -> None:
    """Print verification, dimensions, dense cost and search spaces, with the verdict last."""
    spec, verification = check.spec, check.verification
    queries = f"{spec.heads} heads of {spec.head_dim}, {spec.kv_heads} for keys and values"
    mlp = f"{'gated ' if spec.gated else ''}MLP {spec.mlp}"
    facts = [
        ("model", f"{display.plain(check.model, 200)} ({check.architecture})"),
        ("adapter", check.adapter),
        ("weights", f"{check.parameters / 1e6:,.1f} million parameters, {check.dtype}"),
        ("decoder", f"{spec.layers} layers, hidden {spec.hidden}, {queries}, {mlp}"),
    ]
    allowed = f"(allowed {verification.tolerance:g})"
    for side, difference in verification.logits.items():
        text = f"differs from the model's own logits by {difference:.1e} of the largest {allowed}"
        facts.append((f"keep-all, {side} padding", text))
    if check.pruned is not None:
        text = (
            f"differs by {check.pruned:.1e} of the largest from the model's own logits with the "
            f"dropped tokens' keys masked {allowed}"
        )
        facts.append(("pruned, half dropped", text))
    if verification.attention is not None:
        text = f"differ from eager attention by {verification.attention:.1e}"
        facts.append(("attention scores", text))
    facts.append(("FLOPs", f"{verification.flops:.2%} off PyTorch's count"))
    for cost in check.costs:
        height, width = cost.picture
        text = (
            f"{cost.visual_tokens} visual and {cost.text_tokens} text tokens: "
            f"{display.amount(cost.gflops)} GFLOPs ({display.amount(cost.text_only_gflops)} "
            f"without visual ones), KV cache {cost.kv_bytes / 1024:,.0f} KiB"
        )
        facts.append((f"dense, {width} x {height} pixels", text))
    for name, space in check.spaces.items():
        knobs = [_knob(knob) for knob in space.knobs]
        if len(knobs) > MAX_KNOBS:
            knobs = [knobs[0], "…", f"{knobs[-1]} ({len(knobs)} knobs)"]
        facts.append((f"space {name}", "; ".join(knobs)))
    show_facts(console, facts)
    if check.note is not None:
        show(console, f"Note: {display.plain(check.note, 400)}")
    verdict = (
        "Verified: this model can be searched and pruned."
        if check.problem is None
        else f"Not usable: {display.plain(check.problem, 400)}."
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


def print_plan(console: Console, plan: StepPlan) -> None:
    """Print memory by part, FLOPs and seconds of one step, and how to use less memory."""
    model = display.plain(plan.model, 200)
    recomputed = "layers recomputed" if plan.checkpoint else "layers kept"
    how = "asked of the GPU" if plan.measured else "counted; fused attention on a GPU keeps less"
    facts = [
        ("model", f"{model}, {plan.parameters / 1e6:,.1f} million parameters"),
        ("sample", f"{plan.visual} visual and {plan.text} text tokens, {plan.layers} layers"),
        ("step", f"{plan.batch} samples, {plan.micro_batch} in memory at a time, {recomputed}"),
        ("weights", f"{_size(plan.weights)} in {plan.dtype}"),
        ("kept for backward", f"{_size(plan.saved)} at the dense end of the budgets"),
        ("working memory", _size(plan.working)),
        ("peak", f"{_size(plan.peak)}, {how}"),
        ("in addition", f"prefills and dense states of the split, up to {_size(plan.split)}"),
        ("FLOPs per step", f"{_flops(plan.step_flops)} at {plan.average:.0%} of dense on average"),
        ("speed", f"{_flops(plan.teraflops * TERA)}/s on {plan.device}"),
        ("seconds per step", display.amount(plan.step_seconds)),
    ]
    if plan.predictor is not None:
        text = f"{plan.predictor:,} parameters, {plan.deciding:.2g} of dense compute"
        facts.append(("predictor", text))
    show_facts(console, facts)
    ways = []
    if not plan.checkpoint:
        ways.append("checkpoint=true (a forward pass more)")
    if plan.micro_batch > 1:
        ways.append("micro_batch=1")
    if ways:
        show(console, f"Less memory: {' or '.join(ways)}; neither changes what a step finds.")


def _size(amount: float) -> str:
    """Bytes in a unit that leaves something before the point."""
    return f"{amount / GIB:.1f} GiB" if amount >= GIB else f"{amount / MIB:.0f} MiB"


def _flops(amount: float) -> str:
    return f"{amount / TERA:.1f} TFLOP" if amount >= TERA else f"{amount / GIGA:.1f} GFLOP"
