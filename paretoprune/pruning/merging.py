"""Merging: rounds of bipartite matching that pruners share, and a record of merged tokens."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.pruning.base import DropCounts, Pruner, PruningContext, Selection, by_pair
from paretoprune.pruning.similarity import best_match, unit

AnyPruner = TypeVar("AnyPruner", bound=Pruner)


def merged(
    states: Tensor, n: int, *, weighted: bool = True, in_order: bool = True
) -> tuple[Tensor, Tensor]:
    """Merge tokens [V, c] to n: positions int64 [V], and weights [n, V] of the tokens in each mean.

    The first n positions are those of the tokens that are left; behind them stand those that were
    merged, the latest and least similar first.

    Unless `weighted`, a round takes the plain mean of merged tokens. A's unmerged tokens stay in
    order, or else go from most to least similar.
    """
    place = torch.arange(len(states), device=states.device)
    weights = torch.eye(len(states), dtype=states.dtype, device=states.device)
    size = states.new_ones(len(states))
    left = place[:0]
    while len(place) > n:
        gone = min(len(place) - n, len(place) // 2)
        ways = unit(states)[None]
        similar, match = best_match(ways[:, ::2], ways[:, 1::2])
        edges = similar[0].argsort(descending=True, stable=True)
        source, rest = edges[:gone], edges[gone:]
        rest = rest.sort().values if in_order else rest
        target = match[0, source]

        def joined(
            x: Tensor, source: Tensor = source, target: Tensor = target, rest: Tensor = rest
        ) -> Tensor:
            first, second = x[::2], x[1::2].clone()
            return torch.cat([first[rest], second.index_add(0, target, first[source])])

        if not weighted:
            size = torch.ones_like(size)
        total = joined(size)
        states = joined(states * size[:, None]) / total[:, None]
        weights = joined(weights * size[:, None]) / total[:, None]
        left = torch.cat([place[::2][source].flip(0), left])
        place = torch.cat([place[::2][rest], place[1::2]])
        size = total
    return torch.cat([place, left]), weights


def matching_cost(drop: DropCounts) -> NDArray[np.float64]:
    """FLOPs of the similarities of all rounds of `merged`, per sample `[...]`."""

    def matching(left: int, n: int) -> float:
        total = 0.0
        while left > n:
            total += 2.0 * drop.spec.hidden * (left - left // 2) * (left // 2)
            left -= min(left - n, left // 2)
        return total

    return by_pair(matching, drop)


@dataclass(frozen=True)
class Merge:
    """Tokens of a batch's first sample that were merged before layer `layer`.

    `source` int64 [M] are original positions of tokens that left, `target` [M] those of the kept
    tokens that took up most of each.
    """

    layer: int
    source: Tensor
    target: Tensor


def watched(pruner: AnyPruner, noted: list[Merge]) -> AnyPruner:
    """The same pruner, which also appends its merges to `noted`; `pruner` is not changed."""
    kind = type(pruner)
    twin = copy.copy(pruner)

    def select(self: AnyPruner, context: PruningContext, counts: Tensor) -> Selection:
        selection = kind.select(self, context, counts)
        if selection.weights is not None:
            noted.append(_merge(context, selection, int(counts[0])))
        return selection

    twin.__class__ = type(f"Watched{kind.__name__}", (kind,), {"select": select})
    return twin


def _merge(context: PruningContext, selection: Selection, kept: int) -> Merge:
    """The kept token that each other token was merged into, by the largest weight."""
    assert selection.weights is not None
    indices, weights = selection.indices[0, :kept], selection.weights[0, :kept]
    leaves = context.present[0].clone()
    leaves[indices] = False
    largest, row = weights.max(0)
    source = (leaves & (largest > 0)).nonzero()[:, 0]
    origin = context.origin[0, context.visual[0]]
    return Merge(context.layer, origin[source], origin[indices[row[source]]])
