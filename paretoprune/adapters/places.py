"""Where the visual tokens of one prompt stand in the pictures that it shows.

`Adapter.grid` numbers tiles for pruners, from the tower's inputs alone; this also knows the
pictures themselves, so that tiles, crops and padding are mapped back to what a reader sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretoprune.tasks.base import Picture, Video

Boxes: TypeAlias = NDArray[np.float64]
"""Top, left, bottom and right of each token, in 0..1 of its picture: float64 [N, 4]."""
Kind: TypeAlias = Literal["picture", "whole", "tiles", "frame"]
WHOLE_PICTURE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class View:
    """One way in which the vision tower sees picture or video number `item` of the prompt.

    `kind` is `picture` (the only view of it), `whole` (the small picture that goes with tiles),
    `tiles` (all tiles together), or `frame` (a moment of a video, from frame number `frame` on).
    """

    item: int
    kind: Kind = "picture"
    frame: int = 0


@dataclass(frozen=True)
class Places:
    """Where N visual tokens stand, in the order in which they stand in the prompt.

    `view` int64 [N] indexes `views`; `boxes` float64 [N, 4] are top, left, bottom and right in 0..1
    of the whole picture. A token that ends a line of tiles has no width and stands at the right
    edge; one that sees padding only has an empty box at the top left corner.
    """

    views: tuple[View, ...]
    view: NDArray[np.int64]
    boxes: Boxes

    @classmethod
    def of(cls, parts: Sequence[tuple[View, Boxes]]) -> Places:
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
