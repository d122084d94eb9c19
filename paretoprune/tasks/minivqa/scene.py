"""Scenes: the content of a MiniVQA picture, before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paretoprune.tasks.minivqa.vocabulary import COLOURS, DIGITS, GRID, SHAPES, TALLEST_BAR

CHART_CELLS = 3
"""A chart covers 3 x 3 cells: three bars, one patch wide, up to six patches high."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape or digit of one colour in one grid cell (row and column from 0)."""

    kind: str
    colour: str
    row: int
    col: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A bar chart whose top-left cell is (row, col); heights are in patches."""

    row: int
    col: int
    bars: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Sign:
    """Black digits on a white plate, read left to right from cell (row, col)."""

    row: int
    col: int
    digits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """The full content of one picture; `degraded` ones are blurred and cluttered.

    `rows` and `cols` count its grid cells.
    """

    things: tuple[Thing, ...]
    chart: Chart
    sign: Sign
    counted: str
    degraded: bool
    rows: int = GRID
    cols: int = GRID

    @property
    def colours_of(self) -> dict[str, list[str]]:
        """The colours in which each kind of loose thing occurs."""
        colours: dict[str, list[str]] = {}
        for thing in self.things:
            colours.setdefault(thing.kind, []).append(thing.colour)
        return colours


def draw_scene(
    rng: np.random.Generator,
    *,
    max_things: int = 7,
    degraded: bool = False,
    rows: int = GRID,
    cols: int = GRID,
) -> Scene:
    """Draw a random scene with at most `max_things` loose things (at least 3).

    The grid has `rows` x `cols` cells, at least 4 each so that chart, sign and things fit.

    One shape, `counted`, occurs 0 to 4 times (as many as fit), the other shapes at most once, and
    one or two digits of different colours are added, so that every question family has an answer.
    """
    free = np.ones((rows, cols), dtype=bool)
    corner = rng.choice([0, 1], 2)  # top or bottom, left or right
    chart_row = int(corner[0]) * (rows - CHART_CELLS)
    chart_col = int(corner[1]) * (cols - CHART_CELLS)
    free[chart_row : chart_row + CHART_CELLS, chart_col : chart_col + CHART_CELLS] = False
    palette = list(COLOURS)
    bars = tuple(
        (palette[i], int(rng.integers(1, TALLEST_BAR + 1)))
        for i in rng.permutation(len(palette))[:CHART_CELLS]
    )
    sign = _place_sign(rng, free)

    shapes = [SHAPES[i] for i in rng.permutation(len(SHAPES))]
    counted = shapes.pop()
    kinds = [counted] * int(rng.integers(0, min(4, max_things - 2) + 1))
    digit_count = int(rng.integers(1, 3)) if len(kinds) + 3 <= max_things else 1
    least = max(0, 3 - len(kinds) - digit_count)
    singles = int(rng.integers(least, max(least, max_things - len(kinds) - digit_count) + 1))
    kinds += shapes[: max(1, singles)]
    digit_colours = rng.permutation(len(palette))[:digit_count]
    looks = [(kind, palette[int(rng.integers(len(palette)))]) for kind in kinds]
    looks += [(DIGITS[int(rng.integers(10))], palette[i]) for i in digit_colours]
    cells = np.argwhere(free)
    cells = cells[rng.permutation(len(cells))[: len(looks)]]
    things = tuple(
        Thing(kind, colour, int(row), int(col))
        for (kind, colour), (row, col) in zip(looks, cells, strict=True)
    )
    chart = Chart(chart_row, chart_col, bars)
    return Scene(things, chart, sign, counted, degraded, rows, cols)


def _place_sign(rng: np.random.Generator, free: np.ndarray) -> Sign:
    """Put a sign of two or three digits into free cells of one row, and mark them taken."""
    width = int(rng.integers(2, 4))
    rows, cols = free.shape
    spots = [
        (row, col)
        for row in range(rows)
        for col in range(cols - width + 1)
        if free[row, col : col + width].all()
    ]
    row, col = spots[int(rng.integers(len(spots)))]
    free[row, col : col + width] = False
    return Sign(row, col, tuple(DIGITS[int(i)] for i in rng.integers(0, 10, width)))
