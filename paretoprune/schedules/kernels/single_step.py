"""The single step: FastV's shape, and VisPCO's first kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretoprune.core.space import Knob
from paretoprune.schedules.kernels.base import soft_step
from paretoprune.schedules.kernels.drop import Drop

if TYPE_CHECKING:
    from torch import Tensor


class SingleStep(Drop):
    """All tokens before `layer`, a share `keep` of them from it on.

    Smooth form (VisPCO, arXiv 2604.15188, section 3.2): g_l = sigmoid(s (l - k)), k = layer - 1/2;
    exact in the limit of s.
    """

    name = "single-step"

    @property
    def shape(self) -> tuple[Knob, ...]:
        """Knob `layer`."""
        return (self._layer("layer"),)

    def gate(self, shape: Tensor, slope: Tensor | float) -> Tensor:
        """A step of this slope."""
        return soft_step(shape[..., 0], self.layers, slope)
