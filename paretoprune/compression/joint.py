"""Joint search on one model: visual tokens kept, bits of weights, bits of the KV cache."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretoprune.compression.configuration import Configuration
from paretoprune.compression.known import Row
from paretoprune.compression.population import left_out_metrics
from paretoprune.compression.quantisation import checked_bits, parse_objectives
from paretoprune.compression.quantised import QuantisedRuns
from paretoprune.compression.token_pruning import TokenPruning
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem, default_space
from paretoprune.core.space import Categorical, SearchSpace, Values
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError
from paretoprune.techniques.bits.kv import KV_BITS, token_bytes
from paretoprune.techniques.bits.packed import BITS
from paretoprune.techniques.bits.parts import bit_spaces, bits_by_path, mean_bits
from paretoprune.techniques.bits.quantised import Quantiser

SCORE = "score"
COSTS = {
    "memory_bytes": "bytes of weights and KV cache",
    "compute": "relative compute u",
    "weight_bytes": "bytes of weights",
    "kv_bytes": "bytes of key/value cache per sample",
}
ALIASES = {"flops": "compute", "memory": "memory_bytes"}
DEFAULT_OBJECTIVES = (SCORE, "memory_bytes")
KV_KNOB = "kv_bits"
SPACES = ("joint", "tokens", "weights", "cache")
DEFAULT_SEQUENCES = 4


@dataclass(frozen=True)
class Compressed:
    """What a candidate stands for: a token configuration, bits by path, bits of keys and values."""

    tokens: Configuration
    bits: Mapping[str, int]
    kv_bits: int

    @property
    def precision(self) -> tuple[object, ...]:
        """What candidates must share to be run together."""
        return (*self.bits.values(), self.kv_bits)

    @property
    def key(self) -> str:
        """Names the configuration really run."""
        return f"{self.tokens.key} {' '.join(map(str, self.precision))}"


class JointCompression(Problem):
    """Keep schedule x bits of weights x bits of the KV cache, against memory or compute.

    Spaces: `joint` has the knobs of all three; `tokens`, `weights` and `cache` those of one, with
    the others left dense or at 16 bits. All are points of the same problem, so that their fronts
    compare. `tokens_space` is the kernel of schedules, `weights_space` the grouping of weights.

    Objectives: `score`, relative as in token pruning, and one or more costs: `memory_bytes`, the
    model's weights and the KV cache of `sequences` samples, all as they are packed; `compute`, the
    relative FLOPs u (bits do not change them); `weight_bytes`; `kv_bytes` per sample. Costs have
    the dense model in 16 bits as reference; the best is blind, with the fewest bits everywhere.
    """

    name = "joint"

    def __init__(
        self,
        tokens: TokenPruning,
        *,
        bits: Sequence[int] = BITS,
        kv_bits: Sequence[int] = KV_BITS,
        tokens_space: str | None = None,
        weights_space: str = "blocks",
        sequences: int = DEFAULT_SEQUENCES,
        objectives: str | Sequence[str] = DEFAULT_OBJECTIVES,
        quantiser: Quantiser | None = None,
    ) -> None:
        if isinstance(sequences, bool) or not isinstance(sequences, int) or sequences < 1:
            raise InvalidValueError(
                f"the cache is of a whole number of sequences, 1 or more, got {sequences!r}"
            )
        self.bits = checked_bits(bits, BITS, "weights")
        self.kv_bits = checked_bits(kv_bits, KV_BITS, "keys and values")
        self.costs = parse_objectives(objectives, COSTS, ALIASES)
        self.tokens = tokens
        self.runs = QuantisedRuns(tokens, quantiser)
        self.quantiser = self.runs.quantiser
        self.sequences = sequences
        self.tokens_space = tokens_space or default_space(tokens)
        spaces = bit_spaces(self.quantiser.parts, self.bits)
        if weights_space not in spaces:
            raise UnknownNameError("grouping of weights", weights_space, spaces)
        self.weights_space = weights_space
        cache = Categorical(KV_KNOB, tuple(map(str, self.kv_bits)), "bits")
        schedule, weights = tokens.space(self.tokens_space), spaces[weights_space]
        self.spaces = {
            "joint": SearchSpace((*schedule.knobs, *weights.knobs, cache)),
            "tokens": schedule,
            "weights": weights,
            "cache": SearchSpace((cache,)),
        }
        layers = tokens.adapter.spec.layers
        dense = Compressed(Configuration(tokens.pruner, np.ones(layers)), self._uniform(16), 16)
        least = Compressed(
            Configuration(tokens.pruner, np.zeros(layers)),
            self._uniform(min(self.bits)),
            min(self.kv_bits),
        )
        self._dense = dense
        self.objectives = (
            Objective(SCORE, "max", "relative score q", reference=0.0, best=1.0),
            *(
                Objective(
                    name, "min", COSTS[name],
                    reference=self.cost_value(name, dense), best=self.cost_value(name, least),
                )
                for name in self.costs
            ),
        )  # fmt: skip

    def _uniform(self, bits: int) -> dict[str, int]:
        return dict.fromkeys(self.quantiser.parts.paths, bits)

    # --- what a candidate stands for, and costs

    def configuration(self, candidate: Candidate) -> Compressed:
        """Tokens, bits of weights and of the cache; what the candidate's space leaves out is dense.

        Raises `UnsupportedError` for a candidate with a policy.
        """
        if candidate.policy is not None:
            raise UnsupportedError("problem 'joint' evaluates points, not policies")
        values = self.space(candidate.space).validate(candidate.values)

        def has(space: str) -> bool:
            return candidate.space in ("joint", space)

        def part(space: SearchSpace) -> Values:
            return {name: values[name] for name in space.names if name in values}

        found = self._dense.tokens
        if has("tokens"):
            knobs = part(self.spaces["tokens"])
            found = self.tokens.configuration(Candidate(self.tokens_space, knobs))
        bits = self._dense.bits
        if has("weights"):
            knobs = part(self.spaces["weights"])
            bits = bits_by_path(self.quantiser.parts, self.weights_space, knobs)
        return Compressed(found, bits, int(values[KV_KNOB]) if has("cache") else 16)

    def identity(self, candidate: Candidate) -> str:
        """Schedule, pruner and all bits: candidates of different spaces may agree."""
        return self.configuration(candidate).key

    def price(self, candidate: Candidate) -> float:
        """FLOPs in dense passes over the split; bits change none."""
        one = self.configuration(candidate).tokens
        return float(
            self.tokens.sample_costs.flops(one.ratios, one.pruner).mean() / self.tokens.dense_flops
        )

    def cost_value(self, name: str, one: Compressed) -> float:
        """A cost of a configuration; bytes of the cache are means over the split."""
        if name == "compute":
            return self.tokens.sample_costs.relative_compute(one.tokens.ratios, one.tokens.pruner)
        if name == "weight_bytes":
            return float(self.runs.weight_bytes(one.bits))
        kept = self.tokens.sample_costs.kept(one.tokens.ratios)  # [layers, samples]
        held = float((kept + self.tokens.text_tokens).sum(0).mean())
        cache = held * token_bytes(self.tokens.adapter.spec, one.kv_bits)
        if name == "kv_bytes":
            return cache
        return self.runs.weight_bytes(one.bits) + self.sequences * cache

    # --- evaluation

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate a population: those of equal bits share prefixes, equal ones are run once."""
        each = [self.configuration(c) for c in candidates]
        groups: dict[tuple[object, ...], dict[str, Compressed]] = {}
        for one in each:
            groups.setdefault(one.precision, {})[one.key] = one
        scores: dict[str, Row] = {}
        seconds: dict[tuple[object, ...], float] = {}
        executed: dict[tuple[object, ...], float] = {}
        for precision, group in groups.items():
            started = time.perf_counter()
            first = next(iter(group.values()))
            found = self.runs.outcomes(
                [one.tokens for one in group.values()], first.bits, first.kv_bits
            )
            rows = zip(found.score, found.divergence, found.left_out, strict=True)
            scores |= dict(zip(group, rows, strict=True))
            sharing = sum(one.precision == precision for one in each)
            seconds[precision] = (time.perf_counter() - started) / sharing
            whole = self.tokens.dense_flops * len(self.tokens.samples)
            executed[precision] = found.flops / whole / sharing
        return [
            self._evaluation(
                candidate, one, *scores[one.key], seconds[one.precision], executed[one.precision]
            )
            for candidate, one in zip(candidates, each, strict=True)
        ]

    def _evaluation(
        self,
        candidate: Candidate,
        one: Compressed,
        score: NDArray[np.float32],
        divergence: NDArray[np.float32],
        left_out: NDArray[np.int64],
        seconds: float,
        executed: float,
    ) -> Evaluation:
        quality = self.relative(score)
        extra = [name for name in COSTS if name not in self.costs]
        return Evaluation(
            candidate,
            objectives={
                SCORE: float(quality.mean()),
                **{name: self.cost_value(name, one) for name in self.costs},
            },
            cost=self.price(candidate),
            executed=executed,
            seconds=seconds,
            standard_errors={
                SCORE: float(quality.std(ddof=1) / np.sqrt(len(quality))),
                **dict.fromkeys(self.costs, 0.0),
            },
            metrics={
                "accuracy": float(score.mean()),
                "kl_to_dense": float(divergence.mean()),
                "mean_bits": mean_bits(one.bits, self.quantiser.model),
                "kv_bits": float(one.kv_bits),
                **left_out_metrics(left_out, self.tokens.pictures),
                **{name: self.cost_value(name, one) for name in extra},
            },
            outcomes=score,
            detail={
                # not `keep`: a schedule file alone would leave the bits out
                "schedule": list(one.tokens.schedule.ratios),
                "ranked_by": one.tokens.pruner.label,
                "bits": dict(one.bits),
                "kv_bits": one.kv_bits,
            },
        )

    def relative(self, outcomes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Outcomes on a scale of 0, the blind model's mean, to 1, the dense model's."""
        return self.tokens.relative(outcomes)

    @cached_property
    def _heldout(self) -> JointCompression | None:
        found = self.tokens.heldout
        if found is None:
            return None
        return JointCompression(
            found, bits=self.bits, kv_bits=self.kv_bits, tokens_space=self.tokens_space,
            weights_space=self.weights_space, sequences=self.sequences,
            objectives=(SCORE, *self.costs), quantiser=self.quantiser,
        )  # fmt: skip

    @property
    def heldout(self) -> JointCompression | None:
        """The same problem on the held-out split."""
        return self._heldout

    def describe(self) -> dict[str, Any]:
        """Everything that a resumed study must find unchanged, and the reference figures."""
        return {
            **self.tokens.describe(),
            "problem": self.name,
            "objectives": [SCORE, *self.costs],
            "bits": list(self.bits),
            "kv_bits": list(self.kv_bits),
            "tokens_space": self.tokens_space,
            "weights_space": self.weights_space,
            "sequences": self.sequences,
            **{f"dense_{name}": self.cost_value(name, self._dense) for name in COSTS},
        }
