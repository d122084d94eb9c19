"""What configurations cost on each sample of a split, by the names of `problems.costs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from paretoprune.adapters.base import Adapter
from paretoprune.compression.configuration import Configuration
from paretoprune.compression.latency import PrefillTimer, typical_sample
from paretoprune.compression.memory import peak_prefill_bytes
from paretoprune.cost import kv_bytes, layer_cost
from paretoprune.pruning.base import Pruner, choosing_cost
from paretoprune.pruning.policies.base import Policy
from paretoprune.schedules import keep_counts
from paretoprune.tasks.base import Sample


class SampleCosts:
    """Costs of configurations on a split whose samples have so many tokens, int64 `[samples]`.

    The first of `pruners` ranks where none is named; all of them may. `question_tokens` counts
    those of each sample's question, int64 `[samples]`, asked for once, by policies that are priced.
    With `pictures` of each sample, int64 `[samples]`, each keeps a token where a ratio is above 0.
    `timer` is one to share; without one, the first cost that needs it makes it.
    """

    def __init__(
        self,
        adapter: Adapter,
        samples: Sequence[Sample],
        pruners: Sequence[Pruner],
        *,
        visual_tokens: NDArray[np.int64],
        text_tokens: NDArray[np.int64],
        question_tokens: Callable[[], NDArray[np.int64]],
        pictures: NDArray[np.int64] | None = None,
        timer: PrefillTimer | None = None,
    ) -> None:
        self._adapter = adapter
        self._samples = samples
        self._pruners = tuple(pruners)
        self._visual_tokens, self._text_tokens = visual_tokens, text_tokens
        self._count_questions = question_tokens
        self._pictures = pictures
        self._given_timer = timer
        self._peaks: dict[tuple[str, bytes], int] = {}
        layers = adapter.spec.layers
        self.dense_flops, self.blind_flops = (
            float(self.flops(np.full(layers, keep)).mean()) for keep in (1.0, 0.0)
        )

    def kept(self, ratios: NDArray[np.float64]) -> NDArray[np.int64]:
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

        Those of choosing included, by `pruner` or the first of all, and those of deciding, where a
        `policy` gave each sample its ratios, `[samples, layers]`.
        """
        spec = self._adapter.spec
        kept = self.kept(ratios)
        total = layer_cost(spec, kept + self._text_tokens).sum(0)
        ranking = pruner or self._pruners[0]
        total += choosing_cost(ranking, spec, self._text_tokens, self._visual_tokens, kept)
        if policy is not None:
            total = total + self.deciding_flops(policy)
        return np.asarray(total)

    def deciding_flops(self, policy: Policy) -> NDArray[np.float64]:
        """FLOPs that a policy itself costs on each sample: float64 `[samples]`."""
        tokens = self._text_tokens + self._visual_tokens
        return policy.flops(self._adapter.spec, tokens, self._visual_tokens, self._question_tokens)

    @cached_property
    def _question_tokens(self) -> NDArray[np.int64]:
        return self._count_questions()

    def relative_compute(self, ratios: NDArray[np.float64], pruner: Pruner | None = None) -> float:
        """Relative compute u of a keep schedule, mean over the split."""
        span = self.dense_flops - self.blind_flops
        return float((self.flops(ratios, pruner).mean() - self.blind_flops) / span)

    # --- all costs

    def of(self, name: str, one: Configuration) -> NDArray[np.float64]:
        """The cost `name` (see `problems.costs`) of a configuration: float64 `[samples]`.

        Latency and memory are those of the typical sample under each sample's schedule.
        """
        if name == "compute":
            span = self.dense_flops - self.blind_flops
            flops = self.flops(one.ratios, one.pruner, one.policy)
            return np.asarray((flops - self.blind_flops) / span)
        if name in ("latency_ms", "peak_memory_bytes"):
            distinct, which = np.unique(np.atleast_2d(one.ratios), axis=0, return_inverse=True)
            values = np.array([self._typical(name, row, one.pruner) for row in distinct])
            return np.asarray(np.broadcast_to(values[which.reshape(-1)], len(self._samples)))
        kept = self.kept(one.ratios)
        if name == "kv_bytes":
            layers = self._adapter.spec.layers
            each = kv_bytes(self._adapter.spec, np.ones(layers, dtype=np.int64)) / layers
            return np.asarray(each * (kept + self._text_tokens).sum(0))
        return np.asarray(kept.mean(0))

    def mean(self, name: str, ratios: NDArray[np.float64], pruner: Pruner | None = None) -> float:
        """The cost `name` of a keep schedule `[layers]`, mean over the split."""
        return float(self.of(name, Configuration(pruner or self._pruners[0], ratios)).mean())

    # --- those of the typical sample

    @cached_property
    def timer(self) -> PrefillTimer:
        """Times prefills of the sample of median length."""
        if self._given_timer is not None:
            return self._given_timer
        sample = typical_sample(self._samples, self._text_tokens + self._visual_tokens)
        quota = self._pictures is not None
        return PrefillTimer(self._adapter, self._pruners, sample, per_picture=quota)

    def _typical(self, name: str, ratios: NDArray[np.float64], pruner: Pruner) -> float:
        if name == "latency_ms":
            return float(self.timer.predict_ms(ratios, pruner)[0])
        return float(self._peak_bytes(ratios, pruner))

    def _peak_bytes(self, ratios: NDArray[np.float64], pruner: Pruner) -> int:
        timer = self.timer
        path = pruner.label, timer.kept(ratios).tobytes()
        if path not in self._peaks:
            self._peaks[path] = peak_prefill_bytes(
                self._adapter, timer.prefill, ratios, pruner, per_picture=timer.per_picture
            )
        return self._peaks[path]
