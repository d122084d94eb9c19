"""The control: tokens in an order that is independent of their content."""

from __future__ import annotations

from torch import Tensor

from paretoprune.pruning.base import PruningContext, ScorePruner


class RandomPruner(ScorePruner):
    """A fixed pseudo-random order per sample and token: drops are nested across layers.

    The order is a hash of the sample's number and the token's place, so that it depends on neither
    the batch nor what was dropped before, and no generator state is kept.
    """

    name = "random"
    first_layer = 0

    def score(self, context: PruningContext) -> Tensor:
        """A 32-bit mix of (sample, token index) scaled to 0..1, [B, V]."""
        origin = context.origin
        # counted back from the question, so that padding in front changes nothing
        place = origin.gather(1, context.query[:, None]) - origin.gather(1, context.visual)
        mixed = (context.sample[:, None] + 1) * 0x9E3779B1 + place * 0x85EBCA6B
        for _ in range(3):  # a xorshift-multiply hash (constants of MurmurHash3), kept in 32 bits
            mixed = mixed & 0xFFFFFFFF
            mixed = (mixed ^ (mixed >> 16)) * 0x45D9F3B
        return (mixed & 0xFFFFFF).float() / 2**24
