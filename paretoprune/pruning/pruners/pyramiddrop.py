"""PyramidDrop (arXiv 2410.17247): rank by the layer at which tokens are dropped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.cost import attention_query_flops
from paretoprune.pruning.base import DropCounts, PruningContext, ScorePruner


class PyramidDrop(ScorePruner):
    """Score = attention of the last instruction token at the layer the drop stands before.

    Section 3.2: at each stage's end, that token's query meets the visual tokens' keys, both of the
    first layer behind the drop; mean over heads. The keys are computed once more there, which is
    counted. How many stay, and where, is the schedule's: the paper keeps half at each of 3 layers.
    """

    name = "pyramiddrop"
    first_layer = 0
    needs = frozenset({"query"})

    def score(self, context: PruningContext) -> Tensor:
        """Head-mean attention to each visual token, [B, V]."""
        return context.of_visual(context.coming_attention.mean(1))

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """Keys of all tokens, and one query against them."""
        spec = drop.spec
        keys = 2.0 * drop.tokens * spec.hidden
        return attention_query_flops(spec, drop.tokens) + keys * spec.kv_heads * spec.head_dim
