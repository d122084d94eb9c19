"""Honest timing: warm-up, interleaved repeats, medians with their spread, and refusals.

Everything that is compared is run in turn, so that a machine that slows down slows all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from paretoprune.errors import InvalidValueError


@dataclass(frozen=True)
class Timing:
    """Median of `repeats` runs and half the distance between their quartiles, milliseconds."""

    median_ms: float
    spread_ms: float
    repeats: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """The timing of measured runs, in seconds."""
        low, middle, high = np.percentile(np.asarray(seconds) * 1e3, [25, 50, 75])
        return cls(float(middle), float(high - low) / 2, len(seconds))


def interleaved(
    runs: Sequence[Callable[[], object]],
    *,
    repeats: int = 15,
    warmup: int = 2,
    synchronize: Callable[[], None] | None = None,
) -> list[Timing]:
    """Time every run `repeats` times, taking turns, after `warmup` rounds that do not count.

    `synchronize` waits for the device (such as `torch.cuda.synchronize`). Every second round goes
    backwards, so that no run always follows the same other. Raises `InvalidValueError` for fewer
    than 3 repeats, which have no quartiles.
    """
    if repeats < 3:
        raise InvalidValueError(f"timing needs at least 3 repeats, got {repeats}")
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(warmup + repeats):
        order = range(len(runs)) if turn % 2 == 0 else reversed(range(len(runs)))
        for i in order:
            if synchronize is not None:
                synchronize()
            started = time.perf_counter()
            runs[i]()
            if synchronize is not None:
                synchronize()
            if turn >= warmup:
                seconds[i].append(time.perf_counter() - started)
    return [Timing.of(s) for s in seconds]


def why_not_reported(timings: Sequence[Timing]) -> str | None:
    """One sentence that says why these timings tell nothing apart; None where they do.

    They are refused when their typical spread is larger than their typical difference: the standard
    deviation of the medians.
    """
    if len(timings) < 2:
        return None
    spread = float(np.median([t.spread_ms for t in timings]))
    difference = float(np.std([t.median_ms for t in timings]))
    if spread <= difference:
        return None
    return (
        f"the spread of repeated runs, {spread:.3g} ms, is larger than the differences between "
        f"the {len(timings)} configurations, {difference:.3g} ms"
    )
