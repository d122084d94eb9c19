"""Decoding goes on behind a leaf of the pruned decoder, from the keys and values of its path.

So what follows a pruned prompt, a greedy answer or the rest of an option, costs its own tokens
alone: nothing of the prompt is run again, whatever other candidates share it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.model_access import Rotary, embed
from paretoprune.adapters.refusals import require_length
from paretoprune.cost import step_layer_cost
from paretoprune.pruning.cache import PrunedCache
from paretoprune.pruning.context import pick
from paretoprune.pruning.decoder import Executed, Leaf
from paretoprune.pruning.tokens import Tokens


class Continuation:
    """R rows of a leaf, which must have its `path`, held up to the positions `last` int64 [R].

    `prompt_end` int64 [R] are the positions of the last prompt tokens; `following` holds cosines
    and sines [R, N, head_dim] of the N positions behind them.
    """

    def __init__(
        self,
        adapter: Adapter,
        leaf: Leaf,
        rows: Tensor,
        *,
        last: Tensor,
        prompt_end: Tensor,
        following: Rotary,
        executed: Executed | None = None,
    ) -> None:
        if len(leaf.path) != adapter.spec.layers:
            raise ValueError("a leaf is continued only if it was run with_path")
        self._adapter = adapter
        self._place = last + 1
        self._offset = last - prompt_end
        self._following = following
        self._meter = executed or Executed()
        self._cache = PrunedCache(adapter.spec.layers)
        for layer, behind in zip(self._cache.layers, leaf.path, strict=True):
            assert behind.keys is not None
            assert behind.values is not None
            positions = behind.origin[rows]
            known = behind.validity[rows] & (positions <= last[:, None])
            layer.hold(behind.keys[rows], behind.values[rows], known, positions)

    def next(self, ids: Tensor) -> Tensor:
        """Log-probabilities behind the new tokens `ids` int64 [R, n]: float [R, n, vocabulary]."""
        adapter = self._adapter
        rows, count = ids.shape
        if adapter.window is not None:
            require_length(adapter, int(self._place.max()) + count)
        steps = torch.arange(count, device=ids.device)[None]
        cos, sin = self._following
        # rows that have ended go along with the others, past the positions that are known
        ahead = (self._offset[:, None] + steps).clamp(max=cos.shape[1] - 1)
        tokens = Tokens(
            hidden=embed(adapter, ids),
            rotary=(pick(cos, ahead), pick(sin, ahead)),
            origin=self._place[:, None] + steps,
            visual=torch.zeros_like(ids, dtype=torch.bool),
            valid=None,
            query=torch.full_like(self._place, count - 1),
            sample=torch.arange(rows, device=ids.device),
        )
        for layer in range(adapter.spec.layers):
            held = self._cache.layers[layer].held + count
            self._meter.flops += rows * step_layer_cost(adapter.spec, count, held)
            tokens = tokens.run(adapter, layer, cache=self._cache)
        self._place = self._place + count
        self._offset = self._offset + count
        return adapter.head(tokens.hidden).float().log_softmax(-1)

    def greedy(self, first: Tensor, most: Sequence[int], stop: Collection[int]) -> list[list[int]]:
        """Greedy decoding from the tokens `first` int64 [R], which are part of the result.

        Row i ends with a token of `stop`, or at `most[i]` tokens.
        """
        said = [[int(token)] for token in first]

        def ended(row: int) -> bool:
            return said[row][-1] in stop or len(said[row]) >= most[row]

        token = first
        while not all(ended(row) for row in range(len(said))):
            token = self.next(token[:, None])[:, -1].argmax(-1)
            for row, new in enumerate(token.tolist()):
                if not ended(row):
                    said[row].append(new)
        return said
