"""VisionZip (arXiv 2412.04467): dominant tokens stay, the others merge into contextual ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.space import Float
from paretoprune.cost import merging_flops
from paretoprune.pruning.base import DropCounts, PruningContext, RowPruner, setting, with_others
from paretoprune.pruning.similarity import best_match, unit


@dataclass(eq=False)
class VisionZip(RowPruner):
    """Dominant tokens by class attention; contextual ones at even steps among the others.

    Section 3.2 and algorithm 1: every other token joins the contextual one with the most similar
    key of the vision encoder's layer (head-mean). A contextual token becomes itself plus the mean
    of the tokens that joined it. `contextual` is their share: 10 of 64 in the paper. The paper
    merges before the projector, this behind it. The class token, which the paper keeps as well, is
    in no prompt.
    """

    name = "visionzip"
    first_layer = 0
    needs = frozenset({"vision_encoder"})
    merges = True
    contextual: float = setting(
        10 / 64, Float("contextual", 0.0, 1.0, step=1 / 32, unit="share of kept tokens")
    )

    def select_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Dominant tokens, then contextual ones with their merge weights."""
        attention = one.extra("class_attention")[0, :, 0]
        contextual = int(self._contextual(n))
        order = attention.argsort(descending=True, stable=True)
        dominant = order[: n - contextual]
        left = order[n - contextual :].sort().values
        step = max(1, len(left) // max(1, contextual))
        is_target = torch.zeros(len(left), dtype=torch.bool, device=left.device)
        is_target[torch.arange(contextual, device=left.device) * step] = True
        targets, others = left[is_target], left[~is_target]
        chosen = torch.cat([dominant, targets])
        weights = one.states.new_zeros(n, len(attention))
        weights[torch.arange(n, device=left.device), chosen] = 1.0
        if contextual:
            keys = unit(one.extra("vision_keys"))
            _, joined = best_match(keys[:, others], keys[:, targets])
            counts = torch.bincount(joined[0], minlength=contextual)[joined[0]]
            weights[n - contextual + joined[0], others] = 1.0 / counts.to(weights.dtype)
        return with_others(chosen, order), weights

    def _contextual(self, n: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Contextual tokens of n kept ones, halves up."""
        return np.floor(np.asarray(n) * self.contextual + 0.5).astype(np.int64)

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """Products of the other tokens' keys with the contextual ones', and merging."""
        pairs = (drop.visual - drop.kept_counts) * self._contextual(drop.kept_counts)
        merging = merging_flops(drop.spec, drop.visual, drop.kept_counts)
        return merging + 2.0 * drop.spec.class_key * pairs
