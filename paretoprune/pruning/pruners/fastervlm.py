"""FasterVLM (arXiv 2412.01818, version 1): keep what the vision tower's class token attends to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.cost import DecoderSpec
from paretoprune.pruning.base import PruningContext, ScorePruner


class FasterVLM(ScorePruner):
    """Score = attention of the class token, mean over heads (section 3.2).

    It is that of the tower's layer whose output the projector takes, and does not change from layer
    to layer, so drops are nested.
    """

    name = "fastervlm"
    first_layer = 0
    needs = frozenset({"tower"})

    def score(self, context: PruningContext) -> Tensor:
        """Attention of the class token to each visual token, [B, V]."""
        return context.extra("class_attention")[..., 0]

    def entry_flops(
        self, spec: DecoderSpec, tokens: NDArray[np.int64], visual: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The tower's layer asked once."""
        return spec.class_query * np.asarray(visual, dtype=np.float64)
