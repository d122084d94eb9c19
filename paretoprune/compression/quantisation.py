"""Mixed-precision weight quantisation as a problem: score against bytes of weights, and latency."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretoprune.compression.configuration import Configuration
from paretoprune.compression.quantised import QuantisedRuns
from paretoprune.compression.quantised_latency import QuantisedTimer
from paretoprune.compression.token_pruning import TokenPruning
from paretoprune.core.capabilities import Measurement
from paretoprune.core.options import listed
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError, brief
from paretoprune.techniques.bits.packed import BITS
from paretoprune.techniques.bits.parts import Parts, bit_spaces, bits_by_path, mean_bits
from paretoprune.techniques.bits.quantised import Quantiser

SCORE = "score"
COSTS = {
    "weight_bytes": "bytes of weights",
    "latency_ms": "ms of one sample's forward pass",
}
ALIASES = {"bytes": "weight_bytes", "latency": "latency_ms"}
DEFAULT_OBJECTIVES = (SCORE, "weight_bytes")


@dataclass(frozen=True)
class Judged:
    """A quantised model on a split: `score` float32 [samples] in 0..1, and further figures."""

    score: NDArray[np.float32]
    metrics: Mapping[str, float]


class Data(ABC):
    """What a quantised model is judged on: samples, and what the model as loaded says of them.

    `dense_outcomes` float32 [samples]; `floor` is the score that is worth nothing.
    """

    quantiser: Quantiser
    dense_outcomes: NDArray[np.float32]
    floor: float

    @abstractmethod
    def judge(self, bits: Mapping[str, int]) -> Judged:
        """Score the view with these bits."""

    @abstractmethod
    def one_input(self) -> Mapping[str, Any]:
        """Arguments of `model.forward` for one sample of typical length, to be timed."""

    @abstractmethod
    def heldout(self) -> Data | None:
        """The held-out data of the same model, with the same quantiser."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """JSON-ready description of the model and the samples."""


class PictureData(Data):
    """A vision-language model on a task: the dense score is that of all visual tokens."""

    def __init__(self, tokens: TokenPruning, quantiser: Quantiser | None = None) -> None:
        self.tokens = tokens
        self.runs = QuantisedRuns(tokens, quantiser)
        self.quantiser = self.runs.quantiser
        self.dense_outcomes = tokens.dense_outcomes
        self.floor = tokens.blind_score

    def judge(self, bits: Mapping[str, int]) -> Judged:
        """Score the view with all visual tokens."""
        everything = np.ones(self.tokens.adapter.spec.layers)
        found = self.runs.outcomes([Configuration(self.tokens.pruner, everything)], bits)
        return Judged(found.score[0], {"kl_to_dense": float(found.divergence[0].mean())})

    def one_input(self) -> Mapping[str, Any]:
        """The sample of median length."""
        from paretoprune.compression.latency import typical_sample

        lengths = self.tokens.text_tokens + self.tokens.visual_tokens
        sample = typical_sample(self.tokens.samples, lengths)
        return dict(self.tokens.adapter.inputs([sample.image], [sample.prompt]))

    def heldout(self) -> PictureData | None:
        """The task's held-out split."""
        found = self.tokens.heldout
        return None if found is None else PictureData(found, self.quantiser)

    def describe(self) -> dict[str, Any]:
        """Those of the token-pruning problem that are about model and samples."""
        told = self.tokens.describe()
        names = ("model", "family", "layers", "samples", "first_sample", "dense_score")
        return {name: told[name] for name in names} | {"blind_score": self.floor}


class Quantisation(Problem):
    """Bits per group of weights, 3, 4, 8 or 16, weight-only, packed as HQQ packs them.

    Spaces: `blocks` (attention and MLP of up to four blocks of layers, and the vision tower),
    `layers`, `uniform`. Objectives: `score`, relative: 1 is the model as it was loaded, 0 the
    data's floor (blind, for pictures); `weight_bytes`, what all weights of the model really take,
    scales and zero points included; `latency_ms`, one forward pass of one sample, predicted from
    measured times of its layers and measured again for the final front. Costs have all-16 bits as
    reference and the fewest bits everywhere as best. The model is not changed.
    """

    name = "quantisation"

    def __init__(
        self,
        data: Data,
        *,
        bits: Sequence[int] = BITS,
        objectives: str | Sequence[str] = DEFAULT_OBJECTIVES,
        timer: QuantisedTimer | None = None,
    ) -> None:
        self.bits = checked_bits(bits, BITS, "weights")
        self.costs = parse_objectives(objectives)
        self.data = data
        self.quantiser = data.quantiser
        self.spaces = bit_spaces(self.quantisable, self.bits)
        self.dense_score = float(data.dense_outcomes.mean())
        if self.dense_score <= data.floor:
            raise InvalidValueError(
                f"the model scores {self.dense_score:.3f} on these samples, which is worth no more "
                f"than {data.floor:.3f}: there is nothing to trade off"
            )
        self._timer = timer
        self._bytes: dict[tuple[int, ...], int] = {}
        self.objectives = (
            Objective(SCORE, "max", "relative score q", reference=0.0, best=1.0),
            *(
                Objective(
                    name, "min", COSTS[name],
                    reference=self.cost_value(name, self._uniform(16)),
                    best=self.cost_value(name, self._uniform(min(self.bits)))
                    if name == "weight_bytes"
                    else 0.0,
                )
                for name in self.costs
            ),
        )  # fmt: skip

    @property
    def quantisable(self) -> Parts:
        """The quantisable parts of the model."""
        return self.quantiser.parts

    @cached_property
    def timer(self) -> QuantisedTimer:
        """Times forward passes; the held-out split's is the same."""
        return self._timer or QuantisedTimer(self.quantiser, self.data.one_input(), self.bits)

    def _uniform(self, bits: int) -> dict[str, int]:
        return dict.fromkeys(self.quantisable.paths, bits)

    def bits_of(self, candidate: Candidate) -> dict[str, int]:
        """Bits of every quantisable layer by path."""
        values = self.space(candidate.space).validate(candidate.values)
        return bits_by_path(self.quantisable, candidate.space, values)

    def identity(self, candidate: Candidate) -> str:
        """The bits of all layers: spaces meet where they agree."""
        bits = self.bits_of(candidate)
        return " ".join(str(bits[path]) for path in self.quantisable.paths)

    def cost_value(self, name: str, bits: Mapping[str, int]) -> float:
        """A cost of a choice of bits."""
        if name == "latency_ms":
            return self.timer.predict_ms(bits)
        key = tuple(bits[path] for path in self.quantisable.paths)
        if key not in self._bytes:
            self._bytes[key] = self.quantiser.weight_bytes(bits)
        return float(self._bytes[key])

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Run each distinct choice of bits once over the split; each costs one dense pass.

        Raises `UnsupportedError` for a candidate with a policy.
        """
        found: dict[str, tuple[Judged, float]] = {}
        evaluations = []
        for candidate in candidates:
            if candidate.policy is not None:
                raise UnsupportedError("problem 'quantisation' evaluates points, not policies")
            key = self.identity(candidate)
            bits = self.bits_of(candidate)
            fresh = key not in found
            if fresh:
                started = time.perf_counter()
                found[key] = self.data.judge(bits), time.perf_counter() - started
            judged, seconds = found[key]
            evaluations.append(
                self._evaluation(candidate, bits, judged, seconds if fresh else 0.0, fresh)
            )
        return evaluations

    def _evaluation(
        self,
        candidate: Candidate,
        bits: Mapping[str, int],
        judged: Judged,
        seconds: float,
        fresh: bool,
    ) -> Evaluation:
        quality = self.relative(judged.score)
        extra = () if "weight_bytes" in self.costs else ("weight_bytes",)
        return Evaluation(
            candidate,
            objectives={
                SCORE: float(quality.mean()),
                **{name: self.cost_value(name, bits) for name in self.costs},
            },
            cost=self.price(candidate),
            executed=1.0 if fresh else 0.0,
            seconds=seconds,
            standard_errors={
                SCORE: float(quality.std(ddof=1) / np.sqrt(len(quality))),
                **dict.fromkeys(self.costs, 0.0),
            },
            metrics={
                "accuracy": float(judged.score.mean()),
                **judged.metrics,
                "mean_bits": mean_bits(bits, self.quantiser.model),
                **{name: self.cost_value(name, bits) for name in extra},
            },
            outcomes=judged.score,
            detail={"bits": dict(bits)},
        )

    def relative(self, outcomes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Outcomes on a scale of 0, the data's floor, to 1, the mean of the model as loaded."""
        found: NDArray[np.float64] = np.asarray(outcomes, dtype=np.float64) - self.data.floor
        return found / (self.dense_score - self.data.floor)

    def measure(self, candidates: Sequence[Candidate]) -> Measurement | None:
        """Latency again, measured, where it is an objective."""
        if "latency_ms" not in self.costs or not candidates:
            return None
        return self.timer.measure([self.bits_of(c) for c in candidates])

    def notes(self) -> list[str]:
        """How latency is predicted, where it is an objective."""
        return [self.timer.note()] if "latency_ms" in self.costs else []

    @cached_property
    def _heldout(self) -> Quantisation | None:
        found = self.data.heldout()
        if found is None:
            return None
        return Quantisation(
            found, bits=self.bits, objectives=(SCORE, *self.costs),
            timer=self.timer if "latency_ms" in self.costs else None,
        )  # fmt: skip

    @property
    def heldout(self) -> Quantisation | None:
        """The same problem on the held-out split."""
        return self._heldout

    def describe(self) -> dict[str, Any]:
        """Everything that a resumed study must find unchanged, and the reference figures."""
        return {
            "problem": self.name,
            **self.data.describe(),
            "bits": list(self.bits),
            "objectives": [SCORE, *self.costs],
            "quantised_layers": len(self.quantisable.paths),
            "weight_bytes_16": self.cost_value("weight_bytes", self._uniform(16)),
        }


def checked_bits(given: Sequence[int], known: Sequence[int], what: str) -> tuple[int, ...]:
    """The bits in rising order; raises `InvalidValueError` for none, repeats or unknown ones."""
    if not given or len(set(given)) != len(given) or not set(given) <= set(known):
        raise InvalidValueError(
            f"bits of {what} are one or more of {', '.join(map(str, known))}, got "
            f"{', '.join(map(str, given)) or 'none'}"
        )
    return tuple(sorted(given))


def parse_objectives(
    names: str | Sequence[str],
    costs: Mapping[str, str] = COSTS,
    aliases: Mapping[str, str] = ALIASES,
) -> tuple[str, ...]:
    """The costs of `score,bytes` or `score,bytes,latency_ms`, in order.

    Raises `UnknownNameError` for a cost that does not exist and `InvalidValueError` for a list
    without `score`, without a cost or with repeats.
    """
    parts = names.split(",") if isinstance(names, str) else listed("objectives", names)
    for strange in (p for p in parts if not isinstance(p, str)):
        raise InvalidValueError(f"an objective is named, got {brief(strange)}")
    chosen = [aliases.get(p.strip(), p.strip()) for p in parts if p.strip()]
    for name in chosen:
        if name != SCORE and name not in costs:
            raise UnknownNameError("objective of this problem", name, (SCORE, *costs))
    if SCORE not in chosen or len(chosen) < 2 or len(set(chosen)) != len(chosen):
        raise InvalidValueError(
            f"objectives are 'score' and one or more of {', '.join(costs)}, got "
            f"{', '.join(parts) or 'none'}"
        )
    return tuple(name for name in chosen if name != SCORE)
