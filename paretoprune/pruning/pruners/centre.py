"""A control that looks at no token: the middle of the picture."""

from __future__ import annotations

from torch import Tensor

from paretoprune.pruning.base import PruningContext, ScorePruner


class Centre(ScorePruner):
    """The middle of each picture: tokens within the smallest crop around it."""

    name = "centre"
    first_layer = 0
    needs = frozenset({"grid"})

    def score(self, context: PruningContext) -> Tensor:
        """Minus the distance from the middle, [B, V]: 0 there, -1/2 at the edge."""
        return centred(context)


def centred(context: PruningContext) -> Tensor:
    """Minus the larger of the distances from the middle row and column, float64 [B, V]."""
    away = (context.extra("grid")[..., 1:].double() - 0.5).abs().amax(-1)
    return -(away * 1e6).round() / 1e6
