"""Pictures with kept tokens clear: dropped ones are darkened, merged ones tinted and hatched.

Composed pixel by pixel, so that a kept patch is exactly the picture; a light line around it, drawn
on what is not kept, shows it on dark pictures too. Gone and merged differ in lightness, hue and
pattern: with any kind of colour vision, and in grey.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paretoprune.compression.kept import Example, State
from paretoprune.errors import BrokenFileError

Pixels = NDArray[np.uint8]
"""A picture, uint8 [height, width, 3]."""

GONE_COLOUR = (38, 42, 49)
OUTLINE_COLOUR = (240, 240, 240)
MERGED_COLOUR = (86, 180, 233)
HATCH_COLOUR = (0, 90, 150)
LINE_END = {State.KEPT: (27, 31, 36), State.MERGED: MERGED_COLOUR, State.GONE: (208, 212, 217)}
GONE_SHARE, MERGED_SHARE, UNSEEN_SHARE = 0.18, 0.35, 0.15
"""Visible fraction of the picture in dropped tokens, merged ones, and areas without a token."""
SIDE = 320
"""Pixels of the longer side at least; small pictures are enlarged by a whole number."""
MAX_PIXELS = 20_000_000


@contextmanager
def stored_picture(content: bytes) -> Iterator[Image.Image]:
    """Open a picture of a record; raises `BrokenFileError` if it cannot be read."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG"]) as picture:
            yield picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenFileError(f"a picture of the record cannot be read: {error}") from error


def picture_of(example: Example, view: int) -> Pixels:
    """The picture behind a view, enlarged if it is small.

    Raises `BrokenFileError` for a record whose picture cannot be read.
    """
    with stored_picture(example.pictures[example.views[view].picture]) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise BrokenFileError(
                f"a picture of {picture.width} x {picture.height} pixels is too large to draw"
            )
        pixels = np.asarray(picture.convert("RGB"))
    times = max(1, -(-SIDE // max(pixels.shape[:2])))
    return pixels.repeat(times, 0).repeat(times, 1)


def token_map(example: Example, view: int, size: tuple[int, int]) -> NDArray[np.int64]:
    """The token at each pixel of a picture of `size`: int64 [height, width], -1: none."""
    token_at = np.full(size, -1)
    scale = np.array([*size, *size])
    for token in example.of_view(view):
        top, left, bottom, right = (example.box_array[token] * scale).round().astype(int)
        token_at[top:bottom, left:right] = token
    return token_at


def line_ends(example: Example, view: int) -> NDArray[np.int64]:
    """Tokens of a view that end a line of tiles, int64 [n]."""
    tokens = example.of_view(view)
    boxes = example.box_array[tokens]
    ends: NDArray[np.int64] = tokens[(boxes[:, 1] == 1.0) & (boxes[:, 2] > boxes[:, 0])]
    return ends


def overlay(example: Example, view: int, states: NDArray[np.int8]) -> Pixels:
    """One view with its tokens in `states`, int8 [tokens] of `State`; line ends at the right."""
    pixels = picture_of(example, view)
    token = token_map(example, view, (pixels.shape[0], pixels.shape[1]))
    state = np.where(token >= 0, states[token], -1)
    grey = (pixels @ np.array([0.299, 0.587, 0.114]))[..., None]
    drawn = pixels.astype(np.float64)
    gone = GONE_SHARE * grey + (1 - GONE_SHARE) * np.array(GONE_COLOUR)
    drawn = np.where((state == State.GONE)[..., None], gone, drawn)
    merged = MERGED_SHARE * grey + (1 - MERGED_SHARE) * np.array(MERGED_COLOUR)
    merged = np.where(hatch(pixels.shape[:2])[..., None], np.array(HATCH_COLOUR), merged)
    drawn = np.where((state == State.MERGED)[..., None], merged, drawn)
    unseen = UNSEEN_SHARE * grey + (1 - UNSEEN_SHARE) * 255
    drawn = np.where((state == -1)[..., None], unseen, drawn)
    drawn[_around_kept(state)] = OUTLINE_COLOUR
    return _with_line_ends(example, view, states, drawn.round().astype(np.uint8))


def _around_kept(state: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Pixels [height, width] of tokens that are not kept, next to one that is."""
    width = max(1, max(state.shape) // 200)
    kept = np.pad(state == State.KEPT, width)
    near = np.zeros(state.shape, dtype=bool)
    for down in range(2 * width + 1):
        for across in range(2 * width + 1):
            near |= kept[down : down + state.shape[0], across : across + state.shape[1]]
    around: NDArray[np.bool_] = near & ((state == State.GONE) | (state == State.MERGED))
    return around


def hatch(size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Diagonal lines, bool [height, width], of a width that fits the size."""
    step = max(6, max(size) // 53)
    rows, columns = np.indices(size[:2])
    lines: NDArray[np.bool_] = (rows + columns) % step < max(1, step // 4)
    return lines


def _with_line_ends(example: Example, view: int, states: NDArray[np.int8], drawn: Pixels) -> Pixels:
    ends = line_ends(example, view)
    if not len(ends):
        return drawn
    high, wide = drawn.shape[:2]
    bar = max(4, wide // 40)
    column = np.full((high, 2 * bar, 3), 255, np.uint8)
    for token in ends:
        top, _, bottom, _ = example.box_array[token]
        rows = slice(round(top * high) + 1, max(round(top * high) + 2, round(bottom * high)))
        column[rows, bar:] = LINE_END[State(int(states[token]))]
    return np.concatenate([drawn, column], 1)


def panel(example: Example, states: NDArray[np.int8], gap: int = 10) -> Pixels:
    """All views in rows on white, in about a square."""
    parts = [overlay(example, view, states) for view in range(len(example.views))]
    layouts = [_laid_out(parts, columns, gap) for columns in range(1, len(parts) + 1)]
    return min(layouts, key=lambda whole: abs(np.log(whole.shape[0] / whole.shape[1])))


def _laid_out(parts: Sequence[Pixels], columns: int, gap: int) -> Pixels:
    """Pictures in rows of `columns`; rows and columns are as large as their largest picture."""
    rows = [parts[start : start + columns] for start in range(0, len(parts), columns)]
    highs = [max(part.shape[0] for part in row) for row in rows]
    wides = [max(part.shape[1] for part in parts[column::columns]) for column in range(columns)]
    size = sum(highs) + gap * (len(highs) - 1), sum(wides) + gap * (len(wides) - 1)
    whole = np.full((*size, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        top = sum(highs[:number]) + gap * number
        for column, part in enumerate(row):
            left = sum(wides[:column]) + gap * column
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole
