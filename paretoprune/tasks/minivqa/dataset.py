"""MiniVQA as splits of samples: procedural, seeded, and disjoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.tasks.base import Sample
from paretoprune.tasks.minivqa.questions import FAMILIES
from paretoprune.tasks.minivqa.render import SPLITS, Split, render
from paretoprune.tasks.minivqa.scene import draw_scene
from paretoprune.tasks.minivqa.vocabulary import SIZES


def load_split(split: Split, size: int, *, seed: int = 0) -> list[Sample]:
    """The first `size` samples of a split, all on square pictures; the families take turns.

    A sample depends on split, seed and its number only, so a larger split starts with the smaller
    one. Handwritten digits and random streams of different splits never overlap.
    """
    return _load(split, size, seed, SIZES[:1])


def load_sizes_split(split: Split, size: int, *, seed: int = 0) -> list[Sample]:
    """The same on pictures of two sizes in turn, for models of dynamic resolution."""
    return _load(split, size, seed, SIZES)


def _load(split: Split, size: int, seed: int, sizes: Sequence[tuple[int, int]]) -> list[Sample]:
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if size < 1:
        raise InvalidValueError(f"a split needs at least 1 sample, got {size}")
    turn = len(FAMILIES)  # every family sees every size
    return [
        draw_sample(split, number, seed=seed, size=sizes[number // turn % len(sizes)])
        for number in range(size)
    ]


def draw_sample(
    split: Split, number: int, *, seed: int = 0, size: tuple[int, int] = SIZES[0]
) -> Sample:
    """Sample `number` of a split, on a grid of `size` rows and columns.

    The counting family (VizWiz) sees degraded pictures.
    """
    # the leading constant keeps these streams apart from those that training draws
    rng = np.random.default_rng([2604_15188, SPLITS.index(split), seed, number])
    family = list(FAMILIES)[number % len(FAMILIES)]
    scene = draw_scene(rng, degraded=family == "counting", rows=size[0], cols=size[1])
    picture = render(scene, rng, split)
    prompt, answer = FAMILIES[family](scene, rng)
    return Sample(f"{split}-{seed}-{number}", picture, prompt, answer, family)
