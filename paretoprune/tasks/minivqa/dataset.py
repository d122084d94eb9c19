"""MiniVQA as splits of samples: procedural, seeded, and disjoint."""

from __future__ import annotations

import numpy as np

from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.tasks.base import Sample
from paretoprune.tasks.minivqa.questions import FAMILIES
from paretoprune.tasks.minivqa.render import SPLITS, Split, render
from paretoprune.tasks.minivqa.scene import draw_scene


def load_split(split: Split, size: int, *, seed: int = 0) -> list[Sample]:
    """The first `size` samples of a split; the families take turns.

    A sample depends on split, seed and its number only, so a larger split starts with the smaller
    one. Handwritten digits and random streams of different splits never overlap.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if size < 1:
        raise InvalidValueError(f"a split needs at least 1 sample, got {size}")
    return [draw_sample(split, number, seed=seed) for number in range(size)]


def draw_sample(split: Split, number: int, *, seed: int = 0) -> Sample:
    """Sample `number` of a split. The counting family (VizWiz) sees degraded pictures."""
    # the leading constant keeps these streams apart from those that training draws
    rng = np.random.default_rng([2604_15188, SPLITS.index(split), seed, number])
    family = list(FAMILIES)[number % len(FAMILIES)]
    scene = draw_scene(rng, degraded=family == "counting")
    picture = render(scene, rng, split)
    prompt, answer = FAMILIES[family](scene, rng)
    return Sample(f"{split}-{seed}-{number}", picture, prompt, answer, family)
