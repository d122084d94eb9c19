"""Bias of the gradient: each estimator against finite differences of the pruned decoder.

The hard loss is a staircase in the keep counts, so its slope is measured over a few tokens: the
central difference of the mean loss of the really pruned decoder at n - h and n + h tokens, one
layer at a time, on the same samples. That is what a search wants to know; what an estimator says
instead differs in direction (cosine), in size (scale: the projection on the true gradient, over its
length) and altogether (relative bias |g - d| / |d|). Intervals are bootstraps over samples, which
separate bias from noise. The soft loss's gradient is also checked against its own differences,
which is a test of the code and not of the idea.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.experiments.bench import write_figures
from paretoprune.search.gradient.relaxation import loss_and_slope

SAMPLES = 96
REACH = 6
"""Tokens h on either side of a finite difference."""
STEP = 3e-4
"""Keep ratio on either side of the soft loss's own difference."""
TAUS = (1.0, 2.0, 4.0)
SCHEDULES = {"cheap": (0.45, 0.05), "middle": (0.75, 0.25), "dear": (0.95, 0.6)}
"""By name: keep ratios after the first pruned layer and in the last one; linear in between."""
ESTIMATORS = ("straight-through", "soft", "gumbel", "gumbel-straight-through")
DRAWS = 2
"""Noise draws per sample of the estimators that draw masks."""
RESAMPLES = 1000


@dataclass(frozen=True)
class BiasFigures:
    """One estimator at one schedule and mask width; intervals are 95 %."""

    schedule: str
    estimator: str
    tau: float
    cosine: float
    cosine_low: float
    cosine_high: float
    scale: float
    relative_bias: float
    signs: float


@dataclass(frozen=True)
class CheckFigures:
    """The soft loss's gradient against its own central differences, per sample and layer.

    `agree` is the share of them within 5 % (or 0.01): the others lie where a small step changes the
    ranking of two tokens, or which tokens are carried along.
    """

    schedule: str
    tau: float
    agree: float


def run(
    console: Console,
    *,
    model: str = "mini-llava",
    search_size: int | None = None,
    quick: bool = False,
    out: Path | None = None,
    **_: object,
) -> dict[str, Any]:
    """Measure all estimators, print the tables and return all figures."""
    samples = search_size or (16 if quick else SAMPLES)
    problem = load_problem(model, search_size=samples, heldout_size=0)
    taus = TAUS[1:2] if quick else TAUS
    rows: list[BiasFigures] = []
    checks: list[CheckFigures] = []
    with Progress(console=console, transient=True) as bar:
        total = len(SCHEDULES) * (1 + len(taus) * (1 + len(ESTIMATORS)))
        line = bar.add_task("gradients", total=total)
        for name, (high, low) in SCHEDULES.items():
            ratios = linear(problem, high, low)
            true = differences(problem, ratios)
            bar.advance(line)
            for tau in taus:
                checks.append(CheckFigures(name, tau, own_agreement(problem, ratios, tau)))
                bar.advance(line)
                for estimator in ESTIMATORS:
                    found = estimated(problem, ratios, estimator, tau)
                    rows.append(compare(name, estimator, tau, found, true))
                    bar.advance(line)
    _print(console, rows, checks, f"{model}, {samples} samples")
    result = {
        "model": model, "samples": samples, "reach_tokens": REACH,
        "figures": [asdict(row) for row in rows], "checks": [asdict(check) for check in checks],
    }  # fmt: skip
    write_figures(out, result)
    return result


def linear(problem: Compression, high: float, low: float) -> NDArray[np.float64]:
    """A schedule `[layers]` that falls evenly, so that each layer may move by `REACH` tokens."""
    layers, first = problem.adapter.spec.layers, problem.tokens.pruner.first_layer
    ratios = np.ones(layers)
    ratios[first:] = np.linspace(high, low, layers - first)
    return ratios


def _loss(divergence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Loss, 1 - exp(-KL): what the search minimises."""
    return 1 - np.exp(-divergence)


def differences(problem: Compression, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Central differences of the hard loss per unit of keep ratio, `[samples, acting layers]`."""
    relaxed, first = problem.relaxation(), problem.tokens.pruner.first_layer
    step = REACH / float(problem.evaluator.visual_tokens.mean())
    columns = []
    for layer in range(first, problem.adapter.spec.layers):
        ends = []
        for sign in (1, -1):
            moved = ratios.copy()
            moved[layer] = np.clip(moved[layer] + sign * step, 0, 1)
            moved = np.minimum.accumulate(moved)
            ends.append(_loss(_forward(relaxed, moved, hard=True)) / (2 * step))
        columns.append(ends[0] - ends[1])
    return np.stack(columns, axis=1)


def _forward(
    relaxed: Any, ratios: NDArray[np.float64], *, hard: bool, tau: float = 1.0
) -> NDArray[np.float64]:
    """Divergence of every sample under one schedule, `[samples]`."""
    rows = torch.from_numpy(np.tile(ratios, (relaxed.samples, 1)))
    with torch.no_grad():
        found = relaxed.loss(rows, np.arange(relaxed.samples), tau=tau, straight_through=hard)
    return np.asarray(found.numpy())


def estimated(
    problem: Compression, ratios: NDArray[np.float64], estimator: str, tau: float
) -> NDArray[np.float64]:
    """An estimator's gradient per unit of keep ratio, `[samples, acting layers]`."""
    relaxed, first = problem.relaxation(), problem.tokens.pruner.first_layer
    rows = torch.from_numpy(np.tile(ratios, (relaxed.samples, 1)))
    noisy = estimator.startswith("gumbel")
    found = []
    for draw in range(DRAWS if noisy else 1):
        noise = np.arange(relaxed.samples) + 10_000 * draw if noisy else None
        divergence, slope = loss_and_slope(
            relaxed, rows, np.arange(relaxed.samples), tau=tau,
            straight_through=estimator.endswith("straight-through"), noise=noise, micro_batch=16,
        )  # fmt: skip
        found.append((torch.exp(-divergence)[:, None] * slope).numpy()[:, first:])
    mean: NDArray[np.float64] = np.mean(found, axis=0)
    return mean


def own_agreement(problem: Compression, ratios: NDArray[np.float64], tau: float) -> float:
    """Share of samples and layers where the soft loss's gradient is its own difference."""
    gradient = estimated(problem, ratios, "soft", tau)
    relaxed, first = problem.relaxation(), problem.tokens.pruner.first_layer
    columns = []
    for layer in range(first, problem.adapter.spec.layers):
        ends = []
        for sign in (1, -1):
            moved = ratios.copy()
            moved[layer] += sign * STEP
            ends.append(_loss(_forward(relaxed, moved, hard=False, tau=tau)))
        columns.append((ends[0] - ends[1]) / (2 * STEP))
    return float(np.isclose(gradient, np.stack(columns, axis=1), rtol=0.05, atol=0.01).mean())


def compare(
    schedule: str,
    estimator: str,
    tau: float,
    found: NDArray[np.float64],
    true: NDArray[np.float64],
) -> BiasFigures:
    """Direction, size and bias of the mean gradient; `found`, `true`: `[samples, layers]`."""
    rng = np.random.default_rng(0)
    picks = rng.integers(len(true), size=(RESAMPLES, len(true)))
    cosines = [cosine(found[pick].mean(0), true[pick].mean(0)) for pick in picks]
    low, high = np.quantile(cosines, [0.025, 0.975])
    g, d = found.mean(0), true.mean(0)
    return BiasFigures(
        schedule, estimator, tau, cosine(g, d), float(low), float(high),
        scale=float(g @ d / (d @ d)),
        relative_bias=float(np.linalg.norm(g - d) / np.linalg.norm(d)),
        signs=float(np.mean(np.sign(g) == np.sign(d))),
    )  # fmt: skip


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Cosine of the angle between two vectors; 0 where one vanishes."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0


def _print(
    console: Console, rows: list[BiasFigures], checks: list[CheckFigures], where: str
) -> None:
    table = Table(title=f"Gradients against differences of the pruned decoder, {where}")
    columns: dict[str, Callable[[BiasFigures], str]] = {
        "schedule": lambda r: r.schedule,
        "estimator": lambda r: r.estimator,
        "tau": lambda r: f"{r.tau:g}",
        "cosine [95 %]": lambda r: f"{r.cosine:.2f} [{r.cosine_low:.2f}, {r.cosine_high:.2f}]",
        "scale": lambda r: f"{r.scale:.2f}",
        "relative bias": lambda r: f"{r.relative_bias:.2f}",
        "same sign": lambda r: f"{r.signs:.0%}",
    }
    for name in columns:
        left = name in ("schedule", "estimator")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(cell(row) for cell in columns.values()))
    console.print(table)
    least = min(check.agree for check in checks)
    console.print(
        "The soft loss's gradient is its own finite difference for at least "
        f"{least:.0%} of samples and layers; elsewhere a small step changes a ranking."
    )
