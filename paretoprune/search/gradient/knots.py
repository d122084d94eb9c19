"""Budget knots: parameters live at a few budgets and are linear in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Knots:
    """Rising budgets, float64 `[knots]`, in relative compute; places between them are linear."""

    budgets: NDArray[np.float64]

    @classmethod
    def within(cls, low: float, high: float, count: int, bend: float = 1.0) -> Knots:
        """`count` knots over a range of budgets: evenly spaced, or denser at the low end.

        Knot i of n stands at low + (high - low) (i / (n - 1)) ^ bend.
        """
        return cls(low + (high - low) * np.linspace(0, 1, count) ** bend)

    def __len__(self) -> int:
        return len(self.budgets)

    def weights(self, budgets: NDArray[np.float64]) -> Tensor:
        """How much each knot counts at these budgets: float64 `[budgets, knots]`, rows sum to 1.

        Linear between neighbours, constant outside.
        """
        place = np.interp(budgets, self.budgets, np.arange(len(self)))
        below = np.minimum(place.astype(np.int64), len(self) - 2)
        found = np.zeros((len(budgets), len(self)))
        rows = np.arange(len(budgets))
        found[rows, below] = 1 - (place - below)
        found[rows, below + 1] = place - below
        return torch.from_numpy(found)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """One budget per sample, stratified over the knots, so that none starves."""
        return self._at((np.arange(count) + rng.random(count)) / count)

    def even(self, count: int) -> NDArray[np.float64]:
        """Budgets spaced as the knots are, ends included."""
        return self._at(np.linspace(0, 1, count))

    def _at(self, place: NDArray[np.float64]) -> NDArray[np.float64]:
        """Budgets at places 0..1 along the knots."""
        steps = np.linspace(0, 1, len(self))
        return np.asarray(np.interp(place, steps, self.budgets))


def over_neighbours(values: Tensor, sharing: float) -> Tensor:
    """Each knot's row averaged with its neighbours', which count `sharing`; `[knots, ...]`."""
    padded = torch.cat([values[:1], values, values[-1:]])
    return ((padded[:-2] + padded[2:]) * sharing + padded[1:-1]) / (1 + 2 * sharing)
