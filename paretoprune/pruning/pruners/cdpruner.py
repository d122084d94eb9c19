"""CDPruner (arXiv 2506.10967): a determinantal point process, conditioned on the question."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.pruning.base import DropCounts, PruningContext, ScorePruner
from paretoprune.pruning.context import pick
from paretoprune.pruning.similarity import unit

NOTHING_NEW = 1e-6
"""Share of the first token's gain below which a token adds nothing to the kept tokens."""


class CDPruner(ScorePruner):
    """Greedy MAP of a DPP with the kernel L_ij = r_i S_ij r_j (section 3.2, 3.3).

    S is the cosine similarity of visual tokens, r the relevance to the question scaled to 0..1 over
    the visual tokens. Each step keeps the token that raises log det L most (Chen et al., arXiv
    1709.05135, algorithm 1). Tokens that are spanned by the kept ones follow by relevance.

    Relevance is the mean cosine to the question's tokens in the decoder's embedding space, as the
    paper does for models without a text encoder; for LLaVA it asks CLIP's text tower, which LLaVA
    checkpoints do not hold.
    """

    name = "cdpruner"
    first_layer = 0
    needs = frozenset({"embeddings", "text"})

    def relevance(self, context: PruningContext) -> Tensor:
        """Relevance in 0..1 over each sample's kept visual tokens, [B, V]; 1 if all are equal."""
        index, is_valid = context.text
        text = pick(context.hidden, index).to(context.states.dtype)
        mean = (unit(text) * is_valid[..., None]).sum(1) / is_valid.sum(1, keepdim=True).clamp(
            min=1
        )
        raw = torch.bmm(unit(context.states), mean[..., None])[..., 0]
        low = raw.masked_fill(~context.keep_mask, torch.inf).amin(1, keepdim=True)
        high = raw.masked_fill(~context.keep_mask, -torch.inf).amax(1, keepdim=True)
        span = high - low
        return torch.where(span > 0, (raw - low) / span.clamp(min=1e-30), 1.0)

    def score(self, context: PruningContext) -> Tensor:
        """Minus the rank in the greedy order, [B, V]."""
        return greedy_map(self.relevance(context), unit(context.states), context.keep_mask)

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """Relevance, a row of S per step, and its projection on the rows before."""
        v, width = drop.visual, drop.spec.hidden
        return 2.0 * v * width + 2.0 * np.square(v) * width + np.square(v) * (v - 1)


def greedy_map(relevance: Tensor, states: Tensor, candidates: Tensor) -> Tensor:
    """Order in which greedy MAP takes the candidates, as a score 0, -1, ...: [B, V]; others -V.

    `relevance` [B, V], unit `states` [B, V, c], `candidates` bool [B, V].
    """
    batch, most = relevance.shape
    row = torch.arange(batch, device=states.device)
    counts = candidates.sum(1)
    gain = relevance.square()  # the diagonal of L; then its residual beyond the kept tokens
    tiny = NOTHING_NEW * gain.masked_fill(~candidates, 0.0).amax(1, keepdim=True)
    factors = states.new_zeros(batch, most, most)  # rows of the Cholesky factor, transposed
    score = torch.full_like(relevance, -float(most))
    left = candidates.clone()
    for step in range(int(counts.max()) if batch else 0):
        new = gain > tiny
        chance = torch.where(new, 1.0 + gain, relevance)
        j = chance.masked_fill(~left, -torch.inf).argmax(1)
        is_chosen = (step < counts)[:, None]
        index = j[:, None]
        score = score.scatter(
            1, index, torch.where(is_chosen, -float(step), score.gather(1, index).to(score.dtype))
        )
        left = left.scatter(1, index, False)
        similar = torch.bmm(states, states[row, j][..., None])[..., 0]
        kernel = relevance * relevance[row, j][:, None] * similar
        if step:
            known = factors[:, :step]
            kernel = kernel - torch.bmm(known[row, :, j][:, None], known)[:, 0]
        counted = new[row, j] & is_chosen[:, 0]
        scale = gain[row, j].clamp(min=torch.finfo(gain.dtype).tiny).rsqrt()
        factor = torch.where(counted[:, None], kernel * scale[:, None], 0.0)
        factors[:, step] = factor
        gain = gain - factor.square()
    return score
