"""The pruner contract: decides which visual tokens stay, never how many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.model_access import Rotary, attention_logits, causal_mask, mlp_input
from paretoprune.core.space import Knob, Value
from paretoprune.cost import DecoderSpec
from paretoprune.errors import InvalidValueError

NEEDS: dict[str, str] = {
    "query": "attention of the last prompt token",
    "text": "the tokens of the question",
    "keys": "keys of the layer before",
    "embeddings": "hidden states of the visual tokens",
    "attention": "attention among the visual tokens, computed in blocks",
    "attended": "what the layer before gave its MLP: its attention is run once more",
    "tower": "the class token of the vision tower",
    "grid": "places of the visual tokens in the picture",
}
"""What a pruner may declare in `needs`. Only `tower` and `grid` are asked of the adapter."""
BLOCK = 64
"""Queries whose attention is computed at a time: no [T, T] matrix arises."""


@dataclass
class PruningContext:
    """What a pruner may look at, handed out lazily, before layer `layer` of a batch of B samples.

    Tokens are those still present, T of them, in their original order. `hidden` [B, T, hidden]
    enters this layer; `valid` bool [B, T] marks those that are no padding (None: all); `visual`
    int64 [B, V] indexes the visual ones and `present` bool [B, V] is false where a sample has fewer
    than V; `alive` bool [B, V] is false for tokens that a soft decoder only carries along; `origin`
    int64 [B, T] are places in the full sequence; `query` int64 [B] is the last prompt token;
    `sample` int64 [B] numbers the samples of the split. `keys` [B, kv_heads, T, head_dim],
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
    alive: Tensor
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

        Normalised over the alive tokens up to the query. Only that query is projected; the model's
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
        `temperature`, normalised over the alive tokens up to each of them.
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
        """What layer `layer - 1` gave its MLP, attention added and normalised: [B, T, hidden].

        That layer's attention is run once more for it, by the model's own backend.
        """
        if self.before is None:
            raise ValueError("layer 0 has no layer before it; declare first_layer = 1")
        stands = None if bool(self.standing.all()) else self.standing
        mask = causal_mask(self.adapter, self.before, stands)
        return mlp_input(self.adapter, self.layer - 1, self.before, self.rotary, mask)

    def _normalised(self, logits: Tensor, asked: Tensor) -> Tensor:
        """Softmax of [B, heads, Q, T] over the alive tokens up to each asked one, int64 [B, Q].

        In float32 or better: in half precision many weights would be equal.
        """
        logits = logits if logits.dtype == torch.float64 else logits.float()
        index = torch.arange(logits.shape[-1], device=logits.device)
        seen = index[None, None] <= asked[..., None]
        if self.valid is not None:
            seen = seen & self.valid[:, None]
        logits = logits.masked_fill(~seen[:, None], -torch.inf)
        counted = seen & self.standing[:, None]
        total = logits.masked_fill(~counted[:, None], -torch.inf).logsumexp(-1, keepdim=True)
        return (logits - total).exp()

    @cached_property
    def standing(self) -> Tensor:
        """Tokens that are no padding and no visual token that is merely carried along: [B, T]."""
        stands = torch.ones_like(self.origin, dtype=torch.bool)
        if self.valid is not None:
            stands = stands & self.valid
        return stands.scatter(1, self.visual, stands.gather(1, self.visual) & self._not_dead)

    @property
    def _not_dead(self) -> Tensor:
        """False for visual tokens carried along only; absent entries point at some other token."""
        return self.alive | ~self.present

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
            alive=self.alive[part, :has],
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


@dataclass(frozen=True)
class Selection:
    """Kept visual tokens: `indices` int64 [B, n] into the context's V visual tokens, best first.

    `weights` [B, n, V], where a pruner merges: kept token i becomes the weighted sum of the V.
    `order` int64 [B, V], where a pruner ranks all tokens: what is not chosen, from best to worst.
    """

    indices: Tensor
    weights: Tensor | None = None
    order: Tensor | None = None


class Pruner(ABC):
    """Ranks visual tokens. Same context, same choice: no hidden randomness."""

    name: ClassVar[str]
    first_layer: ClassVar[int] = 1
    """The first layer before which it can act: 0 before the decoder, 1 if it needs attention."""
    relaxable: bool = False
    """Whether its choice is top-k of a score, so that the soft decoder can follow it."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What it looks at: names of `NEEDS`."""
    merges: ClassVar[bool] = False
    """Whether kept tokens take up something of those that go."""
    knobs: ClassVar[tuple[Knob, ...]] = ()
    """What its constructor takes, by name, with bounds; attributes of the same names hold it."""

    withdraws: ClassVar[bool] = False
    """Whether it keeps all visual tokens or none, and so ranks nothing."""

    @property
    def settings(self) -> dict[str, Value]:
        """Value of each knob."""
        return {knob.name: getattr(self, knob.name) for knob in self.knobs}

    @property
    def label(self) -> str:
        """Name and settings as they are written: `dart:visual_pivots=4,text_pivots=4`."""
        told = ",".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.name}:{told}" if told else self.name

    def fitted(self, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        """The keep schedules `[..., layers]` that it follows where a search proposes `ratios`.

        Layers before `first_layer` stay whole; one that `withdraws` lets all tokens go where the
        first would.
        """
        fitted = np.array(ratios, dtype=np.float64)
        fitted[..., : self.first_layer] = 1.0
        return np.where(fitted < 1.0, 0.0, 1.0) if self.withdraws else fitted

    def check(self, ratios: NDArray[np.float64]) -> None:
        """Raise `InvalidValueError` for keep ratios `[..., layers]` that it cannot follow."""
        some = (ratios > 0) & (ratios < 1)
        if self.withdraws and np.any(some):
            raise InvalidValueError(
                f"pruner {self.name!r} keeps all visual tokens or none, but the schedule keeps "
                f"{np.asarray(ratios)[some].max():.0%} of them in a layer; choose another pruner"
            )
        early = some[..., : self.first_layer]
        if np.any(early):
            ratio = ratios[..., : self.first_layer][early].max()
            raise InvalidValueError(
                f"pruner {self.name!r} cannot rank tokens before layer {self.first_layer}, but the "
                f"schedule keeps {ratio:.0%} of them there; keep ratios of earlier layers must be "
                "1 (or 0 for no visual tokens at all)"
            )

    @abstractmethod
    def select(self, context: PruningContext, n: int) -> Selection:
        """Choose `n` (at most V) visual tokens of each sample.

        Tokens that are not `present` come last, so a sample that keeps fewer takes the first ones.
        """

    def choose(self, context: PruningContext, counts: Tensor) -> Selection:
        """Choose `counts` int64 [B] tokens; each sample takes its first ones.

        Override it where the best n tokens are not the first n of the best n + 1.
        """
        return self.select(context, int(counts.max()))

    def remember(self, context: PruningContext) -> dict[str, Tensor]:
        """What to carry along from the decoder's entry, before layer 0: [B, T, c] each."""
        return {}

    def flops(
        self, spec: DecoderSpec, tokens: NDArray[np.int64], visual: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """FLOPs of choosing among `visual` of `tokens` tokens at one layer, per sample `[...]`.

        What does not depend on how many are kept.
        """
        return np.zeros(np.shape(tokens))

    def drop_flops(
        self,
        spec: DecoderSpec,
        layer: int,
        tokens: NDArray[np.int64],
        visual: NDArray[np.int64],
        kept: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """FLOPs of a drop to `kept` of `visual` tokens before `layer`, per sample `[...]`.

        `flops`, and merging if it `merges`: a weighted sum over all visual tokens per kept one.
        Override it where choosing itself depends on how many are kept.
        """
        merging = 2.0 * spec.hidden * np.asarray(visual, dtype=np.float64) * kept
        return self.flops(spec, tokens, visual) + (merging if self.merges else 0.0)

    def entry_flops(
        self, spec: DecoderSpec, tokens: NDArray[np.int64], visual: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """FLOPs spent once, before the decoder, per sample `[...]`, however many drops follow."""
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

    def take(self, context: PruningContext, order: Tensor, counts: Tensor) -> Tensor:
        """The first `counts` int64 [B] of an order: int64 [B, largest count], best first.

        Override it, and set `relaxable` to false, where something is added to the best of a score.
        """
        return order[:, : int(counts.max())]

    def select(self, context: PruningContext, n: int) -> Selection:
        """The first `n` of the order."""
        return self.choose(context, torch.full_like(context.query, n))

    def choose(self, context: PruningContext, counts: Tensor) -> Selection:
        """What is taken of the order."""
        order = self.order(context)
        return Selection(self.take(context, order, counts), order=order)
