"""The exponential: every layer drops the same fraction of the remaining tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paretoprune.core.space import Knob
from paretoprune.schedules.kernels.drop import Drop

if TYPE_CHECKING:
    from torch import Tensor


class Exponential(Drop):
    """From `layer` on, the distance to `keep` halves every `half_life` layers.

    g_l = 1 - 2^(-(l - layer + 1) / half_life) from `layer` on, 0 before. A half-life towards 0 is
    the single step; with keep = 0 it is a fixed rate per layer.
    """

    name = "exponential"

    @property
    def shape(self) -> tuple[Knob, ...]:
        """Knobs `layer` and `half_life`."""
        return (self._layer("layer"), self._length("half_life"))

    def gate(self, shape: Tensor, slope: Tensor | float) -> Tensor:
        """Saturating growth from `layer` on."""
        import torch

        layer = torch.arange(self.layers, dtype=shape.dtype, device=shape.device)
        since = (layer - shape[..., :1] + 1.0).clamp(min=0.0)
        return 1.0 - torch.exp2(-since / shape[..., 1:].clamp(min=1e-6))
