"""FLOPs and latency on this machine, schedule by schedule, and the latency model's error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from paretoprune.compression.load import load_problem
from paretoprune.experiments.bench import machine, one_line, write_figures
from paretoprune.experiments.bench.evaluation import two_step

SCHEDULES = 12


def run(
    console: Console,
    *,
    model: str = "mini-llava",
    repeats: int = 15,
    device: str = "cpu",
    out: Path | None = None,
    **_: object,
) -> dict[str, Any]:
    """Fit the model, measure random two-step schedules, print both, and return all figures."""
    found = machine(device)
    console.print(one_line(found))
    problem = load_problem(model, search_size=16, heldout_size=0, device=device)
    layers = problem.adapter.spec.layers
    rows: list[NDArray[np.float64]] = [np.ones(layers), np.zeros(layers)]
    rows += [
        np.asarray(problem.configuration(c).schedule.ratios) for c in two_step(problem, SCHEDULES)
    ]
    order = np.argsort([-problem.cost_model.relative_compute(row) for row in rows], kind="stable")
    stacked = np.stack([rows[i] for i in order])
    timer = problem.cost_model.timer
    pruner = problem.tokens.pruner
    latency_model = timer.describe(pruner)
    predicted = timer.predict_ms(stacked, pruner)
    measured = timer.measure(stacked, [pruner] * len(stacked), repeats=repeats)
    flops = np.array(
        [problem.cost_model.flops(r).mean() / problem.cost_model.dense_flops for r in stacked]
    )
    result = {
        "machine": found,
        "model": model,
        "latency_model": latency_model,
        "points": [[p.tokens, p.layer, p.latency_ms] for p in timer.model(pruner).points],
        "flop_ratio": flops.tolist(),
        "predicted_ms": predicted.tolist(),
        "prefill_ms": [t.median_ms for t in measured.prefill],
        "spread_ms": [t.spread_ms for t in measured.prefill],
        "first_token_ms": [t.median_ms for t in measured.first_token],
        "refusal": measured.refusal,
    }
    table = Table(title=f"FLOPs and latency of {len(stacked)} schedules, {model}, batch of one")
    for head in ("FLOPs", "prefill ms", "of dense", "predicted ms", "first token ms"):
        table.add_column(head, justify="right")
    dense = measured.prefill[0].median_ms
    for i, (prefill, first) in enumerate(zip(measured.prefill, measured.first_token, strict=True)):
        table.add_row(
            f"{flops[i]:.0%}", f"{prefill.median_ms:.2f} ±{prefill.spread_ms:.2f}",
            f"{prefill.median_ms / dense:.0%}", f"{predicted[i]:.2f}",
            f"{first.median_ms:.2f} ±{first.spread_ms:.2f}",
        )  # fmt: skip
    console.print(table)
    console.print(
        f"latency model: {latency_model['points']} points, cross-validated error "
        f"{latency_model['layer_error']:.1%} per layer, "
        f"{latency_model['prefill_error']:.1%} per prefill"
    )
    if measured.refusal is not None:
        console.print(f"not to be reported: {measured.refusal}")
    write_figures(out, result)
    return result
