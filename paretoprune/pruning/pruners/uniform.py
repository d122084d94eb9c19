"""A control that looks at no token: a grid that is spread evenly over the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from paretoprune.pruning.base import PruningContext, ScorePruner
from paretoprune.pruning.pruners.centre import centred
from paretoprune.pruning.similarity import farthest_first

ELSEWHERE = 10.0
"""Distance of two pictures, in picture sides: every picture gets a token before one gets two."""


class Uniform(ScorePruner):
    """Tokens spread evenly over each picture: from its middle, always the farthest from all kept.

    Farthest-point order, so that any count is spread and drops are nested.
    """

    name = "uniform"
    first_layer = 0
    needs = frozenset({"grid"})

    def score(self, context: PruningContext) -> Tensor:
        """Minus the rank in farthest-point order, [B, V]."""
        place = context.extra("grid").double()  # equal distances must tie in every precision
        batch = torch.arange(len(place), device=place.device)
        first = centred(context).masked_fill(~context.keep_mask, -torch.inf).argmax(1)

        def distance(index: Tensor) -> Tensor:
            gap = place - place[batch, index][:, None]
            apart = gap[..., 0].abs() > 0.5
            squared = gap[..., 1:].square().sum(-1) + ELSEWHERE**2 * apart
            return (squared * 1e9).round()  # cells that are equally far are so exactly

        return farthest_first(first, context.keep_mask, distance)
