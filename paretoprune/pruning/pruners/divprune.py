"""DivPrune (arXiv 2503.02175): keep the tokens that differ most from each other."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.pruning.base import DropCounts, PruningContext, ScorePruner
from paretoprune.pruning.similarity import best_match, farthest_first, unit


class DivPrune(ScorePruner):
    """Greedy max-min diversity on cosine distances (section 3, algorithm 1).

    First the token whose nearest neighbour is farthest, then always the token whose nearest kept
    one is farthest. The score is the place in that order, so that one order serves every count. The
    paper drops before the decoder; in layers, hidden states take the place of embeddings.
    """

    name = "divprune"
    first_layer = 0
    needs = frozenset({"embeddings"})

    def score(self, context: PruningContext) -> Tensor:
        """Minus the rank in the greedy order, [B, V]."""
        states = unit(context.states)
        near, _ = best_match(states, states, context.keep_mask, not_itself=True)
        first = (-near).masked_fill(~context.keep_mask, -torch.inf).argmax(1)
        batch = torch.arange(len(states), device=states.device)

        def distance(index: Tensor) -> Tensor:
            return 1.0 - torch.bmm(states, states[batch, index][..., None])[..., 0]

        return farthest_first(first, context.keep_mask, distance)

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """All pairs once for the first token, and once more, row by row, for the others."""
        return 4.0 * drop.spec.hidden * np.square(drop.visual)
