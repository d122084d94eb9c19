"""Speed of evaluating a population: shared prefixes, candidate by candidate, plain practice.

Agreement comes first: sharing must give every sample's outcome that one-by-one evaluation gives,
and both those of an independent plain loop. Then all are timed in one process, taking turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from paretoprune.adapters.prompts import teacher_forced
from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.evaluator import Running
from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.core.problem import Candidate, Evaluation
from paretoprune.cost import distinct_flops
from paretoprune.errors import ParetopruneError, UnsupportedError
from paretoprune.experiments.bench import machine, one_line, write_figures
from paretoprune.experiments.bench.plain import pruned_logits
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.schedules import KeepSchedule, keep_counts
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.techniques.tokens import Tokens
from paretoprune.zoo.load import load_adapter

CANDIDATES = 64
SAMPLES = 300
PLAIN_PAIRS = 600
"""Candidate-sample pairs that plain practice is timed on; its time is proportional to them."""
AGREE_SAMPLES = 24
LEAN_SAMPLES = 128
MAX_TIE_FRACTION = 0.005
"""Share of outcomes that other kernels' rounding may turn."""


class Disagreement(ParetopruneError):
    """Two ways to evaluate a sample differ, so that timing them means nothing."""


def run(
    console: Console,
    *,
    model: str = "mini-llava",
    search_size: int | None = None,
    repeats: int = 3,
    device: str = "cpu",
    out: Path | None = None,
    **_: object,
) -> dict[str, Any]:
    """Check agreement, time, print the table, and return all figures.

    Raises `Disagreement` where sharing or the plain loop gives another outcome, and
    `UnsupportedError` for a model that is no LLaVA, which the plain loop is written for.
    """
    found = machine(device)
    console.print(one_line(found))
    _check_agreement(console, model, device)
    study = load_problem(model, search_size=search_size or SAMPLES, heldout_size=0, device=device)
    # what a study keeps of the dense model between populations is not used in the comparison
    problem = Compression(
        study.adapter,
        study.samples,
        Tokens(study.tokens.pruner),
        model_name=model,
        running=Running(dense_bytes=0),
    )
    candidates = two_step(problem, CANDIDATES)
    dense = exact_candidate(KeepSchedule.constant(1.0, problem.adapter.spec.layers))
    pairs = _pairs(len(candidates), len(problem.samples), PLAIN_PAIRS)
    ways: dict[str, Callable[[], object]] = {
        "shared": lambda: problem.evaluate(candidates),
        "study": lambda: study.evaluate(candidates),
        "one by one": lambda: [problem.evaluate([c]) for c in candidates],
        "dense": lambda: problem.evaluate([dense]),
        "plain": lambda: _plain(problem, candidates, pairs),
    }
    times = _in_turns(console, ways, repeats, problem.adapter.model.device.type)
    share = len(pairs) / (len(candidates) * len(problem.samples))
    seconds = {name: float(np.median(t)) for name, t in times.items()}
    seconds["plain"] /= share
    distinct, alone = _bound(problem, candidates)
    dense_flops = problem.cost_model.dense_flops * len(problem.samples)
    at_bound = distinct / dense_flops * seconds["dense"]
    result: dict[str, Any] = {
        "machine": found,
        "model": model,
        "candidates": len(candidates),
        "samples": len(problem.samples),
        "repeats": repeats,
        "seconds": seconds,
        "all_seconds": times,
        "plain_pairs": len(pairs),
        "speedup_over_one_by_one": seconds["one by one"] / seconds["shared"],
        "speedup_over_plain": seconds["plain"] / seconds["shared"],
        "flop_bound": alone / distinct,
        "share_of_bound": at_bound / seconds["shared"],
    }
    _print(console, result)
    write_figures(out, result)
    return result


def two_step(problem: Compression, count: int) -> list[Candidate]:
    """Random two-step candidates on the lattice, each a schedule of its own."""
    rng = np.random.default_rng(0)
    candidates: dict[str, Candidate] = {}
    while len(candidates) < count:
        candidate = problem.candidate(problem.space("multi-step").sample(rng), "multi-step")
        candidates.setdefault(problem.identity(candidate), candidate)
    return list(candidates.values())


def _pairs(candidates: int, samples: int, most: int) -> list[tuple[int, int]]:
    """Candidate-sample pairs, evenly over both: all of them if there are no more than `most`."""
    total = candidates * samples
    chosen = np.linspace(0, total - 1, min(most, total)).astype(int)
    return [(int(i) // samples, int(i) % samples) for i in chosen]


def _in_turns(
    console: Console, ways: dict[str, Callable[[], object]], repeats: int, device: str
) -> dict[str, list[float]]:
    """Seconds of every way, `repeats` each, taking turns after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            if turn == 0 and name in ("one by one", "study"):
                continue  # their operations are those of `shared`, which has just warmed them up
            with console.status(f"{name}, round {turn} of {repeats}"):
                _wait(device)
                started = time.perf_counter()
                way()
                _wait(device)
                if turn:
                    times[name].append(time.perf_counter() - started)
    return times


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _rows(problem: Compression, candidates: Sequence[Candidate]) -> NDArray[np.int64]:
    """Kept counts, int64 [candidates, layers, samples]."""
    rows = [np.asarray(problem.configuration(c).schedule.ratios) for c in candidates]
    return np.stack([keep_counts(row, problem.evaluator.visual_tokens) for row in rows])


def _bound(problem: Compression, candidates: Sequence[Candidate]) -> tuple[float, float]:
    return distinct_flops(
        problem.adapter.spec, _rows(problem, candidates), problem.evaluator.text_tokens
    )


def _plain(
    problem: Compression, candidates: Sequence[Candidate], pairs: Sequence[tuple[int, int]]
) -> list[bool]:
    """Whether each pair's sample is answered right, by the plain loop."""
    counts = _rows(problem, candidates)
    prepared: dict[int, Any] = {}
    right = []
    for candidate, number in pairs:
        if number not in prepared:  # image processor and tokenizer are not timed against anyone
            sample = problem.samples[number]
            prepared[number] = teacher_forced(
                problem.adapter, [sample.image], [sample.prompt], [sample.answer or ""]
            )
        inputs, prompt_end, labels = prepared[number]
        logits = pruned_logits(
            problem.adapter.model, inputs, counts[candidate, :, number].tolist(),
            int(prompt_end[0]),
        )  # fmt: skip
        said = logits[: labels.shape[1]].argmax(-1)
        right.append(bool((said == labels[0]).all()))
    return right


def _check_agreement(console: Console, model: str, device: str) -> None:
    """Shared, one by one and plain give the same outcome of every sample, in float64."""
    adapter = load_adapter(model, device=device)
    if adapter.family != "llava":
        raise UnsupportedError(
            f"the plain loop of this benchmark is written for LLaVA models, and {model!r} is of "
            f"the family {adapter.family!r}; choose mini-llava"
        )
    adapter.model.double()
    samples = load_split("search", AGREE_SAMPLES, seed=1)
    problem = Compression(
        adapter, samples, Tokens(FastV()), model_name=model, allow_no_tradeoff=True
    )
    candidates = two_step(problem, 8)
    ours = _outcomes(problem.evaluate(candidates))
    alone = np.concatenate([_outcomes(problem.evaluate([c])) for c in candidates])
    if not np.array_equal(ours, alone):
        raise Disagreement("shared and one-by-one evaluation differ in an outcome")
    pairs = _pairs(len(candidates), len(samples), len(candidates) * len(samples))
    _check_lean(console, model, device)
    plain = np.reshape(_plain(problem, candidates, pairs), (len(candidates), len(samples)))
    if not np.array_equal(plain, ours):
        raise Disagreement(
            f"{int((plain != ours).sum())} of {ours.size} outcomes differ from the plain loop's"
        )
    console.print(
        f"agreement: {ours.size} outcomes of {len(candidates)} candidates on {len(samples)} "
        "samples are equal, shared, one by one and in a plain loop (float64)"
    )


def _check_lean(console: Console, model: str, device: str) -> None:
    """Lean layers and the model's own give the same outcomes in float32, but for near ties."""
    adapter = load_adapter(model, device=device)
    samples = load_split("search", LEAN_SAMPLES, seed=1)
    quick, own = (
        Compression(
            adapter,
            samples,
            Tokens(FastV()),
            model_name=model,
            allow_no_tradeoff=True,
            running=Running(fast_layers=fast),
        )
        for fast in (True, False)
    )
    candidates = two_step(quick, 8)
    one, other = _outcomes(quick.evaluate(candidates)), _outcomes(own.evaluate(candidates))
    differing = int((one != other).sum())
    if differing > MAX_TIE_FRACTION * one.size:
        raise Disagreement(
            f"{differing} of {one.size} outcomes differ between fast layers and the model's own"
        )
    console.print(
        f"agreement: {one.size - differing} of {one.size} outcomes are equal with fast layers and "
        "the model's own (float32, where rounding decides near ties)"
    )


def _outcomes(evaluations: Sequence[Evaluation]) -> NDArray[np.bool_]:
    """Per-sample outcomes, bool [candidates, samples]."""
    return np.stack([e.outcomes for e in evaluations if e.outcomes is not None]).astype(bool)


def _print(console: Console, result: dict[str, Any]) -> None:
    table = Table(
        title=f"{result['candidates']} two-step candidates x {result['samples']} samples, "
        f"{result['model']}: medians of {result['repeats']}"
    )
    table.add_column("way")
    table.add_column("seconds", justify="right")
    table.add_column("against shared", justify="right")
    seconds = result["seconds"]
    names = {
        "shared": "shared prefixes",
        "study": "the same, dense states kept as in a study",
        "one by one": "the same decoder, candidate by candidate",
        "plain": "plain practice: batch 1, whole model",
        "dense": "one dense pass, batched",
    }
    for name, title in names.items():
        ratio = seconds[name] / seconds["shared"]
        table.add_row(title, f"{seconds[name]:.2f}", "" if name == "dense" else f"{ratio:.2f}x")
    console.print(table)
    console.print(
        f"FLOP bound of sharing {result['flop_bound']:.2f}x; share of the distinct-segment FLOP "
        f"bound reached: {result['share_of_bound']:.0%} (100 %: distinct segments at the dense "
        f"pass's speed). Plain practice was timed on {result['plain_pairs']} pairs and scaled."
    )
