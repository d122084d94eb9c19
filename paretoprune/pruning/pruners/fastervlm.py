"""FasterVLM (arXiv 2412.01818, version 1): rank by the class token's attention."""

from __future__ import annotations

from torch import Tensor

from paretoprune.pruning.base import PruningContext, ScorePruner


class FasterVLM(ScorePruner):
    """Score = attention of the class token, mean over heads (section 3.2).

    The attention is that of the vision encoder's layer whose output the projector takes. It is the
    same for all decoder layers, so drops are nested.
    """

    name = "fastervlm"
    first_layer = 0
    needs = frozenset({"vision_encoder"})

    def score(self, context: PruningContext) -> Tensor:
        """Attention of the class token to each visual token, [B, V]."""
        return context.extra("class_attention")[..., 0]
