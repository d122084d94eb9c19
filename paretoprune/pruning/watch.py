"""Notes what a merging pruner merges into what, while the pruned decoder runs as ever."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from paretoprune.pruning.base import Pruner, PruningContext, Selection

AnyPruner = TypeVar("AnyPruner", bound=Pruner)


@dataclass(frozen=True)
class Merge:
    """Tokens of a batch's first sample that were merged before layer `layer`.

    `source` int64 [M] are original places of tokens that left, `target` [M] those of the kept
    tokens that took up most of each.
    """

    layer: int
    source: Tensor
    target: Tensor


def watched(pruner: AnyPruner, noted: list[Merge]) -> AnyPruner:
    """The same pruner, which also appends to `noted` what it merges; `pruner` is not changed."""
    kind = type(pruner)
    twin = copy.copy(pruner)

    def choose(self: AnyPruner, context: PruningContext, counts: Tensor) -> Selection:
        selection = kind.choose(self, context, counts)
        if selection.weights is not None:
            noted.append(_merge(context, selection, int(counts[0])))
        return selection

    twin.__class__ = type(f"Watched{kind.__name__}", (kind,), {"choose": choose})
    return twin


def _merge(context: PruningContext, selection: Selection, kept: int) -> Merge:
    """What went into what, by the largest weight."""
    assert selection.weights is not None
    indices, weights = selection.indices[0, :kept], selection.weights[0, :kept]
    leaves = context.present[0].clone()
    leaves[indices] = False
    largest, row = weights.max(0)
    source = (leaves & (largest > 0)).nonzero()[:, 0]
    origin = context.origin[0, context.visual[0]]
    return Merge(context.layer, origin[source], origin[indices[row[source]]])
