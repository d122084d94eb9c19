"""Prefills that carry what a pruner needs beside hidden states: nothing else is computed.

    prefill = prefill_for(adapter, inputs, needs=pruner.needs)

`class_attention` [B, T, 1] and `tower_keys` [B, T, d] come with the need `tower`, `grid` [B, T, 3]
(picture, row, column) with the need `grid`.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.grid import PICTURE
from paretoprune.adapters.tower import TowerWatch
from paretoprune.adapters.views import extend, view_of
from paretoprune.errors import UnsupportedError

FEATURES = ("get_image_features", "get_video_features")
"""Methods of transformers' models that run the vision tower, from `forward` or from `generate`."""


class Extras:
    """Answers a pruner's needs from one call of a model; `adapter` must sit on a view.

    Raises `UnsupportedError` where the family does not have what is needed.
    """

    def __init__(self, adapter: Adapter, needs: frozenset[str]) -> None:
        self.adapter = adapter
        self.wants_grid = "grid" in needs
        if self.wants_grid and type(adapter).grid is Adapter.grid:
            adapter.grid({})  # says that this family has none, before anything is run
        self.watch = TowerWatch(adapter) if "tower" in needs else None
        self._noted: dict[str, Tensor] = {}

    def listen(self) -> None:
        """Note what features are made of: `generate` makes them and hands on only the features."""
        if not self.wants_grid and self.watch is None:
            return
        base = self.adapter.model.base_model
        kind = type(base)
        extend(
            base,
            {name: self._noting(getattr(kind, name)) for name in FEATURES if hasattr(kind, name)},
            "Noting",
        )

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(method)

        @functools.wraps(method)  # transformers looks at its parameters
        def noting(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            self._noted |= {k: v for k, v in given.items() if isinstance(v, Tensor)}
            return method(*args, **kwargs)

        return noting

    def read(self, inputs: Mapping[str, Any], visual: Tensor) -> dict[str, Tensor]:
        """After the tower ran on `inputs`, whose visual tokens are bool [B, T]: [B, T, c] each."""
        given = {k: v for k, v in inputs.items() if isinstance(v, Tensor)} | self._noted
        self._noted = {}
        found: dict[str, Tensor] = {}
        if not bool(visual.any()):
            return found
        if not any(name.startswith("pixel_values") for name in given):
            if not self.wants_grid and self.watch is None:
                return found
            raise UnsupportedError(
                "this pruner needs the pictures themselves, not features that were made of them"
            )
        if self.wants_grid:
            found["grid"] = placed(self.adapter.grid(given), visual)
        if self.watch is not None:
            weights, keys = self.watch.read(given)
            found["class_attention"] = placed(weights, visual)
            found["tower_keys"] = placed(keys, visual)
        return found


def lacking(adapter: Adapter, needs: frozenset[str]) -> str | None:
    """Why a model has not what a pruner needs, in one sentence; None if it has. Runs nothing."""
    twin = copy.copy(adapter)
    if "tower" in needs:
        twin.model = view_of(adapter.model)
    try:
        Extras(twin, needs)
    except UnsupportedError as error:
        return str(error)
    return None


def placed(values: Tensor, visual: Tensor) -> Tensor:
    """Values of the visual tokens, [N, c], where they stand: [B, T, c], 0 elsewhere.

    Where `generate` has repeated every row, for beams or several answers, so are the values.
    """
    times = max(1, int(visual.sum()) // max(1, len(values)))
    rows = visual[::times]
    empty = values.new_zeros((*rows.shape, values.shape[-1]))
    return empty.masked_scatter(rows[..., None], values).repeat_interleave(times, 0)


def prefill_for(
    adapter: Adapter,
    inputs: Mapping[str, Tensor],
    prompt_end: Tensor | None = None,
    *,
    needs: frozenset[str] = frozenset(),
) -> Prefill:
    """`adapter.prefill`, with extras for a pruner's `needs`; the model itself gets no hook."""
    if not needs & {"tower", "grid"}:
        return _numbered(adapter, inputs, adapter.prefill(inputs, prompt_end))
    twin = copy.copy(adapter)
    if "tower" in needs:
        twin.model = view_of(adapter.model)
    extras = Extras(twin, needs)
    prefill = twin.prefill(inputs, prompt_end)
    found = extras.read(inputs, prefill.visual)
    prefill = replace(prefill, extras={**prefill.extras, **found})
    return _numbered(adapter, inputs, prefill)


def _numbered(adapter: Adapter, inputs: Mapping[str, Any], prefill: Prefill) -> Prefill:
    """The prefill with the number of each token's picture, where it does not have it yet."""
    if PICTURE in prefill.extras:
        return prefill
    number = adapter.pictures(inputs, prefill.visual)[..., None]
    return replace(prefill, extras={**prefill.extras, PICTURE: number})
