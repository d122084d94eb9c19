"""Kernels: few parameters in, a keep schedule over all layers out (VisPCO, arXiv 2604.15188).

Each kernel offers its knobs as a search space for any strategy (`space`, `schedule`: exact steps
on a lattice) and the smooth form that a gradient can pass through (`ratios`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from paretoprune.errors import InvalidValueError
from paretoprune.schedules.schedule import KeepSchedule
from paretoprune.space import Float, Int, SearchSpace, Values

if TYPE_CHECKING:
    from torch import Tensor

SLOPE = 10.0
"""Steepness s of a step, per layer (VisPCO's value)."""


class Kernel(ABC):
    """A family of keep schedules for `layers` decoder layers on a lattice of `levels` ratios.

    `first` is the first layer that may see fewer tokens than all: 0 for operators that act before
    the decoder, 1 for those that need the attention of a layer first.
    """

    name: ClassVar[str]

    def __init__(self, layers: int, levels: int, first: int = 1) -> None:
        if not 0 <= first < layers:
            raise InvalidValueError(
                f"the first pruned layer must be in [0, {layers - 1}], got {first}"
            )
        if levels < 1:
            raise InvalidValueError(f"a lattice needs at least 1 level, got {levels}")
        self.layers = layers
        self.levels = levels
        self.first = first

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """The kernel's knobs."""

    @abstractmethod
    def schedule(self, values: Values) -> KeepSchedule:
        """The schedule of valid knob values, on the lattice."""

    @abstractmethod
    def ratios(self, parameters: Tensor) -> Tensor:
        """Smooth keep ratios `[..., layers]` of real parameters `[..., knobs]` (knob order)."""

    def _keep(self, name: str) -> Float:
        return Float(name, 0.0, 1.0, step=1.0 / self.levels, unit="share of visual tokens")

    def _layer(self, name: str) -> Int:
        return Int(name, self.first, self.layers - 1, unit="decoder layer")


class SingleStep(Kernel):
    """All tokens before `layer`, a share `keep` of them from it on (FastV's shape).

    Smooth form (VisPCO, section 3.2): r_l = 1 + (r - 1) sigmoid(s (l - k)); with k = layer - 1/2
    the step falls between two layers.
    """

    name = "single-step"

    @property
    def space(self) -> SearchSpace:
        """Knobs `layer` and `keep`."""
        return SearchSpace((self._layer("layer"), self._keep("keep")))

    def schedule(self, values: Values) -> KeepSchedule:
        """Exact step of validated knob values."""
        layer, keep = int(values["layer"]), float(values["keep"])
        ratios = [1.0 if i < layer else keep for i in range(self.layers)]
        return KeepSchedule(tuple(ratios)).rounded(self.levels)

    def ratios(self, parameters: Tensor) -> Tensor:
        """Smooth ratios of `[..., (layer, keep)]`."""
        return _soft_step(parameters[..., 0], parameters[..., 1], self.layers)


class MultiStep(Kernel):
    """K drops, each at its own layer: the progressive schedules of PyramidDrop and VisPCO.

    Knobs `layer_1..K` and `keep_1..K` may come in any order: layers are sorted upwards and keep
    ratios downwards, so that every point of the cube is a valid schedule.
    """

    name = "multi-step"

    def __init__(self, layers: int, levels: int, first: int = 1, *, steps: int = 2) -> None:
        super().__init__(layers, levels, first)
        if not 1 <= steps <= layers - first:
            raise InvalidValueError(
                f"a multi-step kernel on {layers} layers takes 1 to {layers - first} steps, "
                f"got {steps}"
            )
        self.steps = steps

    @property
    def space(self) -> SearchSpace:
        """Knobs `layer_1..K`, then `keep_1..K`."""
        numbers = range(1, self.steps + 1)
        return SearchSpace(
            (
                *(self._layer(f"layer_{i}") for i in numbers),
                *(self._keep(f"keep_{i}") for i in numbers),
            )
        )

    def schedule(self, values: Values) -> KeepSchedule:
        """Exact steps of validated knob values."""
        numbers = range(1, self.steps + 1)
        layers = sorted(int(values[f"layer_{i}"]) for i in numbers)
        keeps = sorted((float(values[f"keep_{i}"]) for i in numbers), reverse=True)
        ratios = np.ones(self.layers)
        for layer, keep in zip(layers, keeps, strict=True):
            ratios[layer:] = keep
        return KeepSchedule.from_ratios(ratios).rounded(self.levels)

    def ratios(self, parameters: Tensor) -> Tensor:
        """Smooth ratios of `[..., (layers, keeps)]`: the steps' drops add up."""
        layers = parameters[..., : self.steps].sort(-1).values
        keeps = parameters[..., self.steps :].sort(-1, descending=True).values
        total = _soft_step(layers[..., 0], keeps[..., 0], self.layers)
        for i in range(1, self.steps):
            drop = 1.0 + keeps[..., i] - keeps[..., i - 1]
            total = total + _soft_step(layers[..., i], drop, self.layers) - 1.0
        return total


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
        )  # fmt: skip

    def schedule(self, values: Values) -> KeepSchedule:
        """Running minimum of validated knob values."""
        knobs = [float(values[f"keep_{layer}"]) for layer in range(self.first, self.layers)]
        ratios = np.minimum.accumulate([1.0] * self.first + knobs)
        return KeepSchedule.from_ratios(ratios).rounded(self.levels)

    def ratios(self, parameters: Tensor) -> Tensor:
        """Smooth ratios of `[..., keeps]`."""
        import torch

        ones = parameters.new_ones((*parameters.shape[:-1], self.first))
        return torch.cummin(torch.cat([ones, parameters], dim=-1), dim=-1).values


def _soft_step(layer: Tensor, keep: Tensor, layers: int) -> Tensor:
    """r_l = 1 + (keep - 1) sigmoid(s (l - (layer - 1/2))): `[..., layers]` of two `[...]`."""
    import torch

    index = torch.arange(layers, dtype=keep.dtype, device=keep.device)
    gate = torch.sigmoid(SLOPE * (index - layer[..., None] + 0.5))
    return 1.0 + (keep[..., None] - 1.0) * gate
