"""Runs token-pruning configurations on quantised views of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import nn

from paretoprune.adapters.base import Adapter, on_model
from paretoprune.compression.configuration import Configuration
from paretoprune.compression.outcomes import Scorer
from paretoprune.compression.population import score_population, tabulate
from paretoprune.compression.prefill_store import DEFAULT_BYTES, PrefillStore
from paretoprune.compression.teacher_forcing import AnsweredBatch, answered_batch
from paretoprune.compression.token_pruning import TokenPruning
from paretoprune.errors import UnsupportedError
from paretoprune.techniques.bits.kv import PROJECTIONS, RoundedHeads
from paretoprune.techniques.bits.quantised import Quantiser


@dataclass(frozen=True)
class Found:
    """`score` and `divergence` float32 [configurations, samples]; `flops` really run.

    `left_out` int64 [configurations, samples] are pictures without any visual token in the last
    layer.
    """

    score: NDArray[np.float32]
    divergence: NDArray[np.float32]
    left_out: NDArray[np.int64]
    flops: float


class QuantisedRuns:
    """A token-pruning problem whose model may be quantised, evaluated on one split.

    Prefills are made once per choice of bits for what makes them, the vision tower; `tokens`'
    dense answers stay those of the model as it was loaded.
    """

    def __init__(self, tokens: TokenPruning, quantiser: Quantiser | None = None) -> None:
        self.tokens = tokens
        self.quantiser = quantiser or Quantiser(tokens.adapter.model)
        self._stores: dict[tuple[int, ...], Sequence[AnsweredBatch]] = {}
        self._bytes: dict[tuple[int, ...], int] = {}

    def adapter(self, bits: Mapping[str, int], kv_bits: int = 16) -> Adapter:
        """The model's adapter on a quantised view.

        Raises `UnsupportedError` for KV-cache bits where keys and values have no projections of
        their own.
        """
        spec = self.tokens.adapter.spec

        def around(path: str, layer: nn.Module) -> nn.Module:
            rounds = kv_bits < 16 and path in self._projections
            return RoundedHeads(layer, kv_bits, spec.head_dim) if rounds else layer

        if kv_bits < 16 and len(self._projections) != 2 * spec.layers:
            kind = type(self.tokens.adapter.model).__name__
            raise UnsupportedError(
                f"{kind} has no {' and '.join(PROJECTIONS)} in every layer, so its keys and values "
                "cannot be rounded; search with 16 KV-cache bits"
            )
        return on_model(self.tokens.adapter, self.quantiser.view(bits, around))

    @cached_property
    def _projections(self) -> frozenset[str]:
        inside = (path for layer in self.quantiser.parts.attention for path in layer)
        return frozenset(path for path in inside if path.rsplit(".", 1)[-1] in PROJECTIONS)

    def outcomes(
        self, configurations: Sequence[Configuration], bits: Mapping[str, int], kv_bits: int = 16
    ) -> Found:
        """Score configurations on the view with these bits, sharing prefixes between them."""
        tokens = self.tokens
        adapter = self.adapter(bits, kv_bits)
        count = len(tokens.samples)
        table = tabulate(configurations, count)
        scored = score_population(
            adapter, table.pruners, self._batches(adapter, bits), tokens.dense_log_probabilities,
            table.ratios, scorer=Scorer(adapter, tokens.samples),
            chosen=np.ones(count, dtype=np.bool_), wanted=table.wanted,
            per_picture=tokens.per_picture,
        )  # fmt: skip
        samples = np.arange(count)
        return Found(
            np.stack([scored.score[row, samples] for row in table.of]),
            np.stack([scored.divergence[row, samples] for row in table.of]),
            np.stack([scored.left_out[row, samples] for row in table.of]),
            scored.flops,
        )

    def _batches(self, adapter: Adapter, bits: Mapping[str, int]) -> Sequence[AnsweredBatch]:
        """The split's batches, prefilled by a view's vision tower; the last four are kept."""
        key = tuple(bits[path] for path in self.quantiser.parts.vision)
        if not key:
            return self.tokens.batches
        if key not in self._stores:
            while len(self._stores) >= 4:
                del self._stores[next(iter(self._stores))]
            self._stores[key] = PrefillStore(
                (
                    answered_batch(
                        adapter, self.tokens.samples, part.sample.tolist(),
                        needs=self.tokens.operators.needs, said=part.labels,
                    )
                    for part in self.tokens.batches
                ),
                limit=DEFAULT_BYTES // 4,
            )  # fmt: skip
        return self._stores[key]

    def weight_bytes(self, bits: Mapping[str, int]) -> int:
        """Bytes of all weights with these bits, as they are held."""
        key = tuple(bits[path] for path in self.quantiser.parts.paths)
        if key not in self._bytes:
            self._bytes[key] = self.quantiser.weight_bytes(bits)
        return self._bytes[key]
