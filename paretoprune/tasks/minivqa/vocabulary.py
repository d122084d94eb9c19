"""The closed world of MiniVQA: colours, kinds, words and picture geometry."""

from __future__ import annotations

from typing import Final

PICTURE: Final = 96
"""Side of a square picture in pixels."""
CELL: Final = 16
"""Side of a grid cell in pixels; every loose thing sits in one cell."""
GRID: Final = PICTURE // CELL
"""Cells per side of a square picture."""
SIZES: Final = ((GRID, GRID), (4, GRID))
"""Rows and columns of the pictures that models of dynamic resolution see: 96 x 96 and 96 x 64."""
PATCH: Final = 8
"""Side of a vision-encoder patch in pixels: 12 x 12 = 144 visual tokens per picture."""

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 230),
    "yellow": (235, 205, 40),
    "purple": (160, 60, 200),
    "orange": (245, 130, 30),
}
SHAPES: Final = ("circle", "square", "triangle", "cross", "star", "ring")
PLURALS: Final = ("circles", "squares", "triangles", "crosses", "stars", "rings")
DIGITS: Final = tuple("0123456789")
KINDS: Final = (*SHAPES, *DIGITS)
LETTERS: Final = ("A", "B", "C", "D")
REGIONS: Final = tuple(
    f"{vertical}-{horizontal}"
    for vertical in ("top", "middle", "bottom")
    for horizontal in ("left", "centre", "right")
)
ROWS: Final = tuple(f"r{i}" for i in range(1, GRID + 1))
COLUMNS: Final = tuple(f"c{i}" for i in range(1, GRID + 1))
TALLEST_BAR: Final = 6
"""Bars are 1 to 6 patches high."""

WORDS: Final = (
    *COLOURS,
    *SHAPES,
    *PLURALS,
    *DIGITS,
    *LETTERS,
    *REGIONS,
    *ROWS,
    *COLUMNS,
    *("yes", "no", "is", "there", "any", "at", "where", "the", "which", "digit", "value", "of"),
    *("bar", "what", "colour", "read", "sign", "how", "many", "?"),
)
"""Every word that a question or an answer can hold, once each, in vocabulary order."""
