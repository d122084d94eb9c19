"""The eight question families of MiniVQA, and two that only training uses.

Each family is a function `(scene, rng) -> (question, answer)`; words are separated by blanks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from paretoprune.tasks.minivqa.scene import Scene, Thing
from paretoprune.tasks.minivqa.vocabulary import (
    COLOURS,
    COLUMNS,
    DIGITS,
    LETTERS,
    PLURALS,
    REGIONS,
    ROWS,
    SHAPES,
)

Question = tuple[str, str]
T = TypeVar("T")
Ask = Callable[[Scene, np.random.Generator], Question]


def _one(rng: np.random.Generator, items: list[T]) -> T:
    return items[int(rng.integers(len(items)))]


def _only_shapes(scene: Scene) -> list[Thing]:
    """Shapes that occur exactly once in the picture: questions about "the star" need one."""
    colours = scene.colours_of
    return [t for t in scene.things if t.kind in SHAPES and len(colours[t.kind]) == 1]


def existence(scene: Scene, rng: np.random.Generator) -> Question:
    """MME: is there a thing of this colour and shape? Half of the answers are yes."""
    present = {(t.colour, t.kind) for t in scene.things if t.kind in SHAPES}
    if rng.random() < 0.5:
        colour, kind = _one(rng, sorted(present))
        return f"is there any {colour} {kind} ?", "yes"
    absent = [(c, k) for c in COLOURS for k in SHAPES if (c, k) not in present]
    if rng.random() < 0.5:  # near misses: the shape is there, in other colours
        shapes = {k for _, k in present}
        absent = [(c, k) for c, k in absent if k in shapes]
    colour, kind = _one(rng, absent)
    return f"is there any {colour} {kind} ?", "no"


def choice(scene: Scene, rng: np.random.Generator) -> Question:
    """MMBench: what is in this cell, of two to four lettered options?"""
    thing = _one(rng, [t for t in scene.things if t.kind in SHAPES])
    count = int(rng.integers(2, len(LETTERS) + 1))
    others = [kind for kind in SHAPES if kind != thing.kind]
    options = [others[i] for i in rng.permutation(len(others))[: count - 1]]
    right = int(rng.integers(count))
    options.insert(right, thing.kind)
    listed = " ".join(f"{letter} {kind}" for letter, kind in zip(LETTERS, options, strict=False))
    return f"at {ROWS[thing.row]} {COLUMNS[thing.col]} is {listed} ?", LETTERS[right]


def location(scene: Scene, rng: np.random.Generator) -> Question:
    """SEED-Bench (instance location): in which of nine regions is the shape?"""
    thing = _one(rng, _only_shapes(scene))
    region = REGIONS[3 * (3 * thing.row // scene.rows) + 3 * thing.col // scene.cols]
    return f"where is the {thing.kind} ?", region


def digit(scene: Scene, rng: np.random.Generator) -> Question:
    """OCRBench: which handwritten digit has this colour?"""
    thing = _one(rng, [t for t in scene.things if t.kind in DIGITS])
    return f"which digit is {thing.colour} ?", thing.kind


def chart(scene: Scene, rng: np.random.Generator) -> Question:
    """ChartQA: how high is the bar of this colour?"""
    colour, height = _one(rng, list(scene.chart.bars))
    return f"value of the {colour} bar ?", str(height)


def attribute(scene: Scene, rng: np.random.Generator) -> Question:
    """A-OKVQA: which colour does the shape have?"""
    thing = _one(rng, _only_shapes(scene))
    return f"what colour is the {thing.kind} ?", thing.colour


def text(scene: Scene, rng: np.random.Generator) -> Question:
    """TextVQA: read all digits of the sign."""
    return "read the sign ?", " ".join(scene.sign.digits)


def counting(scene: Scene, rng: np.random.Generator) -> Question:
    """VizWiz: how many shapes of this kind, 0 to 4, in a blurred and cluttered picture?"""
    number = len(scene.colours_of.get(scene.counted, []))
    return f"how many {PLURALS[SHAPES.index(scene.counted)]} ?", str(number)


def lookup_kind(scene: Scene, rng: np.random.Generator) -> Question:
    """Training only: what is in this cell? Learned first, it pulls the other families along."""
    thing = _one(rng, list(scene.things))
    return f"what is at {ROWS[thing.row]} {COLUMNS[thing.col]} ?", thing.kind


def lookup_colour(scene: Scene, rng: np.random.Generator) -> Question:
    """Training only: which colour is in this cell?"""
    thing = _one(rng, list(scene.things))
    return f"what colour is at {ROWS[thing.row]} {COLUMNS[thing.col]} ?", thing.colour


FAMILIES: dict[str, Ask] = {
    "existence": existence,
    "choice": choice,
    "location": location,
    "digit": digit,
    "chart": chart,
    "attribute": attribute,
    "text": text,
    "counting": counting,
}
"""The evaluated families, in the order in which a split cycles through them."""

WARM_UP: dict[str, Ask] = {"lookup_kind": lookup_kind, "lookup_colour": lookup_colour}
"""Families that only training uses."""
