"""DART (arXiv 2502.11494): keep the tokens that duplicate a few pivot tokens least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.space import Int
from paretoprune.pruning.base import DropCounts, PruningContext, RowPruner, setting, with_others
from paretoprune.pruning.similarity import unit


@dataclass(eq=False)
class DART(RowPruner):
    """Pivots are the visual and text tokens with the largest keys; each keeps tokens unlike it.

    Section 4: pivots by the L1 norm of their keys in the layer before; then, pivot by pivot, the
    visual tokens of least cosine similarity to it that are still free, equally many for each (the
    first pivots take one more where it does not divide). Visual pivots stay and count.
    """

    name = "dart"
    first_layer = 1
    needs = frozenset({"keys", "embeddings", "text"})
    visual_pivots: int = setting(4, Int("visual_pivots", 1, 64))
    text_pivots: int = setting(4, Int("text_pivots", 0, 64))

    def select_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Visual pivots, then each pivot's share; of the others, the largest keys come first."""
        if one.keys is None:
            raise ValueError("layer 0 has no keys before it; declare first_layer = 1")
        size = one.keys[0].abs().sum((0, 2))
        pivots = _largest(size, one.visual[0], min(self.visual_pivots, n))
        text, is_valid = one.text
        asked = _largest(size, text[0][is_valid[0]], self.text_pivots)
        states = unit(one.states[0])
        text_states = unit(one.hidden[0][text[0][is_valid[0]][asked]].to(states.dtype))
        chosen = pivots
        every = torch.cat([states[pivots], text_states])
        base, more = divmod(n - len(pivots), len(every))
        alike = torch.mm(every, states.T).detach()  # [pivots, V]; written into below
        for number, similar in enumerate(alike):
            similar[chosen] = torch.inf
            share = base + (number < more)
            chosen = torch.cat([chosen, similar.argsort(stable=True)[:share]])
        return with_others(chosen, _largest(size, one.visual[0], None)), None

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """Every visual token against every pivot."""
        text = np.minimum(drop.tokens - drop.visual, self.text_pivots)
        pivots = np.minimum(self.visual_pivots, drop.kept_counts) + text
        return np.asarray(2.0 * drop.spec.hidden * drop.visual * pivots)


def _largest(size: Tensor, index: Tensor, count: int | None) -> Tensor:
    """Positions within `index` [N] of the `count` tokens of largest `size`, largest first: int64.

    None counts all.
    """
    return size[index].argsort(descending=True, stable=True)[:count]
