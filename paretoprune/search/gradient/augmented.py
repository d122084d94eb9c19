"""The augmented Lagrangian of one inequality per knot, and the scale of a knot's loss."""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTHING = 0.9
"""Memory of the running mean of what compute saves, per gradient step."""


class Multipliers:
    """Multipliers w >= 0 of c_k <= 0 (Nocedal & Wright, *Numerical Optimization*, eq. 17.64).

        L_k = f_k + ( max(0, w_k + sigma c_k)^2 - w_k^2 ) / (2 sigma)
        w_k <- clamp(w_k + sigma c_k, 0, w_max)

    `values` float64 `[knots]`.
    """

    def __init__(self, knots: int, *, sigma: float, most: float) -> None:
        self.values = torch.ones(knots, dtype=torch.float64)
        self.sigma = sigma
        self.most = most

    def force(self, excess: Tensor) -> Tensor:
        """dL/dc: how hard each constraint pushes."""
        return (self.values + self.sigma * excess).clamp(min=0)

    def penalty(self, excess: Tensor) -> Tensor:
        """What the constraint adds to L."""
        return (self.force(excess) ** 2 - self.values**2) / (2 * self.sigma)

    def update(self, excess: Tensor) -> None:
        """After an outer iteration."""
        self.values = self.force(excess).clamp(max=self.most)


class EqualityMultipliers(Multipliers):
    """Multipliers w of c_k = 0, of either sign (Nocedal & Wright, eq. 17.36).

        L_k = f_k + w_k c_k + (sigma / 2) c_k^2,     w_k <- clamp(w_k + sigma c_k, -w_max, w_max)

    Compute that a budget leaves over is pulled in as hard as what exceeds it is pushed out.
    """

    def force(self, excess: Tensor) -> Tensor:
        """dL/dc."""
        return self.values + self.sigma * excess

    def update(self, excess: Tensor) -> None:
        """After an outer iteration."""
        self.values = self.force(excess).clamp(-self.most, self.most)


class SavedLoss:
    """What one unit of compute saves in loss, per knot: the scale s_k that makes w_k near 1.

    The least-squares estimate of the multiplier, - <grad f, grad u> / <grad u, grad u>, averaged
    over recent steps and neighbouring knots: noise can hide, or turn, what a single knot saves; the
    front has no such jumps.
    """

    def __init__(self, knots: int) -> None:
        self.sum = torch.zeros(knots, dtype=torch.float64)
        self.steps = 0

    def update(self, product: Tensor) -> None:
        """Take a step's inner products <grad f, grad u>, `[knots]`, into the mean."""
        self.sum = SMOOTHING * self.sum - (1 - SMOOTHING) * product
        self.steps += 1

    def scale(self, square: Tensor) -> Tensor:
        """s_k given <grad u, grad u>, `[knots]`; at least 2 % of the largest."""
        saved = self.sum / (1 - SMOOTHING**self.steps) / square
        padded = torch.cat([saved[:1], saved, saved[-1:]])
        smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
        return smooth.clamp(min=max(0.02 * float(smooth.max()), 1e-6))
