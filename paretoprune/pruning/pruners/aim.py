"""AIM (arXiv 2412.03248): merge alike tokens before the decoder, then prune by PageRank in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.space import Float, Int
from paretoprune.cost import attention_query_flops, merging_flops
from paretoprune.pruning.base import DropCounts, PruningContext, RowPruner, setting
from paretoprune.pruning.merging import matching_cost, merged


@dataclass(eq=False)
class AIM(RowPruner):
    """Before layer 0 it merges; before any other layer it keeps the tokens of highest PageRank.

    Merging (section 3.2): bipartite matching of embeddings, plain means, rounds of half at most.
    Pruning (section 3.3): the prompt's tokens are a graph whose edges are attention in the layer
    before, per head; rank starts even and flows from each token to those it attends to. Heads are
    joined by their root mean square. The paper's linear decay over layers is a schedule. Attention
    is computed anew in blocks for each iteration, so its matrix never exists, and paid for.

    `temperature` says how sharp the attention graph is, `iterations` how often rank flows along it;
    the defaults are those of the released code.
    """

    name = "aim"
    first_layer = 0
    needs = frozenset({"embeddings", "attention", "text"})
    merges = True
    temperature: float = setting(0.1, Float("temperature", 0.05, 1.0, step=0.05))
    iterations: int = setting(5, Int("iterations", 1, 16))

    def select_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Merged tokens at layer 0; elsewhere the best ranked, as they are."""
        if one.layer == 0:
            return merged(one.states[0], n, weighted=False, in_order=False)
        order = self.score(one)[0].argsort(descending=True, stable=True)
        return order, None

    def score(self, one: PruningContext) -> Tensor:
        """PageRank of each visual token of one sample, [1, V]."""
        index = torch.arange(one.hidden.shape[1], device=one.hidden.device)
        nodes = (one.active[0] & (index <= one.query[0])).nonzero()[:, 0][None]
        heads = one.adapter.spec.heads
        rank = one.states.new_full((1, heads, nodes.shape[1]), 1.0 / nodes.shape[1])
        for _ in range(self.iterations):
            flow = rank.new_zeros(1, heads, len(index))
            for part, weights in one.attention_blocks(nodes, temperature=self.temperature):
                flow += torch.matmul(rank[:, :, None, part], weights.to(rank.dtype))[:, :, 0]
            rank = flow[:, :, nodes[0]]
        joint = torch.zeros_like(flow[:, 0]).scatter(1, nodes, rank.square().mean(1).sqrt())
        return one.of_visual(joint)

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """Matching and merging at layer 0; elsewhere all queries and one product per iteration."""
        if drop.layer == 0:
            return merging_flops(drop.spec, drop.visual, drop.kept_counts) + matching_cost(drop)
        asking = drop.tokens * attention_query_flops(drop.spec, drop.tokens)
        return self.iterations * (asking + 2.0 * drop.spec.heads * np.square(drop.tokens))
