"""Every pruning operator at the same measured compute: which tokens should go?

Each registered pruner drops once, at 25, 50 and 75 % of dense compute, its own cost included, on
held-out samples. It drops as early as it can, which is where it reaches furthest, and at a layer
common to all, where only the choice of tokens differs. One that withdraws all tokens at once does
so before the layer whose compute is nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from paretoprune.adapters.base import Adapter
from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.problem import Compression
from paretoprune.errors import UnsupportedError
from paretoprune.experiments.bench import machine, one_line, write_figures
from paretoprune.registry import pruners, tasks
from paretoprune.schedules import KeepSchedule
from paretoprune.tasks.base import Sample
from paretoprune.techniques.tokens import Tokens
from paretoprune.zoo.catalogue import default_task
from paretoprune.zoo.catalogue import names as embedded
from paretoprune.zoo.load import find_checkpoint, load_adapter

TARGETS = (0.25, 0.5, 0.75)
NEAR = 0.05
"""A target counts as reached if compute is nearer to it than this."""
MAX_COUNTS = 192
"""Kept counts tried for a target; all of them for pictures of fewer tokens."""


@dataclass(frozen=True)
class OperatorFigure:
    """One pruner before one layer at one target: held-out score and the compute it took.

    `score` and `standard_error` are relative (0 text-only, 1 dense); `families` maps a family
    to mean exact match and its standard error.
    """

    model: str
    pruner: str
    layer: int
    target: float
    compute: float
    keep: float
    score: float
    standard_error: float
    accuracy: float
    families: dict[str, tuple[float, float]]

    @property
    def place(self) -> str:
        """The layer in tables: K for a withdrawal, whose layer follows from the target."""
        return str(self.layer) if self.keep else "K"

    @property
    def reached(self) -> bool:
        """Whether the target can be reached from this layer."""
        return abs(self.compute - self.target) < NEAR


def run(
    console: Console,
    *,
    model: str,
    heldout_size: int,
    device: str = "cpu",
    out: Path | None = None,
    names: Sequence[str] | None = None,
    **_: object,
) -> dict[str, Any]:
    """Score all pruners (or `names`) on each model of a comma-separated list; print and return all.

    Pruners that a family has not what they need for are left out, with the reason.
    """
    models = embedded() if model == "all" else model.split(",")
    for one in models:
        find_checkpoint(one)  # an unknown one is refused before the first is measured
    found = machine(device)
    console.print(one_line(found))
    result: dict[str, Any] = {"machine": found, "heldout_size": heldout_size, "models": {}}
    for one in models:
        adapter = load_adapter(one, device=device)
        samples = tasks.load(default_task(one))("heldout", heldout_size, seed=0)
        figures, left_out, dense = measure(console, one, adapter, samples, names)
        _print(console, one, figures, left_out, dense)
        result["models"][one] = {
            "dense": dense,
            "left_out": left_out,
            "figures": [{**asdict(f), "reached": f.reached} for f in figures],
        }
    write_figures(out, result)
    return result


def measure(
    console: Console,
    model: str,
    adapter: Adapter,
    samples: Sequence[Sample],
    names: Sequence[str] | None = None,
) -> tuple[list[OperatorFigure], dict[str, str], dict[str, tuple[float, float]]]:
    """All figures of a model, why pruners were left out, and dense exact match per family."""
    figures: list[OperatorFigure] = []
    left_out: dict[str, str] = {}
    dense: dict[str, tuple[float, float]] = {}
    for name in track(list(names or pruners.usable()), description=model, console=console):
        try:
            problem = Compression(adapter, samples, Tokens(pruners.build(name)), model_name=model)
        except UnsupportedError as error:
            left_out[name] = str(error)
            continue
        dense = family_figures(samples, problem.dense_outcomes)
        figures += _of_pruner(problem)
    return figures, left_out, dense


def _of_pruner(problem: Compression) -> list[OperatorFigure]:
    layers = problem.adapter.spec.layers
    first = problem.tokens.pruner.first_layer
    if problem.tokens.pruner.withdraws:
        plan = [withdrawn(problem, target) for target in TARGETS]
    else:
        plan = [
            (layer, target, *nearest(problem, layer, target))
            for layer in sorted({first, max(first, layers // 4)})
            for target in TARGETS
        ]
    judged = problem.evaluate([exact_candidate(schedule) for _, _, schedule, _ in plan])
    figures = []
    for (layer, target, schedule, compute), evaluation in zip(plan, judged, strict=True):
        assert evaluation.outcomes is not None
        figures.append(
            OperatorFigure(
                model=problem.model_name,
                pruner=problem.tokens.pruner.name,
                layer=layer,
                target=target,
                compute=compute,
                keep=schedule.ratios[-1],
                score=evaluation.objectives["score"],
                standard_error=evaluation.standard_errors["score"],
                accuracy=evaluation.metrics["accuracy"],
                families=family_figures(problem.samples, evaluation.outcomes),
            )
        )
    return figures


def nearest(problem: Compression, layer: int, target: float) -> tuple[KeepSchedule, float]:
    """The schedule with one drop, before `layer`, whose compute is nearest, and that compute."""
    layers = problem.adapter.spec.layers
    most = int(problem.evaluator.visual_tokens.max())
    counts = np.unique(np.linspace(1, most - 1, min(most - 1, MAX_COUNTS)).round())
    best: tuple[KeepSchedule, float] | None = None
    for keep in (counts / most).tolist():
        schedule = KeepSchedule((1.0,) * layer + (keep,) * (layers - layer))
        compute = problem.cost_model.relative_compute(np.asarray(schedule.ratios))
        if best is None or abs(compute - target) < abs(best[1] - target):
            best = schedule, compute
    assert best is not None
    return best


def withdrawn(problem: Compression, target: float) -> tuple[int, float, KeepSchedule, float]:
    """Layer before which all tokens leave, target, schedule and its compute, the nearest one."""
    layers = problem.adapter.spec.layers
    found = []
    for layer in range(problem.tokens.pruner.first_layer, layers):
        schedule = KeepSchedule((1.0,) * layer + (0.0,) * (layers - layer))
        compute = problem.cost_model.relative_compute(np.asarray(schedule.ratios))
        found.append((layer, target, schedule, compute))
    return min(found, key=lambda one: abs(one[-1] - target))


def family_figures(
    samples: Sequence[Sample], outcomes: NDArray[np.float32]
) -> dict[str, tuple[float, float]]:
    """Mean of the outcomes [samples] and its standard error, per question family."""
    found: dict[str, list[float]] = {}
    for sample, outcome in zip(samples, outcomes.tolist(), strict=True):
        found.setdefault(sample.family, []).append(outcome)
    return {
        family: (
            float(np.mean(values)),
            float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0,
        )
        for family, values in sorted(found.items())
    }


def _print(
    console: Console,
    model: str,
    figures: Sequence[OperatorFigure],
    left_out: dict[str, str],
    dense: dict[str, tuple[float, float]],
) -> None:
    """A table of scores, one of families at half of the compute, and what was left out."""
    table = Table(title=f"Relative score ± standard error at a share of dense compute, {model}")
    table.add_column("pruner", no_wrap=True)
    table.add_column("layer", justify="right")
    for target in TARGETS:
        table.add_column(f"{target:.0%}", justify="right", no_wrap=True)
    for place, pruner in sorted({(f.place, f.pruner) for f in figures}):
        cells = [f for f in figures if (f.place, f.pruner) == (place, pruner)]
        table.add_row(pruner, place, *map(_cell, cells))
    console.print(table)
    half = Table(title=f"Exact match per question family at half of the compute, {model}")
    half.add_column("pruner", no_wrap=True)
    half.add_column("layer", justify="right")
    for family in dense:
        half.add_column(family, justify="right")
    half.add_row("dense", "", *(f"{mean:.2f}" for mean, _ in dense.values()))
    for f in figures:
        if f.target == TARGETS[1] and f.reached:
            means = (f"{mean:.2f}" for mean, _ in f.families.values())
            half.add_row(f.pruner, f.place, *means)
    console.print(half)
    console.print("A dash: the layers before the drop, and ranking, cost too much for this target.")
    for name, reason in left_out.items():
        console.print(f"{name} is left out: {reason}")


def _cell(figure: OperatorFigure) -> str:
    return f"{figure.score:.3f} ± {figure.standard_error:.3f}" if figure.reached else "-"
