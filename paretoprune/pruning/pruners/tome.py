"""ToMe (arXiv 2210.09461): merge the most similar tokens by bipartite soft matching."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.cost import merging_flops
from paretoprune.pruning.base import DropCounts, PruningContext, RowPruner
from paretoprune.pruning.merging import matching_cost, merged


class ToMe(RowPruner):
    """Tokens are dealt into two sets by turns; the most similar pairs across become one token.

    Section 3, "Bipartite Soft Matching": one edge from each token of A to its most similar one in
    B, the r most similar edges stay, their ends merge into a mean weighted by size, A's others and
    B are joined again. A round takes at most half, so several may follow each other. Similarity is
    the cosine of hidden states ("X" in table 1a): before the decoder there are no keys. A merged
    token stands at its B token's place; sizes do not enter the decoder's attention.
    """

    name = "tome"
    first_layer = 0
    needs = frozenset({"embeddings"})
    merges = True

    def select_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Tokens that are left, each the mean of those merged into it."""
        return merged(one.states[0], n)

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """Half against half, each round, and merging."""
        return merging_flops(drop.spec, drop.visual, drop.kept_counts) + matching_cost(drop)
