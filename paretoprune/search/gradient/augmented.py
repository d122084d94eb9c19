"""The augmented Lagrangian: one multiplier per budget, and the scale of each budget's loss."""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTHING = 0.9
"""Weight of the past in the running mean of saved losses, per gradient step."""


class Multipliers:
    """Multipliers w >= 0 of c_k <= 0 (Nocedal & Wright, *Numerical Optimization*, eq. 17.64).

        L_k = f_k + ( max(0, w_k + sigma c_k)^2 - w_k^2 ) / (2 sigma)
        w_k <- clamp(w_k + sigma c_k, 0, w_max)

    `values` float64 `[budgets]`.
    """

    def __init__(self, budgets: int, *, sigma: float, max_multiplier: float) -> None:
        self.values = torch.ones(budgets, dtype=torch.float64)
        self.sigma = sigma
        self.max_multiplier = max_multiplier

    def force(self, excess: Tensor) -> Tensor:
        """dL/dc of each constraint."""
        return (self.values + self.sigma * excess).clamp(min=0)

    def penalty(self, excess: Tensor) -> Tensor:
        """The constraint's part of L."""
        return (self.force(excess) ** 2 - self.values**2) / (2 * self.sigma)

    def update(self, excess: Tensor) -> None:
        """After an outer iteration."""
        self.values = self.force(excess).clamp(max=self.max_multiplier)


class EqualityMultipliers(Multipliers):
    """Multipliers w of c_k = 0, of either sign (Nocedal & Wright, eq. 17.36).

        L_k = f_k + w_k c_k + (sigma / 2) c_k^2,     w_k <- clamp(w_k + sigma c_k, -w_max, w_max)

    Unused budget is penalised as much as exceeded budget.
    """

    def force(self, excess: Tensor) -> Tensor:
        """dL/dc."""
        return self.values + self.sigma * excess

    def update(self, excess: Tensor) -> None:
        """After an outer iteration."""
        self.values = self.force(excess).clamp(-self.max_multiplier, self.max_multiplier)


class SavedLoss:
    """Loss that one unit of compute saves at each budget: the scale s_k that makes w_k near 1.

    The least-squares estimate of the multiplier, - <grad f, grad u> / <grad u, grad u>, averaged
    over recent steps and neighbouring budgets: a single estimate is noisy, and the front is smooth.
    """

    def __init__(self, budgets: int) -> None:
        self.sum = torch.zeros(budgets, dtype=torch.float64)
        self.steps = 0

    def update(self, product: Tensor) -> None:
        """Take a step's inner products <grad f, grad u>, `[budgets]`, into the mean."""
        self.sum = SMOOTHING * self.sum - (1 - SMOOTHING) * product
        self.steps += 1

    def scale(self, square: Tensor) -> Tensor:
        """s_k given <grad u, grad u>, `[budgets]`; at least 2 % of the largest."""
        saved = self.sum / (1 - SMOOTHING**self.steps) / square
        padded = torch.cat([saved[:1], saved, saved[-1:]])
        smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
        return smooth.clamp(min=max(0.02 * float(smooth.max()), 1e-6))
