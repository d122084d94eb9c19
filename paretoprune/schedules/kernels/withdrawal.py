"""The withdrawal: every visual token leaves at one layer, which is all there is to choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paretoprune.core.space import SearchSpace, Values
from paretoprune.schedules.kernels.base import Kernel, KernelFit, soft_step
from paretoprune.schedules.schedule import KeepSchedule

if TYPE_CHECKING:
    from torch import Tensor


class Withdrawal(Kernel):
    """All tokens before `layer`, none from it on (VTW, arXiv 2405.05803).

    The single step with a share of 0; a problem offers it for pruners that keep all or none.
    """

    name = "withdrawal"

    @property
    def space(self) -> SearchSpace:
        """Knob `layer`."""
        return SearchSpace((self._layer("layer"),))

    def schedule(self, values: Values) -> KeepSchedule:
        """Ones before the layer, zeros from it on."""
        layer = int(values["layer"])
        return KeepSchedule((1.0,) * layer + (0.0,) * (self.layers - layer))

    def curve(self, parameters: Tensor, slope: Tensor | float) -> Tensor:
        """Smooth ratios of `[..., (layer,)]`."""
        return 1.0 - soft_step(parameters[..., 0], self.layers, slope)

    def fit(self, schedule: KeepSchedule) -> KernelFit:
        """The closest layer, found by looking at all of them."""
        wanted = self._check(schedule)
        layers = range(self.first, self.layers)
        errors = [
            float(((np.asarray(self.schedule({"layer": k}).ratios) - wanted) ** 2).sum())
            for k in layers
        ]
        return self._fitted(schedule, {"layer": layers[int(np.argmin(errors))]})
