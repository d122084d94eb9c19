"""Quantised views of a model: packed layers made once, every tensor else shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from paretoprune.adapters.views import view_of
from paretoprune.techniques.bits.packed import PackedLinear
from paretoprune.techniques.bits.parts import Parts, parts_of


class Quantiser:
    """Makes quantised views of one model, and keeps each packed layer for the next view."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.parts: Parts = parts_of(model)
        self._packed: dict[tuple[str, int], PackedLinear] = {}

    def packed(self, path: str, bits: int) -> PackedLinear:
        """The linear layer at `path` with packed weights."""
        if (path, bits) not in self._packed:
            with torch.no_grad():
                linear: Any = self.model.get_submodule(path)
                self._packed[path, bits] = PackedLinear(linear, bits)
        return self._packed[path, bits]

    def view(
        self,
        bits: Mapping[str, int],
        around: Callable[[str, nn.Module], nn.Module] | None = None,
    ) -> Any:
        """The model with packed linear layers, in a module tree of its own.

        `around(path, layer)` may put something around each; paths that `bits` does not name stay.
        """
        twin = view_of(self.model)
        for path, wanted in bits.items():
            layer: nn.Module = self.packed(path, wanted)
            parent, _, name = path.rpartition(".")
            setattr(twin.get_submodule(parent), name, around(path, layer) if around else layer)
        return twin
