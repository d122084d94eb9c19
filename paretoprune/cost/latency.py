"""A latency model of one decoder on one device, fitted from a few dozen measured points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import KFold

from paretoprune.errors import InvalidValueError

FOLDS = 5


@dataclass(frozen=True)
class LayerPoint:
    """Measured time of decoder layer `layer` with `tokens` tokens, milliseconds."""

    tokens: int
    layer: int
    latency_ms: float


class LatencyModel:
    """Prefill latency as the sum of its layers, an addition per drop, and a constant.

    A layer's time over its tokens is monotone, nothing more (isotonic regression, linear between
    the points): devices have plateaus and steps that a polynomial misses. Outside of the measured
    token counts it is constant. `error` is the cross-validated mean relative error of a layer at
    token counts that were left out, ends excepted. Raises `InvalidValueError` for fewer than 8
    different token counts.
    """

    def __init__(self, points: Sequence[LayerPoint]) -> None:
        tokens, times = _medians(points)
        if len(tokens) < 8:
            raise InvalidValueError(
                f"a latency model needs 8 or more different token counts, got {len(tokens)}"
            )
        self.points = list(points)
        self.error = _cross_validated(tokens, times)
        self._layer = _fit(tokens, times)
        self.drop_ms = 0.0
        self.constant_ms = 0.0

    def layers_ms(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted time of each layer at token counts of any shape, milliseconds."""
        flat = np.asarray(self._layer.predict(np.ravel(tokens).astype(np.float64)))
        return flat.reshape(np.shape(tokens))

    def calibrate(
        self, tokens: NDArray[np.int64], drops: NDArray[np.int64], measured: NDArray[np.float64]
    ) -> float:
        """Fit the additions of a drop and a prefill to whole prefills; returns an error.

        `tokens` int64 [schedules, layers], `drops` int64 [schedules], `measured` [schedules] in
        milliseconds. The error is the mean relative one of these whole prefills, leave-one-out.
        """
        rest = measured - self.layers_ms(tokens).sum(1)
        errors = []
        for left_out in range(len(rest)):
            others = np.arange(len(rest)) != left_out
            drop, constant = _line(drops[others], rest[others])
            gap = rest[left_out] - (constant + drop * drops[left_out])
            errors.append(abs(gap) / measured[left_out])
        self.drop_ms, self.constant_ms = _line(drops, rest)
        return float(np.mean(errors))

    def predict_ms(
        self, tokens: NDArray[np.int64], drops: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Prefill latency of schedules with `tokens` [..., layers] and `drops` [...]: `[...]`."""
        total = self.layers_ms(tokens).sum(-1) + self.drop_ms * drops + self.constant_ms
        return np.asarray(total)


def _medians(points: Sequence[LayerPoint]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct token counts in order, and the median time over layers at each."""
    counts = sorted({p.tokens for p in points})
    times = [float(np.median([p.latency_ms for p in points if p.tokens == n])) for n in counts]
    return np.asarray(counts, dtype=np.float64), np.asarray(times)


def _fit(tokens: NDArray[np.float64], times: NDArray[np.float64]) -> IsotonicRegression:
    return IsotonicRegression(increasing=True, out_of_bounds="clip").fit(tokens, times)


def _cross_validated(tokens: NDArray[np.float64], times: NDArray[np.float64]) -> float:
    inner = np.arange(1, len(tokens) - 1)
    errors: list[float] = []
    for _, place in KFold(min(FOLDS, len(inner)), shuffle=True, random_state=0).split(inner):
        out = inner[place]
        kept = np.setdiff1d(np.arange(len(tokens)), out)
        guess = _fit(tokens[kept], times[kept]).predict(tokens[out])
        errors += list(np.abs(guess - times[out]) / times[out])
    return float(np.mean(errors))


def _line(x: NDArray[np.int64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope (at least 0) and intercept by least squares; a constant x has slope 0."""
    centred = x - x.mean()
    square = float((centred**2).sum())
    slope = max(0.0, float((centred * y).sum()) / square) if square else 0.0
    return slope, float(y.mean() - slope * x.mean())
