"""The picture of each visual token, and the rule by which every picture keeps a token.

A token that was merged counts for the picture of its position.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paretoprune.adapters.base import Prefill
from paretoprune.adapters.token_geometry import PICTURE
from paretoprune.pruning.base import PruningContext, Selection


def pictures_of(prefill: Prefill) -> Tensor:
    """Number of pictures of each sample with visual tokens: int64 [B]."""
    return pictures_among(prefill.extras[PICTURE][..., 0], prefill.visual)


def pictures_among(numbers: Tensor, among: Tensor) -> Tensor:
    """Different pictures of the tokens marked in `among`, bool [B, N]: int64 [B]."""
    return first_of_each(numbers, among).sum(1)


def first_of_each(numbers: Tensor, among: Tensor) -> Tensor:
    """The first token of each picture among those marked, bool [B, N]; `numbers` int64 [B, N]."""
    batch, width = numbers.shape
    if not width:
        return among
    absent = max(1, int(numbers.max()) + 1)
    place = torch.arange(width, device=numbers.device).expand(batch, -1)
    column = numbers.clamp(min=0).masked_fill(~among, absent)
    first = torch.full((batch, absent + 1), width, device=numbers.device)
    first = first.scatter_reduce(1, column, place, "amin")
    return among & (place == first.gather(1, column))


def led_by_each(order: Tensor, numbers: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """An order int64 [B, V], led by the best token of each picture, and which these are, [B, V].

    `numbers` and `among` [B, V] are those of the V tokens, not of the order; the leaders are marked
    among the V tokens, too. All others follow as before, so the first n stay part of the first
    n + 1.
    """
    first = first_of_each(numbers.gather(1, order), among.gather(1, order))
    again = (~first).long().argsort(dim=1, stable=True)
    return order.gather(1, again), torch.zeros_like(among).scatter(1, order, first)


def with_each_picture(context: PruningContext, chosen: Selection, counts: Tensor) -> Selection:
    """The choice of `counts` int64 [B] tokens, changed so that it has one of each picture.

    A picture that would be left with none gets its best token, in place of the last chosen one of a
    picture that has more. Where there are fewer tokens than pictures, some still have none.
    """
    numbers = context.extra(PICTURE)[..., 0]
    order, _ = led_by_each(_whole_order(context, chosen, counts), numbers, context.present)
    indices = order[:, : chosen.indices.shape[1]]
    if chosen.weights is None:
        return Selection(indices)
    weights = chosen.weights.clone()
    for row, n in enumerate(counts.tolist()):
        if n:
            before, after = chosen.indices[row, :n], indices[row, :n]
            weights[row, :n] = _changed(weights[row, :n], before, after)
    return Selection(indices, weights)


def _whole_order(context: PruningContext, chosen: Selection, counts: Tensor) -> Tensor:
    """All V tokens: the chosen ones, the others by `chosen.order` or as they stand, absent last."""
    batch, width = context.visual.shape
    place = torch.arange(width, device=counts.device).expand(batch, -1)
    rank = place + width
    if chosen.order is not None:
        # absent tokens of the order may point at present ones
        real = place < context.present.sum(1, keepdim=True)
        rank = torch.full_like(rank, 2 * width)
        behind = torch.where(real, place + width, 2 * width)
        rank = rank.scatter_reduce(1, chosen.order, behind, "amin")
    taken = place[:, : chosen.indices.shape[1]]
    taken = torch.where(taken < counts[:, None], taken, 3 * width)
    rank = rank.scatter_reduce(1, chosen.indices, taken, "amin")
    return (rank + 4 * width * ~context.present).argsort(dim=1, stable=True)


def _changed(weights: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Rows [n, V] of the tokens `before` [n] as rows of the tokens `after` [n].

    A token that gets a row of its own leaves those that it was merged into: one that is a mean is
    the mean of what is left in it, and a sum is the rest of the sum.
    """
    width = weights.shape[1]
    row = torch.full((width,), -1, device=before.device)
    row[before] = torch.arange(len(before), device=before.device)
    row = row[after]
    new = row < 0
    changed = weights[row.clamp(min=0)]
    is_mean = (changed.sum(1) - 1).abs() < 1e-4
    changed[:, after[new]] = 0.0
    left = changed.sum(1)
    rescaled = is_mean & (left > 0) & ~new
    changed[rescaled] /= left[rescaled, None]
    alone = new | (is_mean & (left <= 0))
    changed[alone] = 0.0
    changed[alone, after[alone]] = 1.0
    return changed
