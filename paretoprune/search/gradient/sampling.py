"""Which samples a gradient step sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def distinct(rng: np.random.Generator, total: int, count: int) -> NDArray[np.int64]:
    """`count` of `total` sample numbers, without repeats as long as there are enough."""
    rounds = [rng.permutation(total) for _ in range(-(-count // total))]
    return np.concatenate(rounds)[:count].astype(np.int64)
