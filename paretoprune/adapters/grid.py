"""Where visual tokens stand: number of their picture, and row and column in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PICTURE = "picture"
"""The extra, int64 [B, T, 1], that numbers the pictures of each prompt from 0 (text: -1)."""


def cells(number: int, rows: int, columns: int) -> Tensor:
    """Centres of the cells of picture `number`, row by row: float [rows * columns, 3].

    Rows and columns are in 0..1.
    """
    row = (torch.arange(rows) + 0.5) / rows
    column = (torch.arange(columns) + 0.5) / columns
    place = torch.cartesian_prod(row, column)
    return torch.cat([torch.full((len(place), 1), float(number)), place], 1)


def rows_of_lines(number: int, ends: Tensor) -> Tensor:
    """The same for a picture whose lines end in a token of their own, marked in bool [N].

    Such a token stands at the right edge, column 1. Lines of one token are a row each.
    """
    lines = int(ends.sum())
    before = ends.long().cumsum(0) - ends.long()
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends.nonzero()[:, 0] + 1])
    length = int(starts[1]) if lines else len(ends)
    column = (torch.arange(len(ends)) - starts[before] + 0.5) / max(1, length - bool(lines))
    row = (before + 0.5) / max(1, lines)
    return torch.stack([torch.full_like(column, float(number)), row, column.clamp(max=1.0)], 1)


def picture_runs(visual: Tensor, kind: Tensor | None = None) -> Tensor:
    """Number of each token's picture, where a run of visual tokens is one: int64 [B, T], text -1.

    `visual` bool [B, T]; tokens of another `kind` [B, T] begin another picture.
    """
    after = torch.zeros_like(visual)
    after[:, 1:] = visual[:, :-1]
    if kind is not None:
        after[:, 1:] &= kind[:, 1:] == kind[:, :-1]
    return ((visual & ~after).long().cumsum(1) - 1).masked_fill(~visual, -1)


def picture_numbers(sizes: Sequence[int], visual: Tensor) -> Tensor | None:
    """The same where the batch's pictures have so many tokens each, in order; None if others.

    Where `generate` has repeated every row, for beams or several answers, `sizes` are those of
    either the rows before or all of them.
    """
    counts = torch.tensor(sizes, dtype=torch.long, device=visual.device)
    total, here = int(counts.sum()), int(visual.sum())
    if not total or not here or here % total:
        return None
    times = here // total
    rows = visual[::times]
    if int(rows.sum()) != total:
        return None
    number = torch.arange(len(counts), device=visual.device).repeat_interleave(counts)
    found = torch.full_like(rows, -1, dtype=torch.long).masked_scatter(rows, number)
    first = found.masked_fill(~rows, len(counts)).amin(1, keepdim=True)
    return (found - first).masked_fill(~rows, -1).repeat_interleave(times, 0)
