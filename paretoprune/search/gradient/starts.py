"""Where a gradient search starts: at what loses least at each budget, by a quick probe.

A gradient only sees what one more token changes. Whether a budget is better spent by dropping many
tokens late or few early is a choice between valleys, and a search that starts from the constant
schedule stays in its own. So schedules with one or two drops, spread over the space, are evaluated
on a few samples first, really pruned and paid for like any evaluation, and each knot starts at the
best that fits its budget. Small budgets pay for few: there the search has few knots, and tries the
single drops that meet their budgets exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq

from paretoprune.problem import Candidate, Evaluation, Problem
from paretoprune.search.grid import farthest_first
from paretoprune.search.relaxation import Relaxation

LEAST = 0.02
"""A drop that keeps less than this share of the visual tokens is no start: the mask has no room."""
NINTHS = 9
"""Keep ratios of the drops that are spread over the space."""
DROPPING = 8
"""Layers at which they drop, at most."""
SLACK = 1e-6
"""How far a drop that meets a budget may exceed it by rounding."""
FAR = 0.05
"""How far above all that was tried a knot may lie to start there."""


@dataclass
class Probe:
    """One start that is tried: its keep ratios `[layers]`, and what it loses.

    Or the `outcomes` of the samples that it is tried on, where samples are told apart.
    """

    ratios: NDArray[np.float64]
    candidate: Candidate
    lost: float | None = None
    outcomes: NDArray[np.float64] | None = None


def probes_of(relaxed: Relaxation, budgets: NDArray[np.float64], share: float) -> list[Probe]:
    """Every drop at one layer that meets a budget, to be evaluated on a share of the samples."""
    return [
        Probe(ratios, replace(relaxed.candidate(ratios), share=share))
        for budget in budgets
        for ratios in drops(relaxed, float(budget))
    ]


def drops(relaxed: Relaxation, budget: float) -> Iterable[NDArray[np.float64]]:
    """Schedules with one drop, at each layer where one meets `budget` exactly."""

    def compute(layer: int, ratio: float) -> float:
        row = np.ones((1, relaxed.layers))
        row[:, layer:] = ratio
        return float(relaxed.compute(torch.from_numpy(row))) - budget

    for layer in range(relaxed.first, relaxed.layers):
        if compute(layer, LEAST) < 0 < compute(layer, 1.0):
            row = np.ones(relaxed.layers)
            row[layer:] = brentq(lambda ratio, at=layer: compute(at, ratio), LEAST, 1.0)
            yield row


def spread_drops(relaxed: Relaxation, highest: float, most: int) -> Iterable[NDArray[np.float64]]:
    """Schedules `[layers]` of one or two drops below a compute, each far from those before it.

    Farthest-point order over keep ratios, from the middle outwards: any first part covers the
    space. Ratios are ninths; of many layers, eight evenly spaced ones drop.
    """
    count = min(DROPPING, relaxed.layers - relaxed.first)
    layers = np.unique(np.rint(np.linspace(relaxed.first, relaxed.layers - 1, count)).astype(int))
    rows = []
    for first, second in itertools.combinations_with_replacement(layers.tolist(), 2):
        for more, less in itertools.combinations_with_replacement(range(NINTHS), 2):
            if (first == second) == (more == less):
                row = np.ones(relaxed.layers)
                row[first:], row[second:] = less / NINTHS, min(more, less) / NINTHS
                rows.append(row)
    every = np.unique(np.stack(rows), axis=0)
    compute = relaxed.compute(torch.from_numpy(every)).numpy()
    fits = every[compute <= highest]
    if not len(fits):
        return []
    return [fits[i] for i in itertools.islice(farthest_first(fits), most)]


def told(probe: Probe, evaluation: Evaluation, loss: str) -> None:
    """Note what a start loses; a failed one loses infinitely much."""
    name = "kl_to_dense" if loss == "kl" else "lost_to_dense"
    probe.lost = evaluation.metrics.get(name, np.inf) if evaluation.failure is None else np.inf


def affordable_probes(
    relaxed: Relaxation,
    problem: Problem,
    rows: Iterable[NDArray[np.float64]],
    share: float,
    affordable: float,
) -> list[Probe]:
    """The first of these schedules, as many as may be evaluated on a share of the samples."""
    probes: list[Probe] = []
    for ratios in rows:
        probe = Probe(ratios, replace(relaxed.candidate(ratios), share=share))
        affordable -= problem.price(probe.candidate)
        if affordable < 0:
            break
        probes.append(probe)
    return probes


def best(
    relaxed: Relaxation,
    probes: Sequence[Probe],
    budgets: NDArray[np.float64],
    constant: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The start of each knot, `[knots, layers]`: of what fits its budget, what loses least.

    Where nothing that was tried fits, and above all that was tried, the `constant` one.
    """
    start = constant.copy()
    rows = np.stack([p.ratios for p in probes])
    compute = relaxed.compute(torch.from_numpy(rows)).numpy()
    lost = np.array([np.inf if p.lost is None else p.lost for p in probes])
    for knot, budget in enumerate(budgets):
        fitting = np.where(compute <= budget + SLACK, lost, np.inf)
        if np.isfinite(fitting).any() and budget <= compute.max() + FAR:
            start[knot] = rows[fitting.argmin()]
    return start
