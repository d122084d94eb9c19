"""VisPruner (arXiv 2412.01818, version 2): tokens that matter, and tokens unlike each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.space import Float
from paretoprune.pruning.base import (
    DropCounts,
    PruningContext,
    RowPruner,
    by_pair,
    setting,
    with_others,
)
from paretoprune.pruning.similarity import best_match, unit

REMOVED = 8
"""Duplicates that one round removes (the authors' value)."""


@dataclass(eq=False)
class VisPruner(RowPruner):
    """A share of the kept tokens by class attention; the others by iterative de-duplication.

    Section 3.3: what is left, from most to least attended, is dealt into two groups by turns; of
    the first group, those most similar to a token of the second are duplicates and go, a few per
    round, until the rest of the count is left. Similarity is the cosine of the projected tokens.
    """

    name = "vispruner"
    first_layer = 0
    needs = frozenset({"vision_encoder", "embeddings"})
    important: float = setting(
        0.5, Float("important", 0.0, 1.0, step=1 / 16, unit="share of kept tokens")
    )

    def select_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Important tokens first, then diverse ones."""
        order = one.extra("class_attention")[0, :, 0].argsort(descending=True, stable=True)
        important = int(n * self.important)
        chosen, left = order[:important], order[important:]
        states = unit(one.states)
        for gone in _rounds(len(left), n - important):
            first, second = left[::2], left[1::2]
            similar, _ = best_match(states[:, first], states[:, second])
            distinct = similar[0].argsort(descending=True, stable=True)[gone:]
            left = torch.cat([first[distinct], second])
        return with_others(torch.cat([chosen, left[: n - important]]), order), None

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """Products of one half of the remaining tokens with the other, each round."""

        def matching(v: int, n: int) -> float:
            important = int(n * self.important)
            left, total = v - important, 0.0
            for gone in _rounds(left, n - important):
                total += 2.0 * drop.spec.hidden * (left - left // 2) * (left // 2)
                left -= gone
            return total

        return by_pair(matching, drop)


def _rounds(left: int, wanted: int) -> list[int]:
    """Tokens that each round removes until `wanted` of `left` remain; none for 0 `wanted`."""
    removed = []
    while 0 < wanted < left:
        removed.append(min(REMOVED, left - wanted, left - left // 2))
        left -= removed[-1]
    return removed
