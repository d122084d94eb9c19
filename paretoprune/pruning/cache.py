"""A KV cache whose layers hold their kept tokens only, and still answer with logical lengths.

`generate` asks a cache how many tokens were *seen*, to slice its inputs and number positions. Each
layer of this one *holds* fewer: the keys and values of the tokens that it processed, with their
positions in the sequence and a mask of padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from paretoprune.errors import UnsupportedError


class PrunedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values [B, kv_heads, K, head_dim] of the K tokens that this layer holds.

    `valid` bool [B, K] is false for padding; `positions` int64 [B, K] are those in the sequence;
    `seen` counts the tokens of the whole sequence.
    """

    keys: Tensor | None
    values: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.valid: Tensor | None = None
        self.positions: Tensor | None = None
        self.seen = 0

    def admit(self, valid: Tensor, positions: Tensor) -> None:
        """Say which tokens the next `update` brings: bool and int64 [B, T]."""
        self.valid = valid if self.valid is None else torch.cat([self.valid, valid], 1)
        self.positions = (
            positions if self.positions is None else torch.cat([self.positions, positions], 1)
        )

    def hold(self, keys: Tensor, values: Tensor, valid: Tensor, positions: Tensor) -> None:
        """Start with the keys and values [B, kv_heads, K, head_dim] of tokens run before."""
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self.valid, self.positions = valid, positions

    @property
    def held(self) -> int:
        """K, the number of tokens this layer holds, padding of shorter rows included."""
        return 0 if self.positions is None else self.positions.shape[1]

    def get_seq_length(self) -> int:
        """Tokens seen, kept or not."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Logical length of keys and their offset, for masks that are made outside."""
        return self.seen + query_length, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Follow beams: row i becomes row `beam_idx[i]`."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows of the batch."""
        self._each(lambda x: x.index_select(0, indices.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        self._each(lambda x: x.repeat_interleave(repeats, dim=0))

    def _each(self, change: Any) -> None:
        if self.positions is None or self.valid is None:
            return
        self.keys, self.values = change(self.keys), change(self.values)
        self.valid, self.positions = change(self.valid), change(self.positions)

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens of the sequence; the number is given as 0 or negative."""
        if tokens_to_remove > 0:
            raise ValueError(f"crop takes 0 or a negative number, got {tokens_to_remove}")
        if tokens_to_remove:
            self.back_to(self.seen + tokens_to_remove)

    def back_to(self, seen: int) -> None:
        """Forget every token behind the first `seen`, also those of a call that has not ended."""
        if seen == 0:
            self.reset()  # the next batch may be another one
        self.seen = seen
        if self.positions is None or self.valid is None:
            return
        self.valid = self.valid & (self.positions < seen)
        columns = self.valid.any(0).nonzero()[:, 0]
        self.valid, self.positions = self.valid[:, columns], self.positions[:, columns]
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[:, :, columns], self.values[:, :, columns]

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.valid = self.positions = None
        self.seen = 0


class PrunedCache(Cache):  # type: ignore[misc]
    """The cache of a pruned model; hand it to the next `generate` to go on with a conversation.

    `rope_deltas` int64 [B, 1], where the family has them (M-RoPE), are rotary positions minus
    positions in the sequence. transformers keeps those of the last call in the model.
    """

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[PrunedLayer() for _ in range(layers)])
        self.rope_deltas: Tensor | None = None

    @classmethod
    def of(cls, cache: Any, layers: int) -> PrunedCache:
        """`cache` itself if it is one; a new one for none or an empty one.

        Raises `UnsupportedError` for a cache that another model has filled.
        """
        if isinstance(cache, PrunedCache):
            return cache
        if cache is not None and int(cache.get_seq_length()) > 0:
            raise UnsupportedError(
                f"a {type(cache).__name__} with {int(cache.get_seq_length())} tokens cannot be "
                "continued by a pruned model; give it none, or the one that it returned"
            )
        if cache is not None and type(cache) is not DynamicCache:
            raise UnsupportedError(
                f"a pruned model keeps a cache of its own, not a {type(cache).__name__}; leave "
                "cache_implementation unset"
            )
        return cls(layers)

    @contextmanager
    def unless_completed(self) -> Iterator[None]:
        """Remove the tokens that a `with` block added where it ends with an exception."""
        seen, deltas = self.get_seq_length(), self.rope_deltas
        try:
            yield
        except BaseException:  # an interruption, too
            self.rope_deltas = deltas
            for layer in self.layers:
                layer.back_to(seen)
            raise

    def advance(self, tokens: int) -> None:
        """Count tokens that were seen, kept or not."""
        for layer in self.layers:
            layer.seen += tokens

    @property
    def held(self) -> list[int]:
        """Tokens that each layer holds."""
        return [layer.held for layer in self.layers]

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(
            x.numel() * x.element_size()
            for layer in self.layers
            if layer.keys is not None
            for x in (layer.keys, layer.values)
        )
