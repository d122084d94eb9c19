"""How far a gradient search is: its step budget in rounds, and the best iterates so far."""

from __future__ import annotations

import torch
from torch import Tensor

MERIT_MEMORY = 0.5
"""Memory of the running mean that iterates are compared by, per outer iteration."""


class Rounds:
    """The cost of gradient steps, cut into `restarts` + 1 equal rounds.

    Each round starts from the best iterate so far, with the first step size. Iterates are averaged
    over the last `average_share` of the whole, but over the last round at most.
    """

    def __init__(self, total: float, restarts: int, average_share: float) -> None:
        self.total = max(total, 1e-9)
        self.count = restarts + 1
        self.average_from = max(1 - average_share, restarts / self.count)
        self.spent = 0.0
        self.restarted = 0

    @property
    def progress(self) -> float:
        """Share of the step budget that is spent, 0..1."""
        return min(1.0, self.spent / self.total)

    @property
    def progress_of_round(self) -> float:
        """Share of this round's step budget that is spent, 0..1."""
        return min(1.0, max(0.0, self.progress * self.count - self.restarted))

    @property
    def averaging(self) -> bool:
        """Whether iterates are being averaged."""
        return self.progress >= self.average_from

    def spend(self, cost: float) -> bool:
        """Pay for a step; true if a new round begins with the next."""
        self.spent += cost
        if self.restarted < min(int(self.progress * self.count), self.count - 1):
            self.restarted += 1
            return True
        return False


class BestIterates:
    """Per knot, the iterate of lowest augmented Lagrangian, averaged so that luck counts less."""

    def __init__(self, x: Tensor) -> None:
        self.x = x.clone()
        self.merit = torch.full((len(x), 2), torch.inf, dtype=torch.float64)
        """Per knot: the best merit, and the running mean of merits."""

    def update(self, x: Tensor, merit: Tensor) -> None:
        """Compare iterates x `[knots, n]` of this merit `[knots]` with the best ones."""
        before = torch.where(self.merit[:, 1].isinf(), merit, self.merit[:, 1])
        running = MERIT_MEMORY * before + (1 - MERIT_MEMORY) * merit
        better = running < self.merit[:, 0]
        self.merit = torch.stack([torch.where(better, running, self.merit[:, 0]), running], 1)
        self.x = torch.where(better[:, None], x, self.x)
