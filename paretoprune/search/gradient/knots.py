"""Budget knots: parameters live at a few budgets and are linear in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Knots:
    """Evenly spaced budgets, float64 `[knots]`, in relative compute."""

    budgets: NDArray[np.float64]

    @classmethod
    def within(cls, low: float, high: float, count: int) -> Knots:
        """`count` knots over a range of budgets."""
        return cls(np.linspace(low, high, count))

    def __len__(self) -> int:
        return len(self.budgets)

    def weights(self, budgets: NDArray[np.float64]) -> Tensor:
        """How much each knot counts at these budgets: float64 `[budgets, knots]`, rows sum to 1.

        Linear between neighbours, constant outside.
        """
        spacing = self.budgets[1] - self.budgets[0]
        place = np.clip((budgets - self.budgets[0]) / spacing, 0, len(self) - 1)
        below = np.minimum(place.astype(np.int64), len(self) - 2)
        found = np.zeros((len(budgets), len(self)))
        rows = np.arange(len(budgets))
        found[rows, below] = 1 - (place - below)
        found[rows, below + 1] = place - below
        return torch.from_numpy(found)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """One budget per sample, stratified over the range, so that no knot starves."""
        place = (np.arange(count) + rng.random(count)) / count
        return np.asarray(self.budgets[0] + place * (self.budgets[-1] - self.budgets[0]))

    def even(self, count: int) -> NDArray[np.float64]:
        """Evenly spaced budgets over the range."""
        return np.linspace(self.budgets[0], self.budgets[-1], count)


def over_neighbours(values: Tensor, sharing: float) -> Tensor:
    """Each knot's row averaged with its neighbours', which count `sharing`; `[knots, ...]`."""
    padded = torch.cat([values[:1], values, values[-1:]])
    return ((padded[:-2] + padded[2:]) * sharing + padded[1:-1]) / (1 + 2 * sharing)
