"""Ramps: from all tokens to a share of them between two layers, straight or with soft ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paretoprune.core.space import Knob
from paretoprune.schedules.kernels.drop import Drop

if TYPE_CHECKING:
    from torch import Tensor


class Linear(Drop):
    """Equal drops in the layers `start` to `end` (in any order), constant after them.

    g_l = clip((l - start + 1) / (end - start + 1), 0, 1): with start = end a single step.
    """

    name = "linear"

    @property
    def shape(self) -> tuple[Knob, ...]:
        """Knobs `start` and `end`."""
        return (self._layer("start"), self._layer("end"))

    def canonical(self, parameters: Tensor) -> Tensor:
        """Start before end."""
        import torch

        return torch.cat([parameters[..., :2].sort(-1).values, parameters[..., 2:]], -1)

    def gate(self, shape: Tensor, slope: Tensor | float) -> Tensor:
        """A straight ramp."""
        import torch

        start, end = shape.sort(-1).values.split(1, -1)
        layer = torch.arange(self.layers, dtype=shape.dtype, device=shape.device)
        ramp: Tensor = (layer - start + 1.0) / (end - start + 1.0)
        return ramp.clamp(0.0, 1.0)


class Cosine(Linear):
    """A ramp that starts and ends gently: g_l = (1 - cos(pi t_l)) / 2 of the linear gate t_l."""

    name = "cosine"

    def gate(self, shape: Tensor, slope: Tensor | float) -> Tensor:
        """Half a cosine."""
        import torch

        return (1.0 - torch.cos(math.pi * super().gate(shape, slope))) / 2.0
