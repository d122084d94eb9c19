"""Kernels of one drop: r_l = 1 + (keep - 1) g_l, where the gate g rises from 0 to 1 over layers."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.space import Knob, SearchSpace, Values
from paretoprune.schedules.kernels.base import Kernel, KernelFit, on_lattice
from paretoprune.schedules.schedule import KeepSchedule

if TYPE_CHECKING:
    from torch import Tensor


class Drop(Kernel):
    """One drop from all tokens to a share `keep` of them; a subclass says how it goes.

    Its exact form is its smooth form with infinitely steep steps, rounded to the lattice.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[Knob, ...]:
        """The knobs of the gate, before `keep`."""

    @abstractmethod
    def gate(self, shape: Tensor, slope: Tensor | float) -> Tensor:
        """Completed fraction of the drop in 0..1, `[..., layers]`, for shape knobs `[..., n]`."""

    @property
    def space(self) -> SearchSpace:
        """The gate's knobs and `keep`."""
        return SearchSpace((*self.shape, self._keep("keep")))

    def curve(self, parameters: Tensor, slope: Tensor | float) -> Tensor:
        """Smooth ratios of `[..., (shape, keep)]`."""
        keep = parameters[..., -1:]
        return 1.0 + (keep - 1.0) * self.gate(parameters[..., :-1], slope)

    def schedule(self, values: Values) -> KeepSchedule:
        """The drop at validated knob values, on the lattice."""
        import torch

        row = torch.tensor([[float(values[n]) for n in self.space.names]], dtype=torch.float64)
        exact = on_lattice(self.ratios(row, slope=np.inf)[0].numpy(), self.levels)
        return KeepSchedule.from_ratios(exact)

    def fit(self, schedule: KeepSchedule) -> KernelFit:
        """The closest point of the lattice, found by looking at all of them."""
        wanted = self._check(schedule)
        shapes, gates = self._gates
        best = np.inf, 0, 0.0
        for level in range(self.levels + 1):
            keep = level / self.levels
            exact = on_lattice(1.0 + (keep - 1.0) * gates, self.levels)
            errors = ((exact - wanted) ** 2).sum(1)
            place = int(errors.argmin())
            if errors[place] < best[0] - 1e-12:
                best = float(errors[place]), place, keep
        _, place, keep = best
        names = (knob.name for knob in self.shape)
        chosen = dict(zip(names, shapes[place], strict=True))
        return self._fitted(schedule, {**chosen, "keep": keep})

    @cached_property
    def _gates(self) -> tuple[list[tuple[float | int | str, ...]], NDArray[np.float64]]:
        """Every point of the shape's lattice, and its gates `[points, layers]`."""
        import torch

        points = list(itertools.product(*(knob.values() for knob in self.shape)))
        rows = torch.tensor(np.array([[*p, 0.0] for p in points], dtype=np.float64))
        return points, 1.0 - self.ratios(rows, slope=np.inf).numpy()
