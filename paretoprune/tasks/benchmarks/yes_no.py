"""Questions that are answered by yes or no, and the figures that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.tasks.base import Sample

OPTIONS = ("Yes", "No")
Reader = Callable[[str], str | None]


def says(answer: str, read: Reader) -> Callable[[str], float]:
    """A judge: 1 for a text that `read` takes as this answer."""
    return lambda said: float(read(said) == answer.lower())


def yes_figures(samples: Sequence[Sample], outcomes: NDArray[np.float32]) -> Mapping[str, float]:
    """Precision, recall and F1 of yes, and the share of questions that were answered yes.

    A figure whose denominator is 0 is 0. Every answer counts as yes or no.
    """
    truth = np.array([sample.answer == OPTIONS[0] for sample in samples])
    right = np.asarray(outcomes) == 1
    said_yes = truth == right
    hits = int((said_yes & truth).sum())
    precision = hits / max(1, int(said_yes.sum()))
    recall = hits / max(1, int(truth.sum()))
    both = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / both if both else 0.0,
        "yes_share": float(said_yes.mean()),
    }
