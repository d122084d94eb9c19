"""Runs a population of keep schedules over a split: per-sample outcomes, and the FLOPs run.

An adaptive policy gives samples schedules of their own. All distinct ones make one table, each with
the samples it is for, so that policies share work among themselves and with fixed schedules.

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
from paretoprune.compression.configuration import Configuration
from paretoprune.compression.scorer import Scorer
from paretoprune.compression.teacher_forcing import AnsweredBatch
from paretoprune.core.out_of_memory import give_back, is_out_of_memory
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.decoder import Executed, run_population
from paretoprune.pruning.parallel import processes, summed
from paretoprune.pruning.tokens import Trunk


@dataclass(frozen=True)
class Outcomes:
    """`score` (in 0..1) and `divergence` float32 [schedules, samples]; `flops` really run.

    `left_out` int64 [schedules, samples] are pictures without any visual token in the last layer.
    """

    score: NDArray[np.float32]
    divergence: NDArray[np.float32]
    left_out: NDArray[np.int64]
    flops: float


@dataclass(frozen=True)
class Table:
    """The distinct schedules of configurations, each with the samples that it is to be run on.

    `pruners` and `ratios` [schedules, layers] are theirs, `wanted` bool [schedules, samples]; `of`
    int64 [configurations, samples] says which schedule a configuration gives each sample.
    """

    pruners: list[Pruner]
    ratios: NDArray[np.float64]
    wanted: NDArray[np.bool_]
    of: NDArray[np.int64]


def tabulate(configurations: Sequence[Configuration], samples: int) -> Table:
    """Every distinct schedule once, so that policies and schedules share common rows."""
    numbers: dict[tuple[str, bytes], int] = {}
    pruners: list[Pruner] = []
    ratios: list[NDArray[np.float64]] = []
    of = np.zeros((len(configurations), samples), dtype=np.int64)
    for place, one in enumerate(configurations):
        distinct, which = np.unique(np.atleast_2d(one.ratios), axis=0, return_inverse=True)
        rows = []
        for row in distinct:
            ranks = bool(((row > 0) & (row < 1)).any())
            key = (one.pruner.label if ranks else "", row.tobytes())
            if key not in numbers:
                numbers[key] = len(ratios)
                pruners.append(one.pruner)
                ratios.append(row)
            rows.append(numbers[key])
        of[place] = np.asarray(rows)[which.reshape(-1)]
    wanted = np.zeros((len(ratios), samples), dtype=np.bool_)
    wanted[of, np.arange(samples)] = True
    return Table(pruners, np.stack(ratios), wanted, of)


def score_population(
    adapter: Adapter,
    pruners: Sequence[Pruner],
    batches: Sequence[AnsweredBatch],
    dense: Sequence[Tensor],
    ratios: NDArray[np.float64],
    *,
    scorer: Scorer,
    chosen: NDArray[np.bool_],
    wanted: NDArray[np.bool_] | None = None,
    trunks: Sequence[Trunk | None] | None = None,
    per_picture: bool = False,
) -> Outcomes:
    """Score schedules `ratios` [schedules, layers] on the `chosen` samples, bool [samples].

    `pruners` ranks for each schedule; `dense` are the dense model's log-probabilities of each
    batch, `trunks` its kept states, if any; `scorer` knows the samples. `wanted` bool [schedules,
    samples] says which of the chosen samples each schedule is for (None: all). With `per_picture`
    every picture keeps a token where a ratio is above 0. Entries of other samples stay 0.
    """
    if wanted is None:
        wanted = np.ones((len(ratios), len(chosen)), dtype=np.bool_)
    score = np.zeros((len(ratios), len(chosen)), dtype=np.float32)
    divergence = np.zeros_like(score)
    left_out = np.zeros(score.shape, dtype=np.int64)

    def run(number: int) -> float:
        return run_rows(number, chosen[batches[number].sample.cpu().numpy()])

    def run_rows(number: int, rows: NDArray[np.bool_]) -> float:
        """Run some rows of a batch; in halves where they need more memory than there is."""
        if not rows.any():
            return 0.0
        try:
            return run_at_once(number, rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or rows.sum() == 1:
                raise
        give_back()
        first = rows & (rows.cumsum() <= rows.sum() // 2)
        return run_rows(number, first) + run_rows(number, rows & ~first)

    def run_at_once(number: int, among: NDArray[np.bool_]) -> float:
        part, teacher = batches[number], dense[number]
        trunk = None if trunks is None else trunks[number]
        if not among.all():
            here = torch.from_numpy(among).to(part.sample.device)
            part, teacher, trunk = part.rows(here), teacher[here], None
        meter = Executed()
        numbers = part.sample.cpu().numpy()
        with torch.inference_mode():
            for leaf in run_population(
                adapter, part.prefill, ratios, pruners,
                sample=part.sample, executed=meter, answers=part.positions, trunk=trunk,
                wanted=wanted[:, numbers], with_path=part.goes_on, per_picture=per_picture,
            ):  # fmt: skip
                mine, theirs = part, teacher
                if len(leaf.rows) < len(numbers):
                    rows = torch.from_numpy(leaf.rows).to(part.sample.device)
                    mine, theirs = part.rows(rows), teacher[rows]
                predicted = mine.log_probabilities(adapter, leaf.tokens)
                right = scorer.outcomes(mine, leaf, predicted, meter).cpu().numpy()
                away = mine.divergence(theirs, predicted).cpu().numpy()
                for index in leaf.candidates:  # batches have samples of their own: no two meet
                    asked = wanted[index, numbers[leaf.rows]]
                    score[index, numbers[leaf.rows[asked]]] = right[asked]
                    divergence[index, numbers[leaf.rows[asked]]] = away[asked]
                    left_out[index, numbers[leaf.rows[asked]]] = leaf.left_out[asked]
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
        summed(torch.from_numpy(left_out))
        flops = float(summed(torch.tensor(flops, dtype=torch.float64)))
    return Outcomes(score, divergence, left_out, flops)


def _in_threads(run: Callable[[int], float], sizes: Mapping[int, int], threads: int) -> float:
    """Run batches by number, the largest first, one per thread; the sum of their results."""
    order = sorted(sizes, key=lambda i: -sizes[i])
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        return float(sum(pool.map(run, order)))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # MKL's number is one for all threads


def left_out_metrics(left_out: NDArray[np.int64], pictures: NDArray[np.int64]) -> dict[str, float]:
    """Samples and pictures without any visual token in the last layer, as metrics.

    `left_out` are such pictures of each sample, of its `pictures`, int64 `[samples]` both. A sample
    that shows none does not count.
    """
    return {
        "samples_left_out": float(((left_out == pictures) & (pictures > 0)).sum()),
        "pictures_left_out": float(left_out.sum()),
    }
