"""What a task gives: samples with something to look at, a prompt, one answer and a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import InvalidValueError

Picture: TypeAlias = Any
"""A PIL picture or `uint8 [height, width, 3]`."""


@dataclass(frozen=True)
class Video:
    """Frames `uint8 [frames, height, width, 3]`, `fps` of them a second."""

    frames: NDArray[np.uint8]
    fps: float = 2.0

    def __post_init__(self) -> None:
        shape = np.shape(self.frames)
        if len(shape) != 4 or shape[-1] != 3 or not shape[0]:
            raise InvalidValueError(
                f"a video needs frames of shape [frames, height, width, 3], got {list(shape)}"
            )
        if not self.fps > 0:
            raise InvalidValueError(f"a video needs more than 0 frames a second, got {self.fps:g}")


Visual: TypeAlias = Picture | Video | Sequence[Picture | Video]
"""What one prompt shows: a picture, a video, or several of them in the prompt's order."""


def shown(visual: Visual) -> list[Picture | Video]:
    """The pictures and videos of one prompt, as a list."""
    return list(visual) if isinstance(visual, (list, tuple)) else [visual]


def size_of(visual: Visual) -> tuple[tuple[int, ...], ...]:
    """Array shapes of what one prompt shows: prompts of equal sizes need no padding together."""
    return tuple(
        np.shape(item.frames if isinstance(item, Video) else item) for item in shown(visual)
    )


@dataclass(frozen=True)
class Sample:
    """One question about one picture, several, or a video."""

    id: str
    image: Visual
    prompt: str
    answer: str
    family: str
