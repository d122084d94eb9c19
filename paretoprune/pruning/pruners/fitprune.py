"""FitPrune (arXiv 2409.10197): keep tokens that both picture and question attend to."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.cost import attention_query_flops
from paretoprune.pruning.base import DropCounts, PruningContext, ScorePruner


class FitPrune(ScorePruner):
    """Score = visual self-attention times text cross-attention, both received, in the layer before.

    Weights are the maximum over heads, then the mean over visual queries and over those of the
    question (section "Method", the order in which the recipe's tokens are removed). How many leave
    at each layer is the recipe's own part, and the schedule's here. Queries run in blocks, so the
    attention matrix never exists; every query is paid for.
    """

    name = "fitprune"
    first_layer = 1
    needs = frozenset({"attention", "text"})

    def score(self, context: PruningContext) -> Tensor:
        """Product of the two received attentions, [B, V]."""
        text, is_valid = context.text
        within = self.received(context, context.visual, context.keep_mask)
        return within * self.received(context, text, is_valid)

    def received(self, context: PruningContext, asked: Tensor, is_valid: Tensor) -> Tensor:
        """Head-max attention that visual tokens get from `asked` [B, Q], mean over `is_valid`."""
        total = torch.zeros_like(context.visual, dtype=context.states.dtype)
        for part, weights in context.attention_blocks(asked):
            most = weights.amax(1).to(total.dtype) * is_valid[:, part, None]
            total = total + context.of_visual(most.sum(1))
        return total / is_valid.sum(1, keepdim=True).clamp(min=1)

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """A query per token, all text counted as the question's."""
        return drop.tokens * attention_query_flops(drop.spec, drop.tokens)
