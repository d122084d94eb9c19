"""Visual token pruning as a problem: relative score against relative decoder compute.

Joins the halves of the package: adapter + task + pruner + cost model on one side, search spaces and
evaluations on the other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretoprune.adapters.base import Adapter
from paretoprune.cost import kv_bytes, layer_cost
from paretoprune.errors import InvalidValueError
from paretoprune.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.problems.teacher_forcing import AnsweredBatch, answered_batches
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.cost import choosing_flops
from paretoprune.pruning.decoder import Executed, run_population
from paretoprune.registry import kernels
from paretoprune.schedules import KeepSchedule, keep_counts
from paretoprune.schedules.kernels import Kernel
from paretoprune.search.relaxation import Relaxation
from paretoprune.tasks.base import Sample

LATTICE_TOKENS = 8
"""Kept counts are multiples of this many tokens by default, so that sibling candidates meet."""
MOST_LEVELS = 72
DEFAULT_SPACE = "multi-step"
EXACT = "schedule"
"""Space name of candidates that hold a schedule as it is, off any lattice; never searched."""


class TokenPruning(Problem):
    """How many visual tokens each decoder layer keeps, chosen for one model, task and pruner.

    Objectives: `score`, the relative score q = (score - blind) / (dense - blind), and `compute`,
    the relative compute u = (FLOPs - blind) / (dense - blind) of the decoder's prefill, ranking
    included. `spaces` holds one search space per registered kernel.
    """

    name = "token-pruning"

    def __init__(
        self,
        adapter: Adapter,
        samples: Sequence[Sample],
        pruner: Pruner,
        *,
        heldout_samples: Sequence[Sample] | None = None,
        levels: int | None = None,
        batch: int = 64,
        model_name: str = "model",
        allow_no_tradeoff: bool = False,
    ) -> None:
        self.adapter = adapter
        self.pruner = pruner
        self.samples = list(samples)
        self.batch = batch
        self.model_name = model_name
        self._heldout_samples = heldout_samples
        self.batches: list[AnsweredBatch] = list(
            answered_batches(adapter, samples, batch=batch, needs=pruner.needs)
        )
        self._measure_lengths()
        visual = int(self.visual_tokens.min())
        if levels is None:
            levels = min(MOST_LEVELS, max(1, visual // LATTICE_TOKENS))
        self.levels = levels
        names = sorted(kernels.names(), key=lambda n: n != DEFAULT_SPACE)
        self.kernels: dict[str, Kernel] = {
            name: kernels.load(name)(adapter.spec.layers, levels, pruner.first_layer)
            for name in names
        }
        self.spaces = {name: kernel.space for name, kernel in self.kernels.items()}
        self._measure_references()
        if self.dense_score <= self.blind_score and not allow_no_tradeoff:
            raise InvalidValueError(
                f"model {self.model_name!r} scores {self.dense_score:.3f} with all visual tokens "
                f"and {self.blind_score:.3f} with none on these {len(self.samples)} samples: there "
                "is nothing to trade off"
            )
        self.objectives = (
            Objective("score", "max", "relative score q", reference=0.0, best=1.0),
            Objective("compute", "min", "relative compute u", reference=1.0, best=0.0),
        )

    def _measure_lengths(self) -> None:
        count = len(self.samples)
        self.visual_tokens = np.zeros(count, dtype=np.int64)
        self.text_tokens = np.zeros(count, dtype=np.int64)
        for part in self.batches:
            rows = part.sample.cpu().numpy()
            visual = part.prefill.visual.sum(1).cpu().numpy()
            self.visual_tokens[rows] = visual
            self.text_tokens[rows] = part.prefill.valid.sum(1).cpu().numpy() - visual

    def _measure_references(self) -> None:
        """Dense and blind: scores and FLOPs that every relative figure is measured against."""
        layers = self.adapter.spec.layers
        both = np.stack([np.ones(layers), np.zeros(layers)])
        self.dense_flops, self.blind_flops = (float(self.flops(row).mean()) for row in both)
        self.dense_log_probabilities: list[torch.Tensor] = []
        outcomes = np.zeros((2, len(self.samples)), dtype=np.float32)
        with torch.no_grad():
            for part in self.batches:
                for leaf in run_population(
                    self.adapter, part.prefill, both, self.pruner, sample=part.sample
                ):
                    predicted = part.log_probabilities(self.adapter, leaf.tokens)
                    outcomes[leaf.candidates[0], part.sample.cpu().numpy()] = part.exact(predicted)
                    if leaf.candidates == [0]:
                        self.dense_log_probabilities.append(predicted)
        self.dense_outcomes, self.blind_outcomes = outcomes
        self.dense_score, self.blind_score = (float(row.mean()) for row in outcomes)

    # --- cost

    def flops(self, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        """Decoder FLOPs of a keep schedule `[layers]` on each sample alone: float64 `[samples]`."""
        spec = self.adapter.spec
        kept = keep_counts(ratios, self.visual_tokens)  # [layers, samples]
        total = layer_cost(spec, kept + self.text_tokens).sum(0)
        total += choosing_flops(self.pruner, spec, self.text_tokens, self.visual_tokens, kept)
        return np.asarray(total)

    def relative_compute(self, ratios: NDArray[np.float64]) -> float:
        """Relative compute u of a keep schedule, mean over the split."""
        span = self.dense_flops - self.blind_flops
        return float((self.flops(ratios).mean() - self.blind_flops) / span)

    def price(self, candidate: Candidate) -> float:
        """FLOPs of the candidate over the split, in dense passes over it."""
        return float(self.flops(self._ratios(candidate)).mean() / self.dense_flops)

    # --- evaluation

    def schedule(self, candidate: Candidate) -> KeepSchedule:
        """The keep schedule that a candidate stands for."""
        if candidate.space == EXACT:
            ratios = [float(candidate.values[f"keep_{i}"]) for i in range(len(candidate.values))]
            return KeepSchedule.from_ratios(ratios)
        values = self.space(candidate.space).validate(candidate.values)
        return self.kernels[candidate.space].schedule(values)

    def _ratios(self, candidate: Candidate) -> NDArray[np.float64]:
        return np.asarray(self.schedule(candidate).ratios)

    def identity(self, candidate: Candidate) -> str:
        """The schedule's ratios: different knobs may round to the same schedule."""
        return str(self.schedule(candidate).ratios)

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate a population with shared prefixes; equal schedules are run once."""
        if not candidates:
            return []
        started = time.perf_counter()
        rows = np.stack([self._ratios(c) for c in candidates])
        distinct, which = np.unique(rows, axis=0, return_inverse=True)
        meter = Executed()
        outcomes = np.zeros((len(distinct), len(self.samples)), dtype=np.float32)
        divergence = np.zeros_like(outcomes)
        with torch.inference_mode():
            for part, dense in zip(self.batches, self.dense_log_probabilities, strict=True):
                numbers = part.sample.cpu().numpy()
                for leaf in run_population(
                    self.adapter, part.prefill, distinct, self.pruner,
                    sample=part.sample, executed=meter,
                ):  # fmt: skip
                    predicted = part.log_probabilities(self.adapter, leaf.tokens)
                    right = part.exact(predicted).cpu().numpy()
                    away = part.divergence(dense, predicted).cpu().numpy()
                    for index in leaf.candidates:
                        outcomes[index, numbers] = right
                        divergence[index, numbers] = away
        prices = np.array([self.price(c) for c in candidates])
        shares = prices / prices.sum()
        seconds = time.perf_counter() - started
        executed = meter.flops / (self.dense_flops * len(self.samples))
        return [
            self._evaluation(
                candidate, rows[i], outcomes[which[i]], divergence[which[i]],
                cost=float(prices[i]), executed=float(executed * shares[i]),
                seconds=float(seconds * shares[i]),
            )
            for i, candidate in enumerate(candidates)
        ]  # fmt: skip

    def _evaluation(
        self,
        candidate: Candidate,
        ratios: NDArray[np.float64],
        outcomes: NDArray[np.float32],
        divergence: NDArray[np.float32],
        *,
        cost: float,
        executed: float,
        seconds: float,
    ) -> Evaluation:
        span = self.dense_score - self.blind_score
        score = float(outcomes.mean())
        kept = keep_counts(ratios, self.visual_tokens)
        tokens = (kept + self.text_tokens).mean(1)
        return Evaluation(
            candidate,
            objectives={
                "score": (score - self.blind_score) / span,
                "compute": self.relative_compute(ratios),
            },
            cost=cost,
            executed=executed,
            seconds=seconds,
            standard_errors={
                "score": float(outcomes.std(ddof=1) / np.sqrt(len(outcomes)) / span)
                if len(outcomes) > 1
                else 0.0,
                "compute": 0.0,
            },
            metrics={
                "accuracy": score,
                "kl_to_dense": float(divergence.mean()),
                "gflops": float(self.flops(ratios).mean() / 1e9),
                "kv_bytes": float(kv_bytes(self.adapter.spec, np.rint(tokens).astype(np.int64))),
                "visual_tokens": float(kept.mean()),
            },
            outcomes=outcomes,
            detail={"keep": [float(r) for r in ratios]},
        )

    # --- what strategies may ask beyond evaluations

    def relaxation(self) -> Relaxation:
        """The soft decoder on this split; raises `UnsupportedError` for unsuitable pruners."""
        return self._relaxation

    @cached_property
    def _relaxation(self) -> Relaxation:
        from paretoprune.problems.token_relaxation import TokenRelaxation

        return TokenRelaxation(self)

    @cached_property
    def _heldout(self) -> TokenPruning | None:
        if self._heldout_samples is None:
            return None
        return TokenPruning(
            self.adapter, self._heldout_samples, self.pruner,
            levels=self.levels, batch=self.batch, model_name=self.model_name,
        )  # fmt: skip

    @property
    def heldout(self) -> TokenPruning | None:
        """The same problem on the held-out split."""
        return self._heldout

    def describe(self) -> dict[str, Any]:
        """Everything that a resumed study must find unchanged, and the reference figures."""
        return {
            "problem": self.name,
            "model": self.model_name,
            "family": self.adapter.family,
            "pruner": self.pruner.name,
            "layers": self.adapter.spec.layers,
            "levels": self.levels,
            "visual_tokens": float(self.visual_tokens.mean()),
            "samples": len(self.samples),
            "first_sample": self.samples[0].id,
            "dense_score": self.dense_score,
            "blind_score": self.blind_score,
            "dense_gflops": self.dense_flops / 1e9,
            "blind_gflops": self.blind_flops / 1e9,
        }


def exact_candidate(schedule: KeepSchedule) -> Candidate:
    """A candidate that stands for exactly this schedule, on or off any lattice."""
    return Candidate(EXACT, {f"keep_{i}": ratio for i, ratio in enumerate(schedule.ratios)})


def family_scores(samples: Sequence[Sample], outcomes: NDArray[np.float32]) -> Mapping[str, float]:
    """Mean outcome per question family; `outcomes` is float32 `[samples]`."""
    found: dict[str, list[float]] = {}
    for sample, outcome in zip(samples, outcomes, strict=True):
        found.setdefault(sample.family, []).append(float(outcome))
    return {family: float(np.mean(values)) for family, values in found.items()}
