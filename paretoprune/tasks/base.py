"""Samples of a task: pictures or videos, a prompt, an answer and a question family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import InvalidValueError, brief
from paretoprune.tasks.picture import as_picture
from paretoprune.tasks.scoring import DEFAULT_NEW_TOKENS, EXACT, Likelihood, Scoring

Picture: TypeAlias = Any
"""A PIL picture, or `uint8 [height, width]`, or `uint8 [height, width, 1, 3 or 4]`."""


@dataclass(frozen=True)
class Video:
    """Frames `uint8 [frames, height, width, 3]`, an array or a list; `fps` of them a second."""

    frames: NDArray[np.uint8]
    fps: float = 2.0

    def __post_init__(self) -> None:
        shape = np.shape(self.frames)
        if len(shape) != 4 or shape[-1] != 3 or not shape[0]:
            raise InvalidValueError(
                f"a video needs frames of shape [frames, height, width, 3], got {list(shape)}"
            )
        kind = str(getattr(self.frames, "dtype", None) or np.asarray(self.frames).dtype)
        if kind != "uint8":
            raise InvalidValueError(f"a video needs frames of uint8, got {kind}")
        if not self.fps > 0:
            raise InvalidValueError(f"a video needs more than 0 frames a second, got {self.fps:g}")


Visual: TypeAlias = Picture | Video | Sequence[Picture | Video]
"""Visual input of one prompt: a picture, a video, or several of them in the prompt's order."""


def shown(visual: Visual) -> list[Picture | Video]:
    """The pictures and videos of one prompt, as a list; pictures as `as_picture` gives them."""
    items = visual if isinstance(visual, (list, tuple)) else [visual]
    return [item if isinstance(item, Video) else as_picture(item) for item in items]


def size_of(visual: Visual) -> tuple[tuple[int, ...], ...]:
    """Array shapes of one prompt's pictures: prompts of equal sizes need no padding together."""
    return tuple(
        np.shape(item.frames if isinstance(item, Video) else item) for item in shown(visual)
    )


@dataclass(frozen=True)
class Sample:
    """One question about one picture, several, or a video.

    Without an `answer` the dense model's own greedy one stands for it, of at most `new_tokens`
    tokens: so a compressed model is judged by whether it says the same. Samples of one `group`
    belong together (the two questions about a picture, the rotations of a choice): they never lie
    in two splits, and metrics over groups count them as one. By default each is a group of its own.
    """

    id: str
    image: Visual
    prompt: str
    answer: str | None
    family: str
    scoring: Scoring = EXACT
    group: str | None = None
    new_tokens: int = DEFAULT_NEW_TOKENS

    def __post_init__(self) -> None:
        scoring = self.scoring
        for name, said in (("prompt", self.prompt), ("answer", self.answer)):
            if not isinstance(said, str) and not (name == "answer" and said is None):
                raise InvalidValueError(
                    f"sample {self.id!r}: the {name} is {brief(said)}; allowed: a text; "
                    "several accepted answers are judged by scoring=Generation(judge)"
                )
        if isinstance(scoring, Likelihood) and self.answer not in scoring.options:
            raise InvalidValueError(
                f"sample {self.id!r}: the answer {self.answer!r} is none of the options "
                f"{', '.join(scoring.options)}"
            )

    @property
    def together(self) -> str:
        """The name of its group, or its own."""
        return self.id if self.group is None else self.group


@runtime_checkable
class Measured(Protocol):
    """A task whose figures go beyond the mean outcome, such as accuracy+ or F1."""

    def metrics(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """Figures by name from per-sample outcomes, float32 `[samples]`, and the groups."""
        ...
