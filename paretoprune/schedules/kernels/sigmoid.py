"""The sigmoid: a step whose slope is a knob."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretoprune.core.space import Knob
from paretoprune.schedules.kernels.base import soft_step
from paretoprune.schedules.kernels.drop import Drop

if TYPE_CHECKING:
    from torch import Tensor

CORE = 4.0
"""Slope times width: over `width` layers the logit goes from -2 to 2."""


class Sigmoid(Drop):
    """A drop around `layer`, as steep as `width` says (the curve of P-Sigmoid, arXiv 2412.00556).

    g_l = sigmoid(s (l - k)), k = layer - 1/2, with the slope s = 4 / width: over `width` layers the
    gate goes from 12 % to 88 %. The knob is the width, because equal steps of it are equal steps of
    shape; equal steps of the slope are not. A width towards 0 is the single step.
    """

    name = "sigmoid"

    @property
    def shape(self) -> tuple[Knob, ...]:
        """Knobs `layer` and `width`."""
        return (self._layer("layer"), self._length("width"))

    def gate(self, shape: Tensor, slope: Tensor | float) -> Tensor:
        """A step with a slope of its own."""
        return soft_step(shape[..., 0], self.layers, slope_of(shape[..., 1]))


def slope_of(width: Tensor) -> Tensor:
    """Slope per layer of a sigmoid of this width in layers."""
    return CORE / width.clamp(min=1e-6)
