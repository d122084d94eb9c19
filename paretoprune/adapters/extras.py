"""Prefills that carry what a pruner needs beside hidden states: nothing else is computed.

    prefill = prefill_for(adapter, inputs, needs=pruner.needs)

`class_attention` [B, T, 1] and `tower_keys` [B, T, d] come with the need `tower`, `grid` [B, T, 3]
(picture, row, column) with the need `grid`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.tower import TowerWatch
from paretoprune.adapters.views import view_of


class Extras:
    """Answers a pruner's needs from one call of a model; `adapter` must sit on a view.

    Raises `UnsupportedError` where the family does not have what is needed.
    """

    def __init__(self, adapter: Adapter, needs: frozenset[str]) -> None:
        self.adapter = adapter
        self.wants_grid = "grid" in needs
        self.watch = TowerWatch(adapter) if "tower" in needs else None

    def read(self, inputs: Mapping[str, Tensor], visual: Tensor) -> dict[str, Tensor]:
        """After the tower ran on `inputs`, whose visual tokens are bool [B, T]: [B, T, c] each."""
        found: dict[str, Tensor] = {}
        if self.wants_grid:
            found["grid"] = placed(self.adapter.grid(inputs), visual, 3)
        if self.watch is not None:
            both = self.watch.read(inputs)
            weights, keys = (None, None) if both is None else both
            found["class_attention"] = placed(weights, visual, 1)
            found["tower_keys"] = placed(keys, visual, 1)
        return found


def placed(values: Tensor | None, visual: Tensor, width: int) -> Tensor:
    """Values of the visual tokens, [N, c], where they stand: [B, T, c], 0 elsewhere.

    `width` is c where there are no values, because a batch shows no picture.
    """
    if values is None:
        return torch.zeros((*visual.shape, width), device=visual.device)
    empty = values.new_zeros((*visual.shape, values.shape[-1]))
    return empty.masked_scatter(visual[..., None], values)


def prefill_for(
    adapter: Adapter,
    inputs: Mapping[str, Tensor],
    prompt_end: Tensor | None = None,
    *,
    needs: frozenset[str] = frozenset(),
) -> Prefill:
    """`adapter.prefill`, with extras for a pruner's `needs`; the model itself gets no hook."""
    if not needs & {"tower", "grid"}:
        return adapter.prefill(inputs, prompt_end)
    twin = copy.copy(adapter)
    if "tower" in needs:
        twin.model = view_of(adapter.model)
    extras = Extras(twin, needs)
    prefill = twin.prefill(inputs, prompt_end)
    return replace(prefill, extras=extras.read(inputs, prefill.visual))
