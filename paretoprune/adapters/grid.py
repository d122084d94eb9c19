"""Where visual tokens stand in their picture: number, row and column of each."""

from __future__ import annotations

import torch
from torch import Tensor


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
