"""What a task gives: samples with a picture, a prompt, one answer and a question family."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One question about one picture (`uint8 [height, width, 3]`)."""

    id: str
    image: NDArray[np.uint8]
    prompt: str
    answer: str
    family: str
