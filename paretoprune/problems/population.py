"""Runs a population of keep schedules over a split: per-sample outcomes, and the FLOPs run.

Work is split over samples, never over candidates, so that prefix sharing survives. On a CPU each
thread takes whole batches: small operations gain more from that than from being split themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.adapters.base import Adapter
from paretoprune.parallel import processes, summed
from paretoprune.problems.outcomes import Scorer
from paretoprune.problems.teacher_forcing import AnsweredBatch
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.decoder import Executed, run_population
from paretoprune.pruning.trunk import Trunk


@dataclass(frozen=True)
class Outcomes:
    """`score` (in 0..1) and `divergence` float32 [schedules, samples]; `flops` really run."""

    score: NDArray[np.float32]
    divergence: NDArray[np.float32]
    flops: float


def score_population(
    adapter: Adapter,
    pruners: Sequence[Pruner],
    batches: Sequence[AnsweredBatch],
    dense: Sequence[Tensor],
    ratios: NDArray[np.float64],
    *,
    scorer: Scorer,
    chosen: NDArray[np.bool_],
    trunks: Sequence[Trunk | None] | None = None,
) -> Outcomes:
    """Score schedules `ratios` [schedules, layers] on the `chosen` samples, bool [samples].

    `pruners` ranks for each schedule; `dense` are the dense model's log-probabilities of each
    batch, `trunks` its kept states, if any; `scorer` knows the samples. Entries of samples that are
    not chosen stay 0.
    """
    score = np.zeros((len(ratios), len(chosen)), dtype=np.float32)
    divergence = np.zeros_like(score)

    def run(number: int) -> float:
        part, teacher = batches[number], dense[number]
        trunk = None if trunks is None else trunks[number]
        wanted = torch.from_numpy(chosen).to(part.sample.device)[part.sample]
        if not bool(wanted.any()):
            return 0.0
        if not bool(wanted.all()):
            part, teacher, trunk = part.rows(wanted), teacher[wanted], None
        meter = Executed()
        numbers = part.sample.cpu().numpy()
        with torch.inference_mode():
            for leaf in run_population(
                adapter, part.prefill, ratios, pruners,
                sample=part.sample, executed=meter, answers=part.places, trunk=trunk,
                with_path=part.goes_on,
            ):  # fmt: skip
                predicted = part.log_probabilities(adapter, leaf.tokens)
                right = scorer.outcomes(part, leaf, predicted, meter).cpu().numpy()
                away = part.divergence(teacher, predicted).cpu().numpy()
                for index in leaf.candidates:  # batches have samples of their own: no two meet
                    score[index, numbers] = right
                    divergence[index, numbers] = away
        return meter.flops

    threads = torch.get_num_threads()
    on_cpu = adapter.model.device.type == "cpu"
    number, count = processes()
    mine = range(number, len(batches), count)
    if not on_cpu or threads == 1 or len(mine) < 2:
        flops = sum(map(run, mine))
    else:
        flops = _in_threads(run, {i: len(batches[i].sample) for i in mine}, threads)
    if count > 1:
        summed(torch.from_numpy(score))  # in place: the arrays share the tensors' memory
        summed(torch.from_numpy(divergence))
        flops = float(summed(torch.tensor(flops, dtype=torch.float64)))
    return Outcomes(score, divergence, flops)


def _in_threads(run: Callable[[int], float], sizes: Mapping[int, int], threads: int) -> float:
    """Run batches by number, the largest first, one per thread; the sum of what they return."""
    order = sorted(sizes, key=lambda i: -sizes[i])
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        return float(sum(pool.map(run, order)))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # MKL's number is one for all threads
