"""Equalises the distribution of picture areas: quantile mapping, as VisPCO's Figure 4.

A search that sees pictures of mostly one size learns configurations for that size. Here every
picture is resized, its shape kept, so that areas are uniform between a smallest and a largest one:
the area at quantile u becomes `low + u (high - low)` (arXiv 2604.15188, training data). The order
of areas stays, and equal areas stay equal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from paretoprune.errors import InvalidValueError

Size = tuple[int, int]
"""Width and height in pixels."""


def areas_of(sizes: Sequence[Size]) -> NDArray[np.float64]:
    """Areas in pixels, float64 `[pictures]`."""
    return np.array([width * height for width, height in sizes], dtype=np.float64)


def equalised(
    sizes: Sequence[Size], *, low: float | None = None, high: float | None = None
) -> list[Size]:
    """New sizes whose areas are uniform between `low` and `high` pixels.

    By default the smallest and largest area there are. Sides are rounded to whole pixels, 1 at
    least. Raises `InvalidValueError` for no pictures and for bounds that are not 0 < low <= high.
    """
    if not sizes:
        raise InvalidValueError("areas of no pictures cannot be equalised")
    areas = areas_of(sizes)
    low = float(areas.min()) if low is None else low
    high = float(areas.max()) if high is None else high
    if not 0 < low <= high:
        raise InvalidValueError(
            f"areas are equalised between 0 < low <= high pixels, got low={low:g}, high={high:g}"
        )
    quantile = (rankdata(areas) - 0.5) / len(areas)  # equal areas share their mean rank
    scale = np.sqrt((low + quantile * (high - low)) / areas)
    return [
        (max(1, round(width * s)), max(1, round(height * s)))
        for (width, height), s in zip(sizes, scale.tolist(), strict=True)
    ]


def unevenness(sizes: Sequence[Size]) -> float:
    """Distance of the areas from a uniform distribution over their range, in 0..1.

    The Kolmogorov-Smirnov statistic; 0 where all areas are equal.
    """
    areas = np.sort(areas_of(sizes))
    span = areas[-1] - areas[0]
    if span == 0:
        return 0.0
    uniform = (areas - areas[0]) / span
    steps = np.arange(len(areas) + 1) / len(areas)
    return float(max((steps[1:] - uniform).max(), (uniform - steps[:-1]).max()))
