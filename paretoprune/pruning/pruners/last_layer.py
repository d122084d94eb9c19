"""The last decoder layer, run only where something is read from it.

Every token gives the last layer its key and value, but only the tokens that predict an answer need
what it puts out. Their outputs equal those of the whole layer, for about a quarter of its FLOPs.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter
from paretoprune.pruning.tokens import Tokens


class _Known(Exception):
    """Keys and values are known; the rest of the layer is not needed."""


class _Tap:
    """Stands where a cache would, remembers keys and values, and ends the layer there."""

    keys: Tensor
    values: Tensor

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *args: object, **further: object
    ) -> tuple[Tensor, Tensor]:
        self.keys, self.values = keys, values
        raise _Known


class _Filled:
    """A cache that holds the keys and values of all tokens, those of the asking ones included."""

    def __init__(self, tap: _Tap) -> None:
        self._tap = tap

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *args: object, **further: object
    ) -> tuple[Tensor, Tensor]:
        return self._tap.keys, self._tap.values


def can_run_at(adapter: Adapter) -> bool:
    """Whether the last layer takes few queries against many keys under a plain causal mask.

    So it is with SDPA and full attention.
    """
    config = adapter.decoder.config
    kinds = getattr(config, "layer_types", None)
    full = not kinds or kinds[-1] == "full_attention"
    return full and getattr(config, "_attn_implementation", None) == "sdpa"


def run_last_at(adapter: Adapter, tokens: Tokens, places: Tensor) -> Tokens:
    """`tokens` after the last layer at the original places int64 [B, A] alone, sorted per row.

    The places must be present; a place may be asked for twice. Only for adapters that `can_run_at`.
    A layer that never asks its cache is run for all tokens.
    """
    last = adapter.spec.layers - 1
    asked = places.sort(1).values
    index = torch.searchsorted(tokens.origin, asked)
    tap = _Tap()
    try:
        adapter.run_layer(last, tokens.hidden, tokens.rotary, None, tap)
    except _Known:
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
        alive=None,
    )
    seen = torch.arange(tokens.length, device=index.device) <= index[..., None]  # [B, A, T]
    if tokens.valid is not None:
        seen = seen & tokens.valid[:, None]
    hidden = adapter.run_layer(last, asking.hidden, asking.rotary, seen[:, None], _Filled(tap))
    return replace(asking, hidden=hidden)
