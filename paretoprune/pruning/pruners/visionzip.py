"""VisionZip (arXiv 2412.04467): dominant tokens stay, the others merge into contextual ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.space import Float
from paretoprune.cost import DecoderSpec
from paretoprune.pruning.base import PruningContext
from paretoprune.pruning.pruners.similarity import best_match, unit
from paretoprune.pruning.rows import RowPruner, with_others


class VisionZip(RowPruner):
    """Dominant tokens by class attention; contextual ones at even steps among the others.

    Section 3.2 and algorithm 1: every other token joins the contextual one with the most similar
    key of the tower's layer (head-mean); that one becomes itself plus the mean of those that
    joined. `contextual` is their share: 10 of 64 in the paper. The paper merges before the
    projector, this behind it. The class token, which the paper keeps as well, is in no prompt.
    """

    name = "visionzip"
    first_layer = 0
    needs = frozenset({"tower"})
    merges = True
    knobs = (Float("contextual", 0.0, 1.0, step=1 / 32, unit="share of kept tokens"),)

    def __init__(self, contextual: float = 10 / 64) -> None:
        self.contextual = self.knobs[0].inside(contextual)

    def choose_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Dominant tokens, then contextual ones with what joined them."""
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
            keys = unit(one.extra("tower_keys"))
            _, joined = best_match(keys[:, others], keys[:, targets])
            counts = torch.bincount(joined[0], minlength=contextual)[joined[0]]
            weights[n - contextual + joined[0], others] = 1.0 / counts.to(weights.dtype)
        return with_others(chosen, order), weights

    def _contextual(self, n: NDArray[np.int64] | int) -> NDArray[np.int64]:
        """Contextual tokens of n kept ones, halves up."""
        return np.floor(np.asarray(n) * self.contextual + 0.5).astype(np.int64)

    def drop_flops(
        self,
        spec: DecoderSpec,
        layer: int,
        tokens: NDArray[np.int64],
        visual: NDArray[np.int64],
        kept: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Keys of those that go against keys of the contextual ones, and merging."""
        pairs = (np.asarray(visual) - kept) * self._contextual(kept)
        merging = super().drop_flops(spec, layer, tokens, visual, kept)
        return merging + 2.0 * spec.class_key * pairs

    def entry_flops(
        self, spec: DecoderSpec, tokens: NDArray[np.int64], visual: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The tower's layer asked once."""
        return spec.class_query * np.asarray(visual, dtype=np.float64)
