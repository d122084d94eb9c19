"""Prints what one keep schedule scores and costs, beside the dense model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paretoprune.report import words
from paretoprune.report.console import show

if TYPE_CHECKING:
    from paretoprune.compression.score import Scored


def print_scored(console: Console, scored: Scored) -> None:
    """Print quality overall and per question family, compute and KV cache."""
    found = scored.evaluation
    split = "held-out" if scored.split == "heldout" else scored.split
    show(
        console,
        Text(
            f"{words.plain(scored.model, 60)}, pruner {words.plain(scored.pruner.label, 80)}, "
            f"{scored.samples} {split} samples"
        ),
    )
    if scored.preset is not None:
        found_for = f"{scored.preset.model}, {scored.preset.layers} layers"
        told = f"preset {scored.preset.name} of {found_for}: {scored.preset.summary}"
        show(console, Text(words.plain(told, 300)))
    mean = ""
    if scored.policy is not None:
        show(console, Text(f"policy {words.plain(scored.policy.label, 80)}"))
        mean = ", mean over samples"
    kept = words.schedule(scored.schedule.ratios)
    each = ", at least one of each picture" if scored.per_picture else ""
    show(console, Text(f"keep {kept} (% of visual tokens per layer{mean}{each})"))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for head in ("schedule", "dense", "blind"):
        table.add_column(head, justify="right", no_wrap=True)

    def row(name: str, value: float, dense: float, blind: float | None, decimals: int) -> None:
        figures = [words.number(x, decimals) for x in (value, dense, blind)]
        table.add_row(Text(name), *figures)

    row(scored.measure, found.metrics["accuracy"], scored.dense_score, scored.blind_score, 3)
    for family, score in scored.family.items():
        row(f"  {words.plain(family, 40)}", score, scored.dense_family[family], None, 3)
    for name, (value, dense, blind) in scored.figures.items():
        row(name.replace("_", " "), value, dense, blind, 3)
    row("relative score q", found.objectives["score"], 1.0, 0.0, 3)
    row("relative compute u", found.objectives["compute"], 1.0, 0.0, 3)
    row("decoder GFLOPs per sample", found.metrics["gflops"], scored.dense_gflops, None, 3)
    kib = (found.metrics["kv_bytes"] / 1024, scored.dense_kv_bytes / 1024)
    row("KV cache KiB per sample", *kib, None, 1)
    show(console, table)
    if found.metrics["pictures_left_out"]:
        show(console, Text(_left_out(found.metrics, scored.samples, scored.pictures)))
    if scored.policy is not None:
        show(console, Text(_kept_budget(found.metrics, found.objectives["compute"])))
    error = found.standard_errors.get("score")
    if error:
        show(console, Text(f"standard error of q: {words.number(error)}", style="dim"))


def _left_out(metrics: Mapping[str, float], samples: int, pictures: int) -> str:
    """How many samples and pictures end without any visual token."""
    return (
        f"without any visual token in the last layer: {metrics['samples_left_out']:.0f} of "
        f"{samples} samples, {metrics['pictures_left_out']:.0f} of {pictures} pictures"
    )


def _kept_budget(metrics: Mapping[str, float], achieved: float) -> str:
    """What an adaptive policy aims at and reaches, and what it costs itself."""
    aim = f"aims at {metrics['budget']:.3f}, " if "budget" in metrics else ""
    return (
        f"u of this policy: {aim}achieves {achieved:.3f}; single samples "
        f"{metrics['compute_lowest']:.3f} to {metrics['compute_highest']:.3f}, standard deviation "
        f"{metrics['compute_spread']:.3f}; deciding costs {metrics['deciding']:.2%} of dense"
    )
