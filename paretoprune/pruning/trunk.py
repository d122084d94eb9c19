"""The dense states of one batch, kept between populations: what every candidate starts with."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from paretoprune.adapters.base import Prefill
from paretoprune.cost import DecoderSpec
from paretoprune.pruning.tokens import Tokens

MOST_RANKINGS = 256
"""Rankings that a trunk keeps; of a search over settings, the latest."""


@dataclass
class Trunk:
    """Tokens behind each layer that no token was dropped before, and pruners' rankings there.

    `run_population` fills it and reads from it. It belongs to one batch; the last layer, which is
    run for answers alone, is not kept. Dense states are common to all pruners; `rankings` int64
    [B, V] are by the pruner's label, which names its settings, and the layer.
    """

    after: dict[int, Tokens] = field(default_factory=dict)
    rankings: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def note(self, label: str, layer: int, ranking: Tensor) -> None:
        """Keep a ranking; the oldest makes room."""
        if len(self.rankings) >= MOST_RANKINGS:
            del self.rankings[next(iter(self.rankings))]
        self.rankings[label, layer] = ranking


def trunk_bytes(spec: DecoderSpec, prefill: Prefill, *, with_path: bool = False) -> int:
    """Bytes that the trunk of this batch will hold: hidden states and keys of all layers.

    And values, where populations are run `with_path`.
    """
    batch, length, _ = prefill.hidden.shape
    values = spec.hidden + (1 + with_path) * spec.kv_heads * spec.head_dim
    return batch * length * values * prefill.hidden.element_size() * (spec.layers - 1)
