"""The dense states of one batch, kept between populations: what every candidate starts with."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from paretoprune.adapters.base import Prefill
from paretoprune.cost import DecoderSpec
from paretoprune.pruning.tokens import Tokens


@dataclass
class Trunk:
    """Tokens behind each layer that no token was dropped before, and their ranking there.

    `run_population` fills it and reads from it. It belongs to one batch and one pruner; the last
    layer, which is run for answers alone, is not kept.
    """

    after: dict[int, Tokens] = field(default_factory=dict)
    ranking: dict[int, Tensor] = field(default_factory=dict)


def trunk_bytes(spec: DecoderSpec, prefill: Prefill) -> int:
    """Bytes that the trunk of this batch will hold: hidden states and keys of all layers."""
    batch, length, _ = prefill.hidden.shape
    values = spec.hidden + spec.kv_heads * spec.head_dim
    return batch * length * values * prefill.hidden.element_size() * (spec.layers - 1)
