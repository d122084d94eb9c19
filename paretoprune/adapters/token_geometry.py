"""Token geometry: which picture a visual token belongs to, and where it stands in it.

`Adapter.grid` numbers pictures or tiles for pruners, from the vision encoder's inputs alone.
`TokenBoxes` also knows the pictures themselves, so that tiles, crops and padding are mapped back to
what a reader sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.tasks.base import Picture, Video

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
    numbers = torch.full_like(rows, -1, dtype=torch.long).masked_scatter(rows, number)
    first = numbers.masked_fill(~rows, len(counts)).amin(1, keepdim=True)
    return (numbers - first).masked_fill(~rows, -1).repeat_interleave(times, 0)


Boxes: TypeAlias = NDArray[np.float64]
"""Top, left, bottom and right of each token, in 0..1 of its picture: float64 [N, 4]."""
Kind: TypeAlias = Literal["picture", "whole", "tiles", "frame"]
WHOLE_PICTURE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class View:
    """One way in which the vision encoder sees picture or video number `item` of the prompt.

    `kind` is `picture` (the only view of it), `whole` (the small picture that goes with tiles),
    `tiles` (all tiles together), or `frame` (a moment of a video, from frame number `frame` on).
    """

    item: int
    kind: Kind = "picture"
    frame: int = 0


@dataclass(frozen=True)
class TokenBoxes:
    """Boxes of N visual tokens in their pictures, in the order of the prompt.

    `view` int64 [N] indexes `views`; `boxes` float64 [N, 4] are top, left, bottom and right in 0..1
    of the whole picture. A token that ends a line of tiles has no width and stands at the right
    edge; one that sees padding only has an empty box at the top left corner.
    """

    views: tuple[View, ...]
    view: NDArray[np.int64]
    boxes: Boxes

    @classmethod
    def of(cls, parts: Sequence[tuple[View, Boxes]]) -> TokenBoxes:
        """From runs of tokens in order; parts of equal views are one view."""
        views = tuple(dict.fromkeys(view for view, _ in parts))
        numbers = [np.full(len(boxes), views.index(view)) for view, boxes in parts]
        return cls(
            views,
            np.concatenate([np.zeros(0, np.int64), *numbers]).astype(np.int64),
            np.concatenate([np.zeros((0, 4)), *(boxes for _, boxes in parts)]),
        )


def lattice(
    rows: int, columns: int, within: Sequence[float] | NDArray[np.float64] = WHOLE_PICTURE
) -> Boxes:
    """Boxes of rows x columns cells of equal size, row by row, `within` a part of the picture."""
    top, left, bottom, right = within
    edges = top + (bottom - top) * np.arange(rows + 1) / rows
    sides = left + (right - left) * np.arange(columns + 1) / columns
    cells = [
        np.repeat(edges[:-1], columns), np.tile(sides[:-1], rows),
        np.repeat(edges[1:], columns), np.tile(sides[1:], rows),
    ]  # fmt: skip
    return np.stack(cells, 1)


def clipped(boxes: Boxes) -> Boxes:
    """Boxes as far as they lie within the picture; those outside, in its padding, are empty: 0."""
    inside = boxes.clip(0.0, 1.0)
    empty = (inside[:, 2:] - inside[:, :2]).min(1) <= 0
    inside[empty] = 0.0
    return inside


def with_line_ends(boxes: Boxes, columns: int) -> Boxes:
    """Boxes of cells in rows of `columns`, each row followed by its end: no width, right edge."""
    rows = boxes.reshape(-1, columns, 4)
    ends = rows.max(1, keepdims=True)  # empty boxes are 0
    ends[..., 1] = ends[..., 3] = 1.0
    return np.concatenate([rows, ends], 1).reshape(-1, 4)


def around(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Boxes:
    """Boxes of equal cells around their centres, each float [N] in 0..1."""
    high, wide = 0.5 / len(np.unique(rows.round(6))), 0.5 / len(np.unique(columns.round(6)))
    return np.stack([rows - high, columns - wide, rows + high, columns + wide], 1).clip(0.0, 1.0)


def height_and_width(item: Picture | Video) -> tuple[int, int]:
    """Size of a picture, or of a video's frames, in pixels."""
    if isinstance(item, Video):
        return int(item.frames.shape[1]), int(item.frames.shape[2])
    if hasattr(item, "height") and hasattr(item, "width"):  # PIL
        return int(item.height), int(item.width)
    high, wide = np.shape(item)[:2]
    return int(high), int(wide)
