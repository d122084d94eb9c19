"""Do multi-step schedules beat single-step ones? VisPCO's claim, on exhaustive grids.

Every single-step schedule of the lattice is evaluated, and every two-step schedule of a lattice
half as fine; both fronts are chosen on the search split and judged on held-out data. The interval
is a bootstrap over held-out samples, paired.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from paretoprune import frontier
from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.core.problem import Candidate, Evaluation
from paretoprune.experiments.bench import write_figures

CHUNK = 64


@dataclass(frozen=True)
class KernelFigures:
    """One kernel's exhaustive front: size of the grid, hypervolume and held-out front area."""

    kernel: str
    schedules: int
    front_size: int
    hypervolume: float
    heldout_area: float
    area_low: float
    area_high: float
    cost: float
    executed: float


def run(
    console: Console,
    *,
    model: str,
    search_size: int | None,
    heldout_size: int,
    out: Path | None = None,
    **_: object,
) -> dict[str, Any]:
    """Evaluate both grids, print the table and the paired difference, and return all figures."""
    search_size = search_size or 256
    problem = load_problem(model, search_size=search_size, heldout_size=heldout_size)
    grids = {"single-step": _single(problem), "multi-step": _double(problem)}
    rows: list[KernelFigures] = []
    areas: dict[str, NDArray[np.float64]] = {}
    for kernel, candidates in grids.items():
        evaluations = _evaluate(console, problem, candidates, f"{kernel}, search split")
        figures, area = judge(console, problem, kernel, evaluations)
        rows.append(figures)
        areas[kernel] = area
    gain = areas["multi-step"] - areas["single-step"]
    interval = frontier.bootstrap_area(gain[None], rng=np.random.default_rng(0))
    result = {
        "model": model,
        "search_size": search_size,
        "heldout_size": heldout_size,
        "kernels": [asdict(row) for row in rows],
        "area_gain": float(gain.mean()),
        "area_gain_low": interval.low,
        "area_gain_high": interval.high,
    }
    table = Table(title=f"Exhaustive grids on {model}, {search_size} search samples")
    columns = ("kernel", "schedules", "front", "HV", "held-out area", "cost", "run")
    for column in columns:
        table.add_column(column, justify="left" if column == "kernel" else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.kernel, str(row.schedules), str(row.front_size), f"{row.hypervolume:.3f}",
            f"{row.heldout_area:.3f} [{row.area_low:.3f}, {row.area_high:.3f}]",
            f"{row.cost:.0f}", f"{row.executed:.0f}",
        )  # fmt: skip
    console.print(table)
    console.print(
        "HV: hypervolume on the search split. Cost, and what was run of it after sharing: "
        "dense-pass equivalents."
    )
    verdict = "holds" if interval.low > 0 else "is not supported: the interval contains 0"
    console.print(
        f"multi-step minus single-step held-out area: {gain.mean():+.3f} "
        f"[{interval.low:+.3f}, {interval.high:+.3f}] - the claim {verdict}."
    )
    write_figures(out, result)
    return result


def _single(problem: Compression) -> list[Candidate]:
    return [
        problem.candidate(values, "single-step") for values in problem.space("single-step").grid()
    ]


def _double(problem: Compression) -> list[Candidate]:
    """Two drops at different layers, keep ratios on every second level."""
    layers = range(problem.tokens.pruner.first_layer, problem.adapter.spec.layers)
    keeps = np.arange(0, problem.tokens.levels, 2) / problem.tokens.levels
    return [
        problem.candidate(
            {"layer_1": a, "layer_2": b, "keep_1": float(high), "keep_2": float(low)}, "multi-step"
        )
        for a, b in itertools.combinations(layers, 2)
        for low, high in itertools.combinations(keeps, 2)
    ]


def _evaluate(
    console: Console, problem: Compression, candidates: Sequence[Candidate], what: str
) -> list[Evaluation]:
    evaluations: list[Evaluation] = []
    for start in track(range(0, len(candidates), CHUNK), description=what, console=console):
        evaluations += problem.evaluate(candidates[start : start + CHUNK])
    return evaluations


def judge(
    console: Console, problem: Compression, kernel: str, evaluations: Sequence[Evaluation]
) -> tuple[KernelFigures, NDArray[np.float64]]:
    """Figures of one exhaustive front, and its per-sample held-out area, `[samples]`."""
    front = [evaluations[i] for i in frontier.front_of(evaluations, problem.objectives)]
    heldout = problem.heldout
    assert heldout is not None
    judged = _evaluate(console, heldout, [e.candidate for e in front], f"{kernel}, held out")
    outcomes = np.stack([e.outcomes for e in judged if e.outcomes is not None]).astype(np.float64)
    relative = (outcomes - heldout.text_only_score) / (
        heldout.dense_score - heldout.text_only_score
    )
    score = np.array([e.objectives["score"] for e in front])
    compute = np.array([e.objectives["compute"] for e in front])
    area = frontier.heldout_front_area_samples(score, compute, relative)
    interval = frontier.bootstrap_area(area[None], rng=np.random.default_rng(0))
    costs = frontier.normalise(np.stack([score, compute], axis=1), problem.objectives)
    return (
        KernelFigures(
            kernel=kernel,
            schedules=len(evaluations),
            front_size=len(front),
            hypervolume=frontier.hypervolume(costs),
            heldout_area=float(area.mean()),
            area_low=interval.low,
            area_high=interval.high,
            cost=sum(e.cost for e in evaluations),
            executed=sum(e.executed for e in evaluations),
        ),
        area,
    )
