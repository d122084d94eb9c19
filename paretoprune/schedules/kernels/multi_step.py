"""Steps, each at its own layer: the progressive schedules of PyramidDrop and VisPCO."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from paretoprune.core.space import SearchSpace, Values
from paretoprune.errors import InvalidValueError
from paretoprune.schedules.kernels.base import Kernel, KernelFit, on_lattice, soft_step
from paretoprune.schedules.schedule import KeepSchedule

if TYPE_CHECKING:
    from torch import Tensor


class MultiStep(Kernel):
    """K drops, each at its own layer (PyramidDrop, arXiv 2410.17247; VisPCO, arXiv 2604.15188).

    Knobs `layer_1..K` and `keep_1..K` may come in any order: layers are sorted upwards and keep
    ratios downwards, so that every point of the cube is a valid schedule. `steps` is K.
    """

    name = "multi-step"
    default_steps: ClassVar[int] = 2

    def __init__(
        self, layers: int, levels: int, first: int = 1, *, steps: int | None = None
    ) -> None:
        super().__init__(layers, levels, first)
        steps = self.default_steps if steps is None else steps
        if not 1 <= steps <= layers - first:
            raise InvalidValueError(
                f"a {self.name} kernel of {steps} steps does not fit: {layers} layers, of which "
                f"number {first} is the first that may see fewer tokens, have room for 1 to "
                f"{layers - first}"
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

    def canonical(self, parameters: Tensor) -> Tensor:
        """Layers upwards, keep ratios downwards."""
        import torch

        layers = parameters[..., : self.steps].sort(-1).values
        keeps = parameters[..., self.steps :].sort(-1, descending=True).values
        return torch.cat([layers, keeps], -1)

    def curve(self, parameters: Tensor, slope: Tensor | float) -> Tensor:
        """Smooth ratios of `[..., (layers, keeps)]`: the steps' drops add up."""
        layers, keeps = self.canonical(parameters).split(self.steps, -1)
        total: Tensor = 1.0 + (keeps[..., :1] - 1.0) * soft_step(layers[..., 0], self.layers, slope)
        for i in range(1, self.steps):
            drop = (keeps[..., i] - keeps[..., i - 1])[..., None]
            total = total + drop * soft_step(layers[..., i], self.layers, slope)
        return total

    def fit(self, schedule: KeepSchedule) -> KernelFit:
        """The closest point of the lattice, exactly: the best cut into K + 1 runs of layers.

        Dynamic programming. A run's best keep ratio is the level nearest to its mean; as the
        schedule does not rise, neither do they.
        """
        wanted = self._check(schedule)
        ends, start = self.layers, self.first
        # error and level of one run of layers a..b-1
        runs: dict[tuple[int, int], tuple[float, float]] = {}
        for a in range(start, ends):
            for b in range(a + 1, ends + 1):
                level = float(on_lattice(wanted[a:b].mean(), self.levels))
                runs[a, b] = float(((wanted[a:b] - level) ** 2).sum()), level
        # best[b]: least error of layers 0..b-1, and the cuts (layer, keep) that reach it
        dense = ((wanted - 1.0) ** 2).cumsum()
        best: list[tuple[float, tuple[tuple[int, float], ...]]] = [
            (float(dense[b - 1]) if b else 0.0, ()) for b in range(ends + 1)
        ]
        for _ in range(self.steps):
            longer = list(best)
            for b in range(start + 1, ends + 1):
                for a in range(start, b):
                    error, level = runs[a, b]
                    if best[a][0] + error < longer[b][0] - 1e-12:
                        longer[b] = best[a][0] + error, (*best[a][1], (a, level))
            best = longer
        cuts = best[ends][1] or ((ends - 1, 1.0),)
        cuts = (*cuts, *([cuts[-1]] * (self.steps - len(cuts))))
        values: dict[str, int | float] = {f"layer_{i}": c[0] for i, c in enumerate(cuts, start=1)}
        values |= {f"keep_{i}": c[1] for i, c in enumerate(cuts, start=1)}
        return self._fitted(schedule, values)


class ThreeStep(MultiStep):
    """Three drops: PyramidDrop's four stages."""

    name = "three-step"
    default_steps = 3


class FourStep(MultiStep):
    """Four drops."""

    name = "four-step"
    default_steps = 4
