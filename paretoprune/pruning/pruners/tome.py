"""ToMe (arXiv 2210.09461): merge the most similar tokens by bipartite soft matching."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.cost import DecoderSpec
from paretoprune.pruning.base import PruningContext
from paretoprune.pruning.pruners.similarity import best_match, unit
from paretoprune.pruning.rows import RowPruner, by_pair


class ToMe(RowPruner):
    """Tokens are dealt into two sets by turns; the most similar pairs across become one token.

    Section 3, "Bipartite Soft Matching": one edge from each token of A to its most similar one in
    B, the r most similar edges stay, their ends merge into a mean weighted by size, A's others and
    B are joined again. A round takes at most half, so several may follow each other. Similarity is
    the cosine of hidden states ("X" in table 1a): before the decoder there are no keys. A merged
    token stands at its B token's place; sizes do not enter the decoder's attention.
    """

    name = "tome"
    first_layer = 0
    needs = frozenset({"embeddings"})
    merges = True

    def choose_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Tokens that are left, each the mean of those merged into it."""
        return merged(one.states[0], n)

    def drop_flops(
        self,
        spec: DecoderSpec,
        layer: int,
        tokens: NDArray[np.int64],
        visual: NDArray[np.int64],
        kept: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Half against half, each round, and merging."""
        merging = super().drop_flops(spec, layer, tokens, visual, kept)
        return merging + matching_flops(spec, visual, kept)


def merged(
    states: Tensor, n: int, *, weighted: bool = True, in_order: bool = True
) -> tuple[Tensor, Tensor]:
    """Merge tokens [V, c] to n: places int64 [V], and weights [n, V] of what each is a mean of.

    The first n places are those of the tokens that are left; behind them stand those that were
    merged, the latest and least similar first.

    Unless `weighted`, a round takes the plain mean of what it merges. A's unmerged tokens stay in
    order, or else go from most to least similar.
    """
    place = torch.arange(len(states), device=states.device)
    weights = torch.eye(len(states), dtype=states.dtype, device=states.device)
    size = states.new_ones(len(states))
    left = place[:0]
    while len(place) > n:
        gone = min(len(place) - n, len(place) // 2)
        ways = unit(states)[None]
        similar, match = best_match(ways[:, ::2], ways[:, 1::2])
        edges = similar[0].argsort(descending=True, stable=True)
        source, rest = edges[:gone], edges[gone:]
        rest = rest.sort().values if in_order else rest
        target = match[0, source]

        def joined(
            x: Tensor, source: Tensor = source, target: Tensor = target, rest: Tensor = rest
        ) -> Tensor:
            first, second = x[::2], x[1::2].clone()
            return torch.cat([first[rest], second.index_add(0, target, first[source])])

        if not weighted:
            size = torch.ones_like(size)
        total = joined(size)
        states = joined(states * size[:, None]) / total[:, None]
        weights = joined(weights * size[:, None]) / total[:, None]
        left = torch.cat([place[::2][source].flip(0), left])
        place = torch.cat([place[::2][rest], place[1::2]])
        size = total
    return torch.cat([place, left]), weights


def matching_flops(
    spec: DecoderSpec, visual: NDArray[np.int64], kept: NDArray[np.int64]
) -> NDArray[np.float64]:
    """FLOPs of the similarities of all rounds, per sample `[...]`."""

    def matching(left: int, n: int) -> float:
        total = 0.0
        while left > n:
            total += 2.0 * spec.hidden * (left - left // 2) * (left // 2)
            left -= min(left - n, left // 2)
        return total

    return by_pair(matching, visual, kept)
