"""The free kernel: a keep ratio for every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paretoprune.core.space import SearchSpace, Values
from paretoprune.schedules.kernels.base import Kernel, KernelFit
from paretoprune.schedules.schedule import KeepSchedule

if TYPE_CHECKING:
    from torch import Tensor


class Free(Kernel):
    """One keep ratio per layer from `first` on; where one would rise, the one before it holds.

    Its smooth form is the running minimum of its parameters.
    """

    name = "free"

    @property
    def space(self) -> SearchSpace:
        """Knobs `keep_<layer>` for every layer from `first` on."""
        return SearchSpace(
            tuple(self._keep(f"keep_{layer}") for layer in range(self.first, self.layers))
        )

    def schedule(self, values: Values) -> KeepSchedule:
        """Running minimum of validated knob values."""
        knobs = [float(values[f"keep_{layer}"]) for layer in range(self.first, self.layers)]
        ratios = np.minimum.accumulate([1.0] * self.first + knobs)
        return KeepSchedule.from_ratios(ratios).rounded(self.levels)

    def canonical(self, parameters: Tensor) -> Tensor:
        """Not rising."""
        import torch

        return torch.cummin(parameters, dim=-1).values

    def curve(self, parameters: Tensor, slope: Tensor | float) -> Tensor:
        """Smooth ratios of `[..., keeps]`."""
        import torch

        ones = parameters.new_ones((*parameters.shape[:-1], self.first))
        return torch.cummin(torch.cat([ones, parameters], dim=-1), dim=-1).values

    def fit(self, schedule: KeepSchedule) -> KernelFit:
        """Each layer at its nearest level."""
        ratios = self._check(schedule)
        names = self.space.names
        return self._fitted(schedule, dict(zip(names, ratios[self.first :].tolist(), strict=True)))
