"""The tokens that are present between two decoder layers: how some leave, and how a layer runs.

Every token gives the last layer its key and value, but only the tokens that predict an answer need
what it puts out. `run_last_at` gives these, for about a quarter of the layer's FLOPs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.model_access import RecordingCache, Rotary, causal_mask
from paretoprune.adapters.token_geometry import PICTURE, picture_runs
from paretoprune.cost import DecoderSpec, dense_state_bytes
from paretoprune.pruning.context import PruningContext, pick
from paretoprune.pruning.pictures import pictures_among

if TYPE_CHECKING:
    from paretoprune.pruning.cache import PrunedCache

MAX_RANKINGS = 256
"""Rankings that a trunk keeps; of a search over settings, the latest."""


@dataclass(frozen=True)
class Tokens:
    """B sequences of up to T tokens, padding (if any) at the end.

    `hidden` [B, T, hidden]; `rotary` cosines and sines [B, T, head_dim] of the original positions;
    `origin` int64 [B, T] positions in the prefill (padding: one past the end); `visual` bool
    [B, T]; `valid` bool [B, T] or None without padding; `query` int64 [B] last prompt token;
    `sample` int64 [B]; `keys` and, where asked for, `values` [B, kv_heads, T, head_dim] and
    `query_before` [B, hidden] of the layer before, and `before` [B, T, hidden], which entered it;
    `keep_mask` bool [B, T] is false for tokens that a soft decoder only carries along (None: all);
    `extras` [B, T, c] each, for pruners that need them.
    """

    hidden: Tensor
    rotary: Rotary
    origin: Tensor
    visual: Tensor
    valid: Tensor | None
    query: Tensor
    sample: Tensor
    keys: Tensor | None = None
    values: Tensor | None = None
    query_before: Tensor | None = None
    keep_mask: Tensor | None = None
    before: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Present tokens of the longest sequence."""
        return self.hidden.shape[1]

    def visual_index(self) -> tuple[Tensor, Tensor]:
        """Places of visual tokens, int64 [B, V], and which of them exist, bool [B, V]."""
        counts = self.visual.sum(1)
        most = int(counts.max()) if len(counts) else 0
        order = (~self.visual).long().argsort(dim=1, stable=True)[:, :most]
        return order, torch.arange(most, device=order.device)[None] < counts[:, None]

    def context(self, adapter: Adapter, layer: int) -> PruningContext:
        """The pruner's context of these tokens before `layer`."""
        visual, present = self.visual_index()
        return PruningContext(
            adapter, layer, self.hidden, self.rotary, self.valid, visual, present,
            present if self.keep_mask is None else self.keep_mask.gather(1, visual) & present,
            self.origin, self.query, self.sample, self.keys, self.query_before, self.before,
            self.extras,
        )  # fmt: skip

    def pictures(self) -> Tensor:
        """Number of pictures with a visual token here: int64 [B]."""
        return pictures_among(self.extras[PICTURE][..., 0], self.visual)

    @property
    def validity(self) -> Tensor:
        """`valid` as a tensor in every case, bool [B, T]."""
        return torch.ones_like(self.visual) if self.valid is None else self.valid

    def keep(self, mask: Tensor) -> Tokens:
        """Only the tokens of `mask`, bool [B, T], in order; shorter rows end in padding."""
        index, full = kept_indices(mask)
        valid = None if bool(full.all()) else full
        cos, sin = self.rotary
        past = self.origin.max() + 1
        origin = self.origin.gather(1, index)
        return replace(
            self,
            hidden=pick(self.hidden, index),
            rotary=(pick(cos, index), pick(sin, index)),
            origin=origin if valid is None else torch.where(full, origin, past),
            visual=self.visual.gather(1, index) & full,
            valid=valid,
            query=(mask.long().cumsum(1) - 1).gather(1, self.query[:, None])[:, 0],
            keys=None,
            values=None,
            query_before=None,
            before=None,
            extras={name: pick(value, index) for name, value in self.extras.items()},
            keep_mask=None if self.keep_mask is None else self.keep_mask.gather(1, index) & full,
        )

    def rows(self, index: Tensor) -> Tokens:
        """The same for some of the batch, int64 [b], as long as the longest of them."""
        active = self.validity[index]
        length = int(active.sum(1).max())
        valid = active[:, :length]
        before = None if self.before is None else self.before[index, :length]
        return replace(
            self,
            hidden=self.hidden[index, :length],
            rotary=(self.rotary[0][index, :length], self.rotary[1][index, :length]),
            origin=self.origin[index, :length],
            visual=self.visual[index, :length],
            valid=None if bool(valid.all()) else valid,
            query=self.query[index],
            sample=self.sample[index],
            keys=None if self.keys is None else self.keys[index, :, :length],
            values=None if self.values is None else self.values[index, :, :length],
            query_before=None if self.query_before is None else self.query_before[index],
            keep_mask=None if self.keep_mask is None else self.keep_mask[index, :length],
            before=before,
            extras={name: value[index, :length] for name, value in self.extras.items()},
        )

    def run(
        self,
        adapter: Adapter,
        layer: int,
        mask: Tensor | None = None,
        cache: PrunedCache | None = None,
        *,
        with_values: bool = False,
    ) -> Tokens:
        """These tokens after decoder layer `layer`; `mask` defaults to the causal one.

        With a cache they also attend to what it holds for this layer, and are added to it.
        `with_values` keeps the layer's values as well as its keys.
        """
        recorder = RecordingCache(cache)
        if mask is None:
            valid, held = self.valid, 0
            if cache is not None:
                past = cache.layers[layer]
                held = past.held
                past.admit(self.validity, self.origin)
                valid = None if bool(past.valid.all()) else past.valid
            mask = causal_mask(adapter, self.hidden, valid, held)
        batch = torch.arange(len(self.hidden), device=self.hidden.device)
        return replace(
            self,
            hidden=adapter.run_layer(layer, self.hidden, self.rotary, mask, recorder),
            keys=recorder.keys,
            values=recorder.values if with_values else None,
            query_before=self.hidden[batch, self.query],
            before=self.hidden,
        )

    def at(self, positions: Tensor) -> Tensor:
        """Hidden states [B, A, hidden] at original positions int64 [B, A] of tokens in `self`."""
        return pick(self.hidden, torch.searchsorted(self.origin, positions.contiguous()))


def kept_indices(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Indices int64 [B, n] of the tokens of `mask` [B, T], and a mask of those not padding."""
    counts = mask.sum(1)
    longest = int(counts.max())
    index = (~mask).long().argsort(dim=1, stable=True)[:, :longest]
    return index, torch.arange(longest, device=index.device)[None] < counts[:, None]


def enter(prefill: Prefill, sample: Tensor | None = None) -> Tokens:
    """All tokens of a prefill, before layer 0; padding on either side moves to the end.

    `sample` int64 [B] numbers the samples; without, by their place in the batch.
    """
    batch, length = prefill.valid.shape
    if sample is None:
        sample = torch.arange(batch, device=prefill.hidden.device)
    tokens = Tokens(
        hidden=prefill.hidden,
        rotary=prefill.rotary,
        origin=torch.arange(length, device=prefill.hidden.device).expand(batch, -1).contiguous(),
        visual=prefill.visual,
        valid=None,
        query=prefill.prompt_end,
        sample=sample,
        extras={PICTURE: picture_runs(prefill.visual)[..., None], **prefill.extras},
    )
    return tokens if bool(prefill.valid.all()) else tokens.keep(prefill.valid)


@dataclass
class Trunk:
    """Dense states behind each layer of one batch, kept between populations, and rankings there.

    `run_population` fills it and reads from it. It belongs to one batch; the last layer, which is
    run for answers alone, is not kept. Dense states are common to all pruners; `rankings` int64
    [B, V] are by the pruner's label, which names its settings, and the layer.
    """

    after: dict[int, Tokens] = field(default_factory=dict)
    rankings: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def note(self, label: str, layer: int, ranking: Tensor) -> None:
        """Keep a ranking; the oldest makes room."""
        if len(self.rankings) >= MAX_RANKINGS:
            del self.rankings[next(iter(self.rankings))]
        self.rankings[label, layer] = ranking


def trunk_bytes(spec: DecoderSpec, prefill: Prefill, *, with_path: bool = False) -> int:
    """Bytes that the trunk of this batch will hold; with values where runs are `with_path`."""
    batch, length, _ = prefill.hidden.shape
    size = prefill.hidden.element_size()
    return dense_state_bytes(spec, batch * length, size, with_values=with_path)


# --- the last layer, run only where something is read from it


class _StoppedError(Exception):
    """Keys and values are known; the rest of the layer is not needed."""


class _StoppingCache(RecordingCache):
    """Ends a layer once it has its keys and values; from then on attention gets back these."""

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *args: object, **further: object
    ) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            super().update(keys, values, layer)
            raise _StoppedError
        return self.keys, self.values


def can_run_at(adapter: Adapter) -> bool:
    """Whether the last layer takes few queries against many keys under a plain causal mask.

    So it is with SDPA and full attention.
    """
    config = adapter.decoder.config
    kinds = getattr(config, "layer_types", None)
    full = not kinds or kinds[-1] == "full_attention"
    return full and getattr(config, "_attn_implementation", None) == "sdpa"


def run_last_at(adapter: Adapter, tokens: Tokens, positions: Tensor) -> Tokens:
    """`tokens` after the last layer at the original positions int64 [B, A] alone, sorted per row.

    The positions must be those of tokens in `tokens`; duplicates are allowed. Only for adapters
    that `can_run_at`. A layer that never asks its cache is run for all tokens.
    """
    last = adapter.spec.layers - 1
    asked = positions.sort(1).values
    index = torch.searchsorted(tokens.origin, asked)
    every = _StoppingCache()
    try:
        adapter.run_layer(last, tokens.hidden, tokens.rotary, None, every)
    except _StoppedError:
        pass
    else:
        return tokens.run(adapter, last)  # its attention asks no cache: all tokens, then
    cos, sin = tokens.rotary
    rows = torch.arange(len(index), device=index.device)[:, None]
    asking = replace(
        tokens,
        hidden=tokens.hidden[rows, index],
        rotary=(cos[rows, index], sin[rows, index]),
        origin=asked,
        visual=tokens.visual[rows, index],
        valid=None,
        query=torch.zeros_like(tokens.query),
        keys=None,
        query_before=None,
        keep_mask=None,
    )
    seen = torch.arange(tokens.length, device=index.device) <= index[..., None]  # [B, A, T]
    if tokens.valid is not None:
        seen = seen & tokens.valid[:, None]
    hidden = adapter.run_layer(last, asking.hidden, asking.rotary, seen[:, None], every)
    return replace(asking, hidden=hidden)
