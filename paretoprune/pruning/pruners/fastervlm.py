"""FasterVLM (arXiv 2412.01818, version 1): keep what the vision tower's class token attends to."""

from __future__ import annotations

from torch import Tensor

from paretoprune.pruning.base import PruningContext, ScorePruner


class FasterVLM(ScorePruner):
    """Score = attention of the class token, mean over heads (section 3.2).

    It is that of the tower's layer whose output the projector takes, and does not change from layer
    to layer, so drops are nested.
    """

    name = "fastervlm"
    first_layer = 0
    needs = frozenset({"tower"})

    def score(self, context: PruningContext) -> Tensor:
        """Attention of the class token to each visual token, [B, V]."""
        return context.extra("class_attention")[..., 0]
