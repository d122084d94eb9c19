"""One keep schedule or policy: its score on a terminal, its closest kernels, its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from paretoprune.registry import pruners
from paretoprune.report import display
from paretoprune.report.display import MISSING, number
from paretoprune.report.table import Column, Table, show
from paretoprune.schedules import KeepSchedule
from paretoprune.schedules.files import ScheduleFile
from paretoprune.schedules.kernels import KernelFit

if TYPE_CHECKING:
    from paretoprune.compression.score import Scored


def print_scored(console: Console, scored: Scored) -> None:
    """Print quality overall and per question family, compute and KV cache."""
    evaluation = scored.evaluation
    metrics, objectives = evaluation.metrics, evaluation.objectives
    split = "held-out" if scored.split == "heldout" else scored.split
    pruner = display.plain(scored.pruner.label, 80)
    model = display.plain(scored.model, 60)
    show(console, f"{model}, pruner {pruner}, {scored.samples} {split} samples")
    if scored.preset is not None:
        preset = scored.preset
        source = f"{preset.model}, {preset.layers} layers: {preset.summary}"
        show(console, display.plain(f"preset {preset.name} of {source}", 300))
    mean = ""
    if scored.policy is not None:
        show(console, f"policy {display.plain(scored.policy.label, 80)}")
        mean = ", mean over samples"
    keep = display.schedule(scored.schedule.ratios)
    each = ", at least one of each picture" if scored.per_picture else ""
    show(console, f"keep {keep} (% of visual tokens per layer{mean}{each})")

    rows: list[tuple[str, Sequence[float | None], int]] = [
        (scored.measure, (metrics["accuracy"], scored.dense_score, scored.text_only_score), 3)
    ]
    for family, score in scored.family.items():
        rows.append((f"  {display.plain(family, 40)}", (score, scored.dense_family[family]), 3))
    for name, figures in scored.figures.items():
        rows.append((name.replace("_", " "), figures, 3))
    kib = metrics["kv_bytes"] / 1024, scored.dense_kv_bytes / 1024
    rows += [
        ("relative score q", (objectives["score"], 1.0, 0.0), 3),
        ("relative compute u", (objectives["compute"], 1.0, 0.0), 3),
        ("decoder GFLOPs per sample", (metrics["gflops"], scored.dense_gflops), 3),
        ("KV cache KiB per sample", kib, 1),
    ]
    cells = [[number(value, decimals) for value in values] for _, values, decimals in rows]
    columns = [Column("", [name for name, _, _ in rows], "text")]
    for place, title in enumerate(("schedule", "dense", "text-only")):
        values = [row[place] if place < len(row) else MISSING for row in cells]
        columns.append(Column(title, values))
    show(console, Table("Score", columns).rich(titled=False))

    if metrics["pictures_left_out"]:
        show(
            console,
            "without any visual token in the last layer: "
            f"{metrics['samples_left_out']:.0f} of {scored.samples} samples, "
            f"{metrics['pictures_left_out']:.0f} of {scored.pictures} pictures",
        )
    if scored.policy is not None:
        show(console, _kept_budget(metrics, objectives["compute"]))
    error = evaluation.standard_errors.get("score")
    if error:
        show(console, Text(f"standard error of q: {number(error)}", style="dim"))


def _kept_budget(metrics: Mapping[str, float], achieved: float) -> str:
    """Target and achieved compute of an adaptive policy, and its own cost."""
    target = f"aims at {metrics['budget']:.3f}, " if "budget" in metrics else ""
    return (
        f"u of this policy: {target}achieves {achieved:.3f}; single samples "
        f"{metrics['compute_lowest']:.3f} to {metrics['compute_highest']:.3f}, standard deviation "
        f"{metrics['compute_spread']:.3f}; deciding costs {metrics['deciding']:.2%} of dense"
    )


def print_fits(
    console: Console,
    schedule: KeepSchedule,
    fits: Sequence[KernelFit],
    left_out: Mapping[str, str],
) -> None:
    """A line per kernel, the closest first, and the kernels left out."""
    fits = sorted(fits, key=lambda fit: (fit.distance, len(fit.values)))
    parameters = [", ".join(f"{name} {v:.3g}" for name, v in fit.values.items()) for fit in fits]
    columns = [
        Column("kernel", [fit.kernel for fit in fits], "text"),
        Column("distance", [number(fit.distance) for fit in fits]),
        Column("parameters", parameters, "wide"),
    ]
    show(console, f"keep {display.schedule(schedule.ratios)} (% of visual tokens per layer)")
    show(console, Table("Kernels", columns).rich(titled=False))
    show(console, Text("distance: root mean square difference of keep ratios", style="dim"))
    show(console, *(Text(f"left out: {reason}", style="dim") for reason in left_out.values()))


def card_markdown(content: ScheduleFile, file: str) -> str:
    """A model-card section in GitHub-flavoured Markdown: the pruning, its cost, and loading.

    `file` is the schedule file's name in the model's folder. Nothing in a name acts as markup.
    """
    schedule = content.schedule
    settings = ", ".join(
        f"{name}={display.knob(value)}" for name, value in (content.pruner_settings or {}).items()
    )
    rows = {
        "model": content.model or MISSING,
        "pruner": content.pruner + (f" ({settings})" if settings else ""),
        "what it keeps": pruners.entry(content.pruner).summary,
        "visual tokens kept, % per decoder layer": display.schedule(schedule.ratios),
        "mean over layers": f"{100 * sum(schedule.ratios) / schedule.layers:.1f} %",
    }
    if content.per_picture:
        rows["kept of each picture"] = "at least one token where the ratio is above 0"
    if content.compute is not None:
        rows["relative compute u"] = number(content.compute)
    if content.score is not None:
        error = "" if content.score_error is None else f" ±{number(content.score_error)}"
        rows["relative score q, held out"] = number(content.score) + error
    if content.found_by is not None:
        rows["found by"] = content.found_by
    values = [display.plain(value, 300) for value in rows.values()]
    table = Table("Card", [Column("", list(rows), "text"), Column("", values, "text")])
    model = (content.model or "path/to/checkpoint").replace('"', "")
    name = file.replace('"', "")
    return f"""\
## Visual token pruning

{table.markdown()}

q and u are 1 for the dense model and 0 without visual tokens; u is FLOPs of the decoder's \
prefill, choosing included.

```python
import paretoprune

found = paretoprune.load("{display.plain(model, 300)}", schedule="{display.plain(name, 300)}")
print(found.answer([image], ["What is in the picture?"]))
```
"""
