"""Cosine similarities of visual tokens, in blocks: no [V, V] matrix of a large picture arises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 256
"""Rows of a similarity matrix that exist at a time."""


def unit(states: Tensor) -> Tensor:
    """Vectors [..., c] of length 1; zero vectors stay zero."""
    length: Tensor = states.norm(dim=-1, keepdim=True)
    return states / length.clamp(min=torch.finfo(states.dtype).tiny)


def best_match(
    rows: Tensor, columns: Tensor, allowed: Tensor | None = None, *, not_itself: bool = False
) -> tuple[Tensor, Tensor]:
    """The most similar column of each row: its similarity and its index, each [B, A].

    `rows` [B, A, c] and `columns` [B, C, c] are unit vectors, `allowed` bool [B, C]; with
    `not_itself`, row i does not match column i. Of equal ones the first; -inf if none is allowed.
    """
    values, indices = [], []
    for start in range(0, rows.shape[1], BLOCK):
        similar = torch.bmm(rows[:, start : start + BLOCK], columns.transpose(1, 2))
        if allowed is not None:
            similar = similar.masked_fill(~allowed[:, None], -torch.inf)
        if not_itself:
            similar.diagonal(offset=start, dim1=1, dim2=2).fill_(-torch.inf)
        best = similar.max(-1)
        values.append(best.values)
        indices.append(best.indices)
    return torch.cat(values, 1), torch.cat(indices, 1)


def farthest_first(
    first: Tensor, candidates: Tensor, distance: Callable[[Tensor], Tensor]
) -> Tensor:
    """Greedy max-min order, as a score: 0 for `first` int64 [B], -1 for the next, ...: [B, V].

    The next is the candidate, of bool [B, V], whose nearest chosen one is farthest; of equal ones
    the first. `distance` gives the distances [B, V] to tokens int64 [B]. Others score -V.
    """
    batch, most = candidates.shape
    counts = candidates.sum(1)
    score = torch.full((batch, most), -float(most), device=candidates.device)
    left = candidates.clone()
    nearest: Tensor | None = None
    current = first
    for step in range(int(counts.max()) if batch else 0):
        is_chosen = (step < counts)[:, None]
        index = current[:, None]
        score = score.scatter(
            1, index, torch.where(is_chosen, -float(step), score.gather(1, index))
        )
        left = left.scatter(1, index, False)
        away = distance(current)
        nearest = away if nearest is None else torch.minimum(nearest, away)
        current = nearest.masked_fill(~left, -torch.inf).argmax(1)
    return score
