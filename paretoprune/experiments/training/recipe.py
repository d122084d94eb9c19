"""How the embedded mini-models are trained: settings, learning rates, curriculum."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paretoprune.tasks.minivqa.vocabulary import SIZES


@dataclass(frozen=True, slots=True)
class Lesson:
    """The data that a mini-model is trained and judged on, and for how many steps.

    `task` is the registered task, `sizes` are rows and columns of its pictures.
    """

    task: str
    sizes: tuple[tuple[int, int], ...]
    steps: int


LESSONS = {
    "mini-llava": Lesson("minivqa", SIZES[:1], steps=6000),
    "mini-qwen2.5-vl": Lesson("minivqa-sizes", SIZES, steps=3500),
    "mini-internvl": Lesson("minivqa", SIZES[:1], steps=3500),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of one training run; `steps` is set by each mini-model's lesson."""

    steps: int = 6000
    batch: int = 16
    questions: int = 20
    peak_lr: float = 1.5e-3
    muon_lr: float = 3e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05
    seed: int = 0
    report_every: int = 250
    checkpoint_every: int = 500

    def rate(self, step: int) -> float:
        """Learning rate as a share of its peak: linear warm-up, then a cosine to zero."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        share = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * share))

    def scenes(self, step: int) -> tuple[int, float]:
        """Most things in a scene and share of degraded pictures: small, clean scenes first."""
        progress = step / self.steps
        if progress < 0.08:
            return 4, 0.0
        if progress < 0.2:
            return 5, 0.1
        return 7, 0.3

    def auxiliary_weight(self, step: int) -> float:
        """Weight of the patch classifiers' loss, which teaches the vision tower first."""
        return 1.0 if step < 0.2 * self.steps else 0.2
