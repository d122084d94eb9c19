"""What choosing tokens costs over a whole keep schedule, beside the decoder's own layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paretoprune.cost import DecoderSpec
from paretoprune.pruning.base import Pruner


def choosing_flops(
    pruner: Pruner,
    spec: DecoderSpec,
    text: NDArray[np.int64],
    visual: NDArray[np.int64],
    kept: NDArray[np.int64],
) -> NDArray[np.float64]:
    """FLOPs of all drops, float64 [samples]; `kept` [layers, samples] of `visual` tokens [samples].

    A drop to no token at all ranks nothing. What is spent at the decoder's entry is counted once,
    for samples that drop some tokens somewhere.
    """
    total = np.zeros(len(visual))
    asked = np.zeros(len(visual), dtype=bool)
    before = visual
    for layer, now in enumerate(kept):
        ranked = (now < before) & (now > 0)
        total += np.where(ranked, pruner.drop_flops(spec, layer, text + before, before, now), 0.0)
        asked |= ranked
        before = now
    return total + np.where(asked, pruner.entry_flops(spec, text + visual, visual), 0.0)
