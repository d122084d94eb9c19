"""FastV (arXiv 2403.06764): keep the tokens that the last prompt token attends to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.cost import attention_query_flops
from paretoprune.pruning.base import DropCounts, PruningContext, ScorePruner


class FastV(ScorePruner):
    """Score = attention of the last prompt token in the layer before, mean over heads (eq. 1).

    In schedules with several drops the scores are taken anew at each of them.
    """

    name = "fastv"
    first_layer = 1
    needs = frozenset({"query"})

    def score(self, context: PruningContext) -> Tensor:
        """Head-mean attention to each visual token, [B, V]."""
        return context.of_visual(context.prompt_attention.mean(1))

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """One query against all tokens' keys."""
        return attention_query_flops(drop.spec, drop.tokens)
