"""Prices configurations on the samples of a split: FLOPs, bytes, latency, memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.compression.configuration import Configuration
from paretoprune.compression.evaluator import Evaluator
from paretoprune.compression.latency import PrefillTimer
from paretoprune.compression.quantised_latency import QuantisedTimer
from paretoprune.compression.samples import typical_sample
from paretoprune.core.capabilities import Measurement
from paretoprune.cost import layer_cost
from paretoprune.cost.memory import held_bytes, peak_bytes
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import Pruner, choosing_cost
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.policies.base import Policy
from paretoprune.schedules import keep_counts
from paretoprune.techniques.base import Technique
from paretoprune.techniques.bits.kv import token_bytes
from paretoprune.techniques.tokens import Tokens
from paretoprune.techniques.weight_bits import WeightBits


class CostModel:
    """Costs of configurations on an evaluator's split, by the names of `compression.objectives`.

    `memory_bytes` is the model's weights and the KV cache of `sequences` samples, all as they are
    packed. Latency is predicted from measured times, where tokens or weight bits alone are
    searched; peak memory is measured, where tokens alone are. `shared` is a cost model of another
    split of the problem, whose timers are used.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        techniques: Sequence[Technique],
        tokens: Tokens,
        *,
        sequences: int = 4,
        shared: CostModel | None = None,
    ) -> None:
        self.sequences = sequences
        self._evaluator = evaluator
        self._adapter = evaluator.adapter
        self._techniques = tuple(techniques)
        self._tokens = tokens
        self._visual_tokens, self._text_tokens = evaluator.visual_tokens, evaluator.text_tokens
        self._pictures = evaluator.pictures if tokens.per_picture else None
        self._shared = shared
        self._peaks: dict[tuple[str, bytes], int] = {}
        self._weight_bytes: dict[str, int] = {}
        layers = self._adapter.spec.layers
        self.dense_flops, self.text_only_flops = (
            float(self.flops(np.full(layers, keep)).mean()) for keep in (1.0, 0.0)
        )

    def kept_counts(self, ratios: NDArray[np.float64]) -> NDArray[np.int64]:
        """Visual tokens kept under ratios `[layers]`, or each sample's: int64 `[layers, samples]`.

        The one place where a problem counts them.
        """
        return keep_counts(ratios, self._visual_tokens, self._pictures)

    # --- FLOPs

    def flops(
        self,
        ratios: NDArray[np.float64],
        pruner: Pruner | None = None,
        policy: Policy | None = None,
    ) -> NDArray[np.float64]:
        """Decoder FLOPs of a keep schedule `[layers]` on each sample alone: float64 `[samples]`.

        The FLOPs of choosing tokens are included, by `pruner` or the first of all. So are those of
        deciding, where a `policy` gave each sample its ratios, `[samples, layers]`.
        """
        spec = self._adapter.spec
        kept_counts = self.kept_counts(ratios)
        total = layer_cost(spec, kept_counts + self._text_tokens).sum(0)
        ranking = pruner or self._tokens.pruner
        total += choosing_cost(ranking, spec, self._text_tokens, self._visual_tokens, kept_counts)
        if policy is not None:
            total = total + self.deciding_flops(policy)
        return np.asarray(total)

    def deciding_flops(self, policy: Policy) -> NDArray[np.float64]:
        """FLOPs that a policy itself costs on each sample: float64 `[samples]`."""
        tokens = self._text_tokens + self._visual_tokens
        questions = self._evaluator.question_tokens
        return policy.flops(self._adapter.spec, tokens, self._visual_tokens, questions)

    def relative_compute(self, ratios: NDArray[np.float64], pruner: Pruner | None = None) -> float:
        """Relative compute u of a keep schedule, mean over the split."""
        span = self.dense_flops - self.text_only_flops
        return float((self.flops(ratios, pruner).mean() - self.text_only_flops) / span)

    def flops_of(self, one: Configuration) -> NDArray[np.float64]:
        """Decoder FLOPs of a configuration on each sample: float64 `[samples]`."""
        return self.flops(one.ratios, one.pruner, one.policy)

    def price(self, one: Configuration, share: float) -> float:
        """FLOPs of the samples that are run, in dense passes over the split; bits change none."""
        flops = self.flops_of(one)
        if share < 1:
            flops = np.where(self._evaluator.chosen(share), flops, 0.0)
        return float(flops.mean() / self.dense_flops)

    # --- all costs

    def of(self, name: str, one: Configuration) -> NDArray[np.float64]:
        """The cost `name` of a configuration: float64 `[samples]`.

        Latency and peak memory are those of the typical sample under each sample's schedule.
        """
        if name == "compute":
            span = self.dense_flops - self.text_only_flops
            return np.asarray((self.flops_of(one) - self.text_only_flops) / span)
        if name == "latency_ms" and self._times_weights:
            return self._each(self.weights_timer.predict_ms(one.plan.weight_bits))
        if name in ("latency_ms", "peak_memory_bytes"):
            distinct, which = np.unique(np.atleast_2d(one.ratios), axis=0, return_inverse=True)
            values = np.array([self._typical(name, row, one.pruner) for row in distinct])
            return np.asarray(np.broadcast_to(values[which.reshape(-1)], len(self._text_tokens)))
        if name == "weight_bytes":
            return self._each(self.weight_bytes(one))
        if name == "memory_bytes":
            return self.weight_bytes(one) + self.sequences * self.of("kv_bytes", one)
        kept = self.kept_counts(one.ratios)
        if name == "kv_bytes":
            each = token_bytes(self._adapter.spec, one.plan.kv_bits)
            return np.asarray(each * (kept + self._text_tokens).sum(0))
        return np.asarray(kept.mean(0))

    def mean(self, name: str, ratios: NDArray[np.float64], pruner: Pruner | None = None) -> float:
        """The cost `name` of a keep schedule `[layers]`, mean over the split."""
        return float(self.of(name, Configuration(pruner or self._tokens.pruner, ratios)).mean())

    def weight_bytes(self, one: Configuration) -> int:
        """Bytes of all weights, as the configuration's model holds them."""
        if one.variant not in self._weight_bytes:
            model = self._evaluator.adapter_of(one.plan).model
            self._weight_bytes[one.variant] = held_bytes(model)
        return self._weight_bytes[one.variant]

    def _each(self, value: float) -> NDArray[np.float64]:
        return np.full(len(self._text_tokens), float(value))

    # --- measured ones

    @property
    def _times_weights(self) -> bool:
        return [technique.name for technique in self._techniques] == ["weight_bits"]

    def check(self, costs: Sequence[str]) -> None:
        """Raise `UnsupportedError` for a cost that is not known of these techniques."""
        names = [technique.name for technique in self._techniques]
        if "latency_ms" in costs and names not in (["tokens"], ["weight_bits"]):
            raise UnsupportedError(
                "latency is predicted where tokens or weight_bits are searched alone, not "
                f"{', '.join(names)}; choose another cost, such as memory_bytes"
            )
        if "peak_memory_bytes" in costs and names != ["tokens"]:
            raise UnsupportedError(
                f"peak memory is measured where tokens are searched alone, not {', '.join(names)}; "
                "choose another cost, such as memory_bytes"
            )

    @cached_property
    def timer(self) -> PrefillTimer:
        """Times prefills of the sample of median length."""
        if self._shared is not None:
            return self._shared.timer
        sample = typical_sample(self._evaluator.samples, self._text_tokens + self._visual_tokens)
        quota = self._pictures is not None
        return PrefillTimer(self._adapter, self._tokens.pruners, sample, per_picture=quota)

    @cached_property
    def weights_timer(self) -> QuantisedTimer:
        """Times forward passes of the sample of median length, with quantised weights."""
        if self._shared is not None:
            return self._shared.weights_timer
        (technique,) = (t for t in self._techniques if isinstance(t, WeightBits))
        sample = typical_sample(self._evaluator.samples, self._text_tokens + self._visual_tokens)
        inputs = dict(self._adapter.inputs([sample.image], [sample.prompt]))
        return QuantisedTimer(technique.quantiser, inputs, technique.bits)

    def measure(self, configurations: Sequence[Configuration]) -> Measurement | None:
        """Latencies again, measured; None for policies alone, which have no single schedule."""
        if self._times_weights:
            return self.weights_timer.measure([one.plan.weight_bits for one in configurations])
        return self.timer.measured_again(configurations)

    def latency_note(self) -> str:
        """The origin of predicted latencies, and their error."""
        if self._times_weights:
            return self.weights_timer.note()
        return self.timer.note(self._tokens.operators.pruners)

    def _typical(self, name: str, ratios: NDArray[np.float64], pruner: Pruner) -> float:
        if name == "latency_ms":
            return float(self.timer.predict_ms(ratios, pruner)[0])
        return float(self._peak_bytes(ratios, pruner))

    def _peak_bytes(self, ratios: NDArray[np.float64], pruner: Pruner) -> int:
        timer = self.timer
        path = pruner.label, timer.kept_counts(ratios).tobytes()
        if path not in self._peaks:
            self._peaks[path] = peak_prefill_bytes(
                self._adapter, timer.prefill, ratios, pruner, per_picture=timer.per_picture
            )
        return self._peaks[path]


def peak_prefill_bytes(
    adapter: Adapter,
    prefill: Prefill,
    ratios: NDArray[np.float64],
    pruner: Pruner,
    *,
    per_picture: bool = False,
) -> int:
    """Peak bytes of a prefill under ratios `[layers]`, beyond its inputs.

    Measured by `peak_bytes`, arguments as in `run_population`. Includes the cache of keys and
    values.
    """
    keeping: Any = _Keeping(adapter)

    def call() -> None:
        for _ in run_population(keeping, prefill, ratios[None], pruner, per_picture=per_picture):
            pass

    with torch.inference_mode():
        return peak_bytes(adapter.model.device, call)


class _Keeping:
    """An adapter that keeps every layer's keys and values, as generation does."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.cache: list[tuple[Tensor, Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def run_layer(
        self, index: int, hidden: Tensor, rotary: Any, mask: Tensor | None, cache: Any = None
    ) -> Tensor:
        return self._adapter.run_layer(index, hidden, rotary, mask, _Copying(cache, self.cache))


class _Copying:
    def __init__(self, inner: Any, kept: list[tuple[Tensor, Tensor]]) -> None:
        self._inner = inner
        self._kept = kept

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *args: object, **further: object
    ) -> tuple[Tensor, Tensor]:
        self._kept.append((keys, values))
        found: tuple[Tensor, Tensor] = self._inner.update(keys, values, layer, *args, **further)
        return found
