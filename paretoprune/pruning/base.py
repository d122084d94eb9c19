"""The pruner contract: decides which visual tokens stay, never how many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.adapters.base import Adapter, Rotary
from paretoprune.cost import DecoderSpec


@dataclass
class PruningContext:
    """What a pruner may look at, handed out lazily, before layer `layer` of a batch of B samples.

    Tokens are those still present, T of them, in their original order. `hidden` [B, T, hidden]
    enters this layer; `valid` bool [B, T] marks those that are no padding (None: all); `visual`
    int64 [B, V] indexes the visual ones and `present` bool [B, V] is false where a sample has fewer
    than V; `alive` bool [B, V] is false for tokens that a soft decoder only carries along; `origin`
    int64 [B, T] are places in the full sequence; `query` int64 [B] is the last prompt token;
    `sample` int64 [B] numbers the samples of the split. `keys` [B, kv_heads, T, head_dim] and
    `query_before` [B, hidden] belong to the layer before (None at layer 0).
    """

    adapter: Adapter
    layer: int
    hidden: Tensor
    rotary: Rotary
    valid: Tensor | None
    visual: Tensor
    present: Tensor
    alive: Tensor
    origin: Tensor
    query: Tensor
    sample: Tensor
    keys: Tensor | None
    query_before: Tensor | None

    @cached_property
    def prompt_attention(self) -> Tensor:
        """Attention of the last prompt token in layer `layer - 1`: [B, heads, T].

        Normalised over the alive tokens up to the query. Only that query is projected; the model's
        attention backend stays as it is.
        """
        if self.keys is None or self.query_before is None:
            raise ValueError("layer 0 has no attention before it; declare first_layer = 1")
        batch = torch.arange(len(self.query), device=self.query.device)
        cos, sin = self.rotary
        rotary = cos[batch, self.query], sin[batch, self.query]
        logits = self.adapter.query_logits(self.layer - 1, self.query_before, rotary, self.keys)
        return self._normalised(logits)

    @cached_property
    def coming_attention(self) -> Tensor:
        """Attention that the last prompt token is about to have in layer `layer`: [B, heads, T].

        Normalised like `prompt_attention`; the layer's keys are computed for it.
        """
        batch = torch.arange(len(self.query), device=self.query.device)
        cos, sin = self.rotary
        rotary = cos[batch, self.query], sin[batch, self.query]
        keys = self.adapter.layer_keys(self.layer, self.hidden, self.rotary)
        query = self.hidden[batch, self.query]
        return self._normalised(self.adapter.query_logits(self.layer, query, rotary, keys))

    def _normalised(self, logits: Tensor) -> Tensor:
        """Softmax of [B, heads, T] over the alive tokens up to the query."""
        index = torch.arange(logits.shape[-1], device=logits.device)
        seen = index[None] <= self.query[:, None]
        if self.valid is not None:
            seen = seen & self.valid
        logits = logits.masked_fill(~seen[:, None], -torch.inf)
        counted = seen.scatter(1, self.visual, seen.gather(1, self.visual) & self.alive)
        total = logits.masked_fill(~counted[:, None], -torch.inf).logsumexp(-1, keepdim=True)
        return (logits - total).exp()

    def of_visual(self, per_token: Tensor) -> Tensor:
        """Pick the visual tokens' entries of [B, T]: [B, V]."""
        return per_token.gather(1, self.visual)


@dataclass(frozen=True)
class Selection:
    """Kept visual tokens: `indices` int64 [B, n] into the context's V visual tokens, best first.

    `weights` [B, n, V], where a pruner merges: kept token i becomes the weighted sum of the V.
    """

    indices: Tensor
    weights: Tensor | None = None


class Pruner(ABC):
    """Ranks visual tokens. Same context, same choice: no hidden randomness."""

    name: ClassVar[str]
    first_layer: ClassVar[int] = 1
    """The first layer before which it can act: 0 before the decoder, 1 if it needs attention."""
    relaxable: ClassVar[bool] = False
    """Whether its choice is top-k of a score, so that the soft decoder can follow it."""

    @abstractmethod
    def select(self, context: PruningContext, n: int) -> Selection:
        """Choose `n` (at most V) visual tokens of each sample.

        Tokens that are not `present` come last, so a sample that keeps fewer takes the first ones.
        """

    def flops(
        self, spec: DecoderSpec, tokens: NDArray[np.int64], visual: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """FLOPs of choosing among `visual` of `tokens` tokens at one layer, per sample `[...]`."""
        return np.zeros(np.shape(tokens))


class ScorePruner(Pruner):
    """A pruner that keeps the tokens of highest score; ties keep the earlier token."""

    relaxable = True

    @abstractmethod
    def score(self, context: PruningContext) -> Tensor:
        """Importance of each visual token, float [B, V]; higher stays longer."""

    def order(self, context: PruningContext) -> Tensor:
        """Visual tokens from best to worst, absent ones last: int64 [B, V]."""
        score = self.score(context)
        order = score.argsort(dim=1, descending=True, stable=True)
        standing = context.alive.long() + context.present.long()
        # two stable sorts: by score, then alive before carried along before absent
        again = standing.gather(1, order).argsort(dim=1, descending=True, stable=True)
        return order.gather(1, again)

    def select(self, context: PruningContext, n: int) -> Selection:
        """The first `n` of the order."""
        return Selection(self.order(context)[:, :n])
