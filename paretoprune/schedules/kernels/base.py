"""The kernel contract: few parameters in, a keep schedule over all layers out.

After VisPCO (arXiv 2604.15188). Each kernel offers its knobs as a search space for any strategy
(`space`, `schedule`: exact, on a lattice), the smooth form that a gradient passes through
(`ratios`), and the closest parameters to a given schedule (`fit`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.space import Float, Int, SearchSpace, Value, Values
from paretoprune.errors import InvalidValueError
from paretoprune.schedules.schedule import KeepSchedule

if TYPE_CHECKING:
    from torch import Tensor

SLOPE = 10.0
"""Steepness s of a smooth step, per layer (VisPCO's value)."""


@dataclass(frozen=True)
class KernelFit:
    """The member of one kernel that is closest to a schedule.

    `distance` is the root mean square difference of keep ratios over layers, 0..1; `schedule` is
    the kernel's, at the knob values `values`.
    """

    kernel: str
    values: dict[str, Value]
    schedule: KeepSchedule
    distance: float


class Kernel(ABC):
    """A family of keep schedules for `layers` decoder layers on a lattice of `levels` ratios.

    `first` is the first layer that may see fewer tokens than all: 0 for operators that act before
    the decoder, 1 for those that need the attention of a layer first. Raises `InvalidValueError`
    for a model that the kernel does not fit.
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
    def curve(self, parameters: Tensor, slope: Tensor | float) -> Tensor:
        """Smooth ratios of `ratios`, but for the layers before `first`, which are set to 1."""

    @abstractmethod
    def fit(self, schedule: KeepSchedule) -> KernelFit:
        """The member of this kernel that is closest to `schedule`; of equals, the first."""

    def ratios(self, parameters: Tensor, *, slope: Tensor | float = SLOPE) -> Tensor:
        """Smooth keep ratios `[..., layers]` of real parameters `[..., knobs]` (knob order).

        `slope` is the steepness of a step, per layer: a number, or a tensor `[...]` to be learned.
        Kernels without steps make no use of it.
        """
        import torch

        curve = self.curve(parameters, slope)
        dense = torch.arange(self.layers, device=curve.device) < self.first
        return torch.where(dense, torch.ones_like(curve), curve)

    def canonical(self, parameters: Tensor) -> Tensor:
        """Parameters `[..., knobs]` of the same schedule in a fixed order.

        So that schedules can be compared and interpolated by their parameters.
        """
        return parameters

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Lowest and highest value of each parameter: float64 `[2, knobs]`."""
        knobs = [k for k in self.space.knobs if isinstance(k, Float | Int)]
        return np.array([[k.low for k in knobs], [k.high for k in knobs]], dtype=np.float64)

    def values(self, parameters: Sequence[float] | NDArray[np.float64]) -> dict[str, Value]:
        """The valid knob values nearest to real parameters `[knobs]`."""
        low, high = self.bounds
        found: dict[str, Value] = {}
        for knob, number in zip(self.space.knobs, np.clip(parameters, low, high), strict=True):
            found[knob.name] = knob.check(round(number) if isinstance(knob, Int) else float(number))
        return found

    def _keep(self, name: str) -> Float:
        return Float(name, 0.0, 1.0, step=1.0 / self.levels, unit="share of visual tokens")

    def _layer(self, name: str) -> Int:
        return Int(name, self.first, self.layers - 1, unit="decoder layer")

    def _length(self, name: str) -> Float:
        """A number of layers, half a layer to all of them."""
        return Float(name, 0.5, max(1.0, float(self.layers)), step=0.5, unit="decoder layers")

    def _fitted(self, schedule: KeepSchedule, values: Values) -> KernelFit:
        """The fit with these knob values."""
        valid = self.space.validate(values)
        found = self.schedule(valid)
        return KernelFit(self.name, valid, found, distance(schedule, found))

    def _check(self, schedule: KeepSchedule) -> NDArray[np.float64]:
        if schedule.layers != self.layers:
            raise InvalidValueError(
                f"this {self.name} kernel is for {self.layers} layers, the schedule has "
                f"{schedule.layers}"
            )
        return np.asarray(schedule.ratios)


def distance(one: KeepSchedule, other: KeepSchedule) -> float:
    """Root mean square difference of keep ratios over layers."""
    gaps = np.asarray(one.ratios) - np.asarray(other.ratios)
    return float(np.sqrt((gaps**2).mean()))


def on_lattice(ratios: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
    """Ratios of any shape at their nearest level, halves up (as `KeepSchedule.rounded`)."""
    # a formula's last digit must not decide a half, hence the slack
    return np.asarray(np.floor(ratios * levels + 0.5 + 1e-9) / levels)


def soft_step(layer: Tensor, layers: int, slope: Tensor | float) -> Tensor:
    """sigmoid(s (l - k)) over layers l, `[..., layers]` of `layer` `[...]`, with k = layer - 1/2.

    VisPCO, section 3.2; at k the step falls between two layers.
    """
    import torch

    steep = slope[..., None] if isinstance(slope, torch.Tensor) else slope
    index = torch.arange(layers, dtype=layer.dtype, device=layer.device)
    return torch.sigmoid(steep * (index - layer[..., None] + 0.5))
