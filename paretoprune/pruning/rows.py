"""Pruners that treat one sample at a time, because their best n are no part of their best n + 1."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.pruning.base import Pruner, PruningContext, Selection


class RowPruner(Pruner):
    """A pruner that says, for one sample and one n, which tokens stay and what they take up.

    It has no soft form, so gradient strategies cannot search it.
    """

    @abstractmethod
    def choose_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Choose n of V visual tokens, 0 < n < V: int64 [n], and weights [n, V] if it merges.

        `one` holds a single sample (B = 1) and only visual tokens that it has. Behind the n chosen
        ones may follow others, best first: a picture that would be left with none gets the best of
        its own.
        """

    def select(self, context: PruningContext, n: int) -> Selection:
        """The same n for every sample; those that have fewer keep what they have."""
        return self.choose(context, torch.full_like(context.query, n))

    def choose(self, context: PruningContext, counts: Tensor) -> Selection:
        """Row by row; behind a sample's own choice its other tokens fill up, absent ones last."""
        batch, width = context.visual.shape
        most = int(counts.max())
        order = torch.zeros(batch, width, dtype=torch.int64, device=counts.device)
        weights = context.states.new_zeros(batch, most, width) if self.merges else None
        merging = False
        has = context.present.sum(1)
        for row in range(batch):
            n = min(int(counts[row]), int(has[row]))
            chosen, mixed = torch.arange(n, device=counts.device), None
            if 0 < n < int(has[row]):
                chosen, mixed = self.choose_row(context.one(row), n)
            others = torch.ones(width, dtype=torch.bool, device=counts.device)
            others[chosen] = False
            order[row] = torch.cat([chosen, others.nonzero()[:, 0]])
            if weights is not None:
                weights[row].scatter_(1, order[row, :most, None], 1.0)
                if mixed is not None:
                    merging = True
                    weights[row, :n] = 0.0
                    weights[row, :n, : mixed.shape[1]] = mixed
        return Selection(order[:, :most], weights if merging else None, order)


def with_others(chosen: Tensor, order: Tensor) -> Tensor:
    """The chosen tokens int64 [n], and behind them the others of an order int64 [V]."""
    return torch.cat([chosen, order[~torch.isin(order, chosen)]])


def by_pair(
    cost: Callable[[int, int], float], visual: NDArray[np.int64], kept: NDArray[np.int64]
) -> NDArray[np.float64]:
    """`cost(visual, kept)` of each entry, float64 `[...]`; equal pairs are asked once.

    0 where nothing is chosen: no token kept, or every one.
    """
    pairs = np.stack([np.ravel(visual), np.ravel(kept)], 1)
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    costs = [cost(v, n) if 0 < n < v else 0.0 for v, n in distinct.tolist()]
    return np.asarray(costs)[which.reshape(-1)].reshape(np.shape(visual))
