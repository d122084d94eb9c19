"""DART (arXiv 2502.11494): keep what duplicates a few pivot tokens least."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.space import Int
from paretoprune.cost import DecoderSpec
from paretoprune.pruning.base import PruningContext
from paretoprune.pruning.pruners.similarity import unit
from paretoprune.pruning.rows import RowPruner, with_others


class DART(RowPruner):
    """Pivots are the visual and text tokens with the largest keys; each keeps what is unlike it.

    Section 4: pivots by the L1 norm of their keys in the layer before; then, pivot by pivot, the
    visual tokens of least cosine similarity to it that are still free, equally many for each (the
    first pivots take one more where it does not divide). Visual pivots stay and count.
    """

    name = "dart"
    first_layer = 1
    needs = frozenset({"keys", "embeddings", "text"})
    knobs = (Int("visual_pivots", 1, 64), Int("text_pivots", 0, 64))

    def __init__(self, visual_pivots: int = 4, text_pivots: int = 4) -> None:
        self.visual_pivots = self.knobs[0].inside(visual_pivots)
        self.text_pivots = self.knobs[1].inside(text_pivots)

    def choose_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Visual pivots, then each pivot's share; of the others, the largest keys come first."""
        if one.keys is None:
            raise ValueError("layer 0 has no keys before it; declare first_layer = 1")
        size = one.keys[0].abs().sum((0, 2))
        pivots = _largest(size, one.visual[0], min(self.visual_pivots, n))
        text, there = one.text
        asked = _largest(size, text[0][there[0]], self.text_pivots)
        states = unit(one.states[0])
        text_states = unit(one.hidden[0][text[0][there[0]][asked]].to(states.dtype))
        chosen = pivots
        every = torch.cat([states[pivots], text_states])
        base, more = divmod(n - len(pivots), len(every))
        alike = torch.mm(every, states.T).detach()  # [pivots, V]; written into below
        for number, similar in enumerate(alike):
            similar[chosen] = torch.inf
            share = base + (number < more)
            chosen = torch.cat([chosen, similar.argsort(stable=True)[:share]])
        return with_others(chosen, _largest(size, one.visual[0], None)), None

    def drop_flops(
        self,
        spec: DecoderSpec,
        layer: int,
        tokens: NDArray[np.int64],
        visual: NDArray[np.int64],
        kept: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Every visual token against every pivot."""
        text = np.minimum(np.asarray(tokens) - visual, self.text_pivots)
        pivots = np.minimum(self.visual_pivots, kept) + text
        return np.asarray(2.0 * spec.hidden * np.asarray(visual, dtype=np.float64) * pivots)


def _largest(size: Tensor, index: Tensor, count: int | None) -> Tensor:
    """Places within `index` [N] of the `count` tokens of largest `size`, largest first: int64.

    None counts all.
    """
    return size[index].argsort(descending=True, stable=True)[:count]
