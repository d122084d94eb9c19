"""A pruner that keeps what differs most from the average of the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.pruning.base import DropCounts, PruningContext, ScorePruner


class Unusual(ScorePruner):
    """Score = squared distance of a token's state from the mean over the picture's tokens."""

    name = "unusual"
    first_layer = 0  # it reads hidden states only, so it can act before the decoder
    needs = frozenset({"embeddings"})

    def score(self, context: PruningContext) -> Tensor:
        """Distance from the mean of the tokens that are present, [B, V]."""
        states = context.states  # [B, V, hidden]
        present = context.present[..., None].to(states.dtype)
        count = present.sum(1, keepdim=True).clamp(min=1)
        mean = (states * present).sum(1, keepdim=True) / count
        return (states - mean).square().sum(-1)

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """An addition for the mean, and a difference, a square and a sum, per element."""
        return 4.0 * drop.spec.hidden * np.asarray(drop.visual, dtype=np.float64)
