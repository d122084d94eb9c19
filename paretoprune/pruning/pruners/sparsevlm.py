"""SparseVLM (arXiv 2410.04417): words that see the picture vote; dropped tokens are recycled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.space import Categorical, Float, Int
from paretoprune.cost import attention_query_flops, merging_flops
from paretoprune.pruning.base import (
    DropCounts,
    PruningContext,
    RowPruner,
    by_pair,
    setting,
    with_others,
)
from paretoprune.pruning.context import pick


@dataclass(eq=False)
class SparseVLM(RowPruner):
    """Score = attention of the raters in the layer before, mean over heads and raters.

    Raters (section 3.2): question tokens to which visual tokens are related beyond the mean, in
    softmax(H_v H_q^T) of the decoder's input, averaged over visual tokens. Recycling (section 3.4):
    the best of the dropped tokens are clustered by density peaks, and each cluster becomes a token
    that counts as kept; it stands at its centre. A cluster is the mean of its tokens, as in the
    released code, or their sum, as the paper writes it. How many stay is the schedule's.

    `recycled` is the share of the dropped tokens that is recycled (tau), `per_cluster` how many of
    them share a cluster (1 / theta).
    """

    name = "sparsevlm"
    first_layer = 1
    needs = frozenset({"text", "embeddings"})
    merges = True
    cluster: str = setting("mean", Categorical("cluster", ("mean", "sum")))
    recycled: float = setting(
        0.3, Float("recycled", 0.0, 1.0, step=0.1, unit="share of dropped tokens")
    )
    per_cluster: int = setting(10, Int("per_cluster", 1, 32, unit="recycled tokens"))

    def save(self, context: PruningContext) -> dict[str, Tensor]:
        """Mask of the rater tokens: 1 or 0, [B, T, 1]."""
        index, is_valid = context.text
        text = pick(context.hidden, index).to(context.states.dtype)
        related = torch.bmm(context.states, text.transpose(1, 2))
        related = related.masked_fill(~is_valid[:, None], torch.finfo(related.dtype).min).softmax(
            -1
        )
        seen = context.present[..., None]
        mean = (related * seen).sum(1) / seen.sum(1).clamp(min=1)  # [B, R]
        rater = (mean > 1.0 / is_valid.sum(1, keepdim=True).clamp(min=1)) & is_valid
        rater = torch.where(
            rater.any(1, keepdim=True), rater, is_valid
        )  # one word cannot be beyond
        flags = torch.zeros_like(context.origin, dtype=text.dtype).scatter(1, index, rater.to(text))
        return {"raters": flags[..., None]}

    def select_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Kept tokens by score, then the centres of clusters."""
        order = self.score(one)[0].argsort(descending=True, stable=True)
        states = one.states[0]
        kept, clusters = self.split(n, len(order))
        recycled = order[kept : kept + self.recycled_of(len(order) - kept)]
        centres, member = density_peaks(states[recycled], clusters)
        weights = states.new_zeros(n, len(order))
        weights[torch.arange(kept, device=order.device), order[:kept]] = 1.0
        size = torch.bincount(member, minlength=clusters)[member].to(states.dtype)
        weights[kept + member, recycled] = (
            torch.ones_like(size) if self.cluster == "sum" else 1.0 / size
        )
        return with_others(torch.cat([order[:kept], recycled[centres]]), order), weights

    def score(self, context: PruningContext) -> Tensor:
        """Attention of the raters to each visual token, [B, V]."""
        index, is_valid = context.text
        raters = context.extras["raters"][..., 0].gather(1, index) * is_valid
        total = torch.zeros_like(context.visual, dtype=context.states.dtype)
        for part, weights in context.attention_blocks(index):
            rated = weights.mean(1).to(total.dtype) * raters[:, part, None]
            total = total + context.of_visual(rated.sum(1))
        return total / raters.sum(1, keepdim=True).clamp(min=1)

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """A query per text token, all counted as the question's; merging; distances to cluster."""
        spec = drop.spec

        def distances(v: int, n: int) -> float:
            return 2.0 * spec.hidden * self.recycled_of(v - self.split(n, v)[0]) ** 2

        text = drop.tokens - drop.visual
        asking = text * attention_query_flops(spec, drop.tokens)
        merging = merging_flops(spec, drop.visual, drop.kept_counts)
        return asking + merging + by_pair(distances, drop)

    def recycled_of(self, dropped: int) -> int:
        """Number of `dropped` tokens to recycle: the released code's rounding, at most all."""
        return min(dropped, int(dropped * self.recycled) + 1)

    def split(self, n: int, visual: int) -> tuple[int, int]:
        """Tokens kept as they are, and clusters, which together are n of `visual`, 0 < n < visual.

        Clusters follow from what is dropped, so the most is kept that leaves room for them.
        """
        for kept in range(n - 1, -1, -1):
            recycled = self.recycled_of(visual - kept)
            clusters = min(recycled, int(recycled / self.per_cluster) + 1)
            if kept + clusters <= n:
                return kept, n - kept
        return 0, n

    def entry_cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """Every visual token against every text token, once."""
        text = drop.tokens - drop.visual
        return np.asarray(2.0 * drop.spec.hidden * text * drop.visual)


def density_peaks(states: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Cluster tokens [N, c]: centres int64 [clusters] among the N, and each one's cluster [N].

    DPC-KNN: density from the `clusters` nearest tokens, times the distance to the nearest denser
    one; the largest products are centres, the others join the nearest centre.
    """
    squared = states.square().sum(1)
    products = torch.mm(states, states.T)
    gap = (squared[:, None] + squared[None] - 2 * products).clamp(min=0).fill_diagonal_(0.0)
    gap = (gap / states.shape[1]).sqrt()
    near = gap.topk(min(clusters, len(states)), largest=False).values
    density = (-near.square().mean(1)).exp()
    index = torch.arange(len(states), device=states.device)
    denser = density[None] > density[:, None]
    denser |= (density[None] == density[:, None]) & (index[None] < index[:, None])
    away = torch.where(denser, gap, gap.max()).amin(1)
    centres = (away * density).argsort(descending=True, stable=True)[:clusters]
    member = gap[:, centres].argmin(1)
    member[centres] = torch.arange(len(centres), device=states.device)
    return centres, member
