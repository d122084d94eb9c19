"""The context of a pruner: its inputs before a layer, computed lazily."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.model_access import Rotary, attention_logits, causal_mask, mlp_input
from paretoprune.errors import InvalidValueError

BLOCK = 64
"""Queries whose attention is computed at a time: no [T, T] matrix arises."""


@dataclass
class PruningContext:
    """Inputs of a pruner, computed lazily, before layer `layer` of a batch of B samples.

    Tokens are those still present, T of them, in their original order. `hidden` [B, T, hidden]
    enters this layer; `valid` bool [B, T] marks those that are no padding (None: all); `visual`
    int64 [B, V] indexes the visual ones and `present` bool [B, V] is false where a sample has fewer
    than V; `keep_mask` bool [B, V] is false for tokens that a soft decoder only carries along;
    `origin` int64 [B, T] are positions in the full sequence; `query` int64 [B] is the last prompt
    token; `sample` int64 [B] numbers the samples of the split. `keys` [B, kv_heads, T, head_dim],
    `query_before` [B, hidden] and `before` [B, T, hidden], which entered it, belong to the layer
    before (None at layer 0). `extras` hold [B, T, c] each: what the pruner asked for or noted at
    the decoder's entry.
    """

    adapter: Adapter
    layer: int
    hidden: Tensor
    rotary: Rotary
    valid: Tensor | None
    visual: Tensor
    present: Tensor
    keep_mask: Tensor
    origin: Tensor
    query: Tensor
    sample: Tensor
    keys: Tensor | None
    query_before: Tensor | None
    before: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def prompt_attention(self) -> Tensor:
        """Attention of the last prompt token in layer `layer - 1`: [B, heads, T].

        Normalised over the active tokens up to the query. Only that query is projected; the model's
        attention backend stays as it is.
        """
        if self.keys is None or self.query_before is None:
            raise ValueError("layer 0 has no attention before it; declare first_layer = 1")
        return self._query_attention(self.layer - 1, self.query_before, self.keys)

    @cached_property
    def coming_attention(self) -> Tensor:
        """Attention that the last prompt token is about to have in layer `layer`: [B, heads, T].

        Normalised like `prompt_attention`; the layer's keys are computed for it.
        """
        keys = self.adapter.attention_states("keys", self.layer, self.hidden, self.rotary)
        batch = torch.arange(len(self.query), device=self.query.device)
        return self._query_attention(self.layer, self.hidden[batch, self.query], keys)

    def _query_attention(self, layer: int, query: Tensor, keys: Tensor) -> Tensor:
        """Attention [B, heads, T] of the last prompt tokens, which enter `layer` as [B, hidden]."""
        index = self.query[:, None]
        cos, sin = self.rotary
        rotary = pick(cos, index), pick(sin, index)
        logits = attention_logits(self.adapter, layer, query[:, None], rotary, keys)
        return self._normalised(logits, index)[:, :, 0]

    def attention_blocks(
        self, asked: Tensor, *, temperature: float = 1.0
    ) -> Iterator[tuple[slice, Tensor]]:
        """Attention of the tokens int64 [B, Q] in layer `layer - 1`, a block of them at a time.

        Yields which of the Q, and their weights [B, heads, q, T], softmax of logits over
        `temperature`, normalised over the active tokens up to each of them.
        """
        if self.keys is None or self.before is None:
            raise ValueError("layer 0 has no attention before it; declare first_layer = 1")
        cos, sin = self.rotary
        for start in range(0, asked.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            index = asked[:, part]
            logits = attention_logits(
                self.adapter,
                self.layer - 1,
                pick(self.before, index),
                (pick(cos, index), pick(sin, index)),
                self.keys,
            )
            yield part, self._normalised(logits / temperature, index)

    @cached_property
    def attended(self) -> Tensor:
        """Input of the MLP in layer `layer - 1`, attention added and normalised: [B, T, hidden].

        That layer's attention is run once more for it, by the model's own backend.
        """
        if self.before is None:
            raise ValueError("layer 0 has no layer before it; declare first_layer = 1")
        stands = None if bool(self.active.all()) else self.active
        mask = causal_mask(self.adapter, self.before, stands)
        return mlp_input(self.adapter, self.layer - 1, self.before, self.rotary, mask)

    def _normalised(self, logits: Tensor, asked: Tensor) -> Tensor:
        """Softmax of [B, heads, Q, T] over the active tokens up to each asked one, int64 [B, Q].

        In float32 or better: in half precision many weights would be equal.
        """
        logits = logits if logits.dtype == torch.float64 else logits.float()
        index = torch.arange(logits.shape[-1], device=logits.device)
        seen = index[None, None] <= asked[..., None]
        if self.valid is not None:
            seen = seen & self.valid[:, None]
        logits = logits.masked_fill(~seen[:, None], -torch.inf)
        counted = seen & self.active[:, None]
        total = logits.masked_fill(~counted[:, None], -torch.inf).logsumexp(-1, keepdim=True)
        return (logits - total).exp()

    @cached_property
    def active(self) -> Tensor:
        """Tokens that are no padding and no visual token that is merely carried along: [B, T]."""
        stands = torch.ones_like(self.origin, dtype=torch.bool)
        if self.valid is not None:
            stands = stands & self.valid
        return stands.scatter(1, self.visual, stands.gather(1, self.visual) & self._not_carried)

    @property
    def _not_carried(self) -> Tensor:
        """False for visual tokens carried along only; absent entries point at some other token."""
        return self.keep_mask | ~self.present

    @cached_property
    def states(self) -> Tensor:
        """Hidden states of the visual tokens, in float32 or better: [B, V, hidden]."""
        states = pick(self.hidden, self.visual)
        return states if states.dtype == torch.float64 else states.float()

    @cached_property
    def text(self) -> tuple[Tensor, Tensor]:
        """Tokens of the question: int64 [B, R], and which of them exist, bool [B, R].

        The question is what stands behind the first visual token, up to the last prompt token.
        """
        length = self.hidden.shape[1]
        index = torch.arange(length, device=self.hidden.device)[None]
        seen = torch.zeros_like(self.origin, dtype=torch.bool)
        visual = seen.scatter(1, self.visual, self.present)
        behind = visual.long().cumsum(1) > 0
        asked = behind & ~visual & (index <= self.query[:, None])
        if self.valid is not None:
            asked = asked & self.valid
        most = max(1, int(asked.sum(1).max()))
        order = (~asked).long().argsort(dim=1, stable=True)[:, :most]
        return order, asked.gather(1, order)

    def extra(self, name: str) -> Tensor:
        """The visual tokens' entries of an extra: [B, V, c]."""
        if name not in self.extras:
            raise InvalidValueError(
                f"this prefill carries no {name!r}; make it with prefill_for(adapter, inputs, "
                "needs=pruner.needs)"
            )
        return pick(self.extras[name], self.visual)

    def one(self, row: int) -> PruningContext:
        """The same for one sample, B = 1, whose V are the visual tokens that it has."""
        part = slice(row, row + 1)
        has = int(self.present[row].sum())

        def of(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[part]

        cos, sin = self.rotary
        return replace(
            self,
            hidden=self.hidden[part],
            rotary=(cos[part], sin[part]),
            valid=of(self.valid),
            visual=self.visual[part, :has],
            present=self.present[part, :has],
            keep_mask=self.keep_mask[part, :has],
            origin=self.origin[part],
            query=self.query[part],
            sample=self.sample[part],
            keys=of(self.keys),
            query_before=of(self.query_before),
            before=of(self.before),
            extras={name: value[part] for name, value in self.extras.items()},
        )

    def of_visual(self, per_token: Tensor) -> Tensor:
        """Pick the visual tokens' entries of [B, T]: [B, V]."""
        return per_token.gather(1, self.visual)


def pick(x: Tensor, index: Tensor) -> Tensor:
    """Rows of [B, T, c] at int64 [B, n]: [B, n, c]."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
