"""A pruner that keeps what differs most from the average of the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.cost import DecoderSpec
from paretoprune.pruning.base import PruningContext, ScorePruner


class Unusual(ScorePruner):
    """Score = squared distance of a token's state from the mean over the picture's tokens."""

    name = "unusual"
    first_layer = 0  # it reads hidden states only, so it can act before the decoder
    needs = frozenset({"embeddings"})

    def score(self, context: PruningContext) -> Tensor:
        """Distance from the mean of the tokens that are present, [B, V]."""
        states = context.states  # [B, V, hidden]
        present = context.present[..., None].to(states.dtype)
        count = present.sum(1, keepdim=True).clamp(min=1)
        mean = (states * present).sum(1, keepdim=True) / count
        return (states - mean).square().sum(-1)

    def flops(
        self, spec: DecoderSpec, tokens: NDArray[np.int64], visual: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """An addition for the mean, and a difference, a square and a sum, per element."""
        return 4.0 * spec.hidden * np.asarray(visual, dtype=np.float64)
