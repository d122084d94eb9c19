"""Keep schedules: per decoder layer, the share of visual tokens it processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.options import is_number, listed, whole_number
from paretoprune.errors import InvalidValueError, brief, share_hint


@dataclass(frozen=True)
class KeepSchedule:
    """Keep ratio of each decoder layer, in 0..1 and non-increasing: a dropped token stays dropped.

    Raises `InvalidValueError` for an empty schedule, a ratio out of range or one that rises.
    """

    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        if not listed("keep ratios", self.ratios):
            raise InvalidValueError("a keep schedule needs at least one layer")
        for layer, ratio in enumerate(self.ratios):
            if not (is_number(ratio) and 0.0 <= ratio <= 1.0):  # nan too
                hint = share_hint(ratio) if is_number(ratio) else ""
                raise InvalidValueError(
                    f"keep ratio of layer {layer} must be in [0, 1], got {brief(ratio)}{hint}"
                )
            if layer and ratio > self.ratios[layer - 1] + 1e-9:
                raise InvalidValueError(
                    f"keep ratios must not rise (dropped tokens stay dropped), but layer {layer} "
                    f"has {ratio:g} after {self.ratios[layer - 1]:g}"
                )

    @classmethod
    def constant(cls, ratio: float, layers: int) -> KeepSchedule:
        """The same keep ratio in every layer; 1 is dense, 0 is text-only."""
        return cls((ratio,) * whole_number("the number of layers", layers, 1))

    @classmethod
    def from_ratios(cls, ratios: Sequence[float] | NDArray[np.float64]) -> KeepSchedule:
        """A schedule from any sequence of numbers."""
        return cls(tuple(float(r) if is_number(r) else r for r in listed("keep ratios", ratios)))

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(self.ratios)

    def rounded(self, levels: int) -> KeepSchedule:
        """The nearest schedule on the lattice 0, 1/levels, ..., 1 (halves round up).

        Siblings that meet on a lattice share work. Rounding is monotone, so the result never rises.
        """
        levels = whole_number("the number of levels", levels, 1)
        return KeepSchedule(tuple(math.floor(r * levels + 0.5) / levels for r in self.ratios))

    def counts(self, visual: int) -> NDArray[np.int64]:
        """Visual tokens each layer processes of `visual`, int64 `[layers]` (halves round up)."""
        visual = whole_number("the number of visual tokens", visual)
        return keep_counts(np.asarray(self.ratios), np.asarray([visual]))[:, 0]

    def __str__(self) -> str:
        return " ".join(f"{100 * r:.0f}" for r in self.ratios)


def keep_counts(
    ratios: NDArray[np.float64],
    visual: NDArray[np.int64],
    pictures: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Kept tokens for ratios `[layers]` of `visual` tokens `[samples]`: int64 `[layers, samples]`.

    Each sample keeps its own share of its own count; ratios `[samples, layers]` are each sample's
    own. A ratio above 0 keeps at least one token, or one for each of a sample's `pictures`, int64
    `[samples]`; none where a layer before kept none. The one place where ratios become counts (soft
    decoders round by `min_kept_counts`).
    """
    shares = ratios[:, None] if ratios.ndim == 1 else ratios.T
    rounded = np.floor(shares * visual[None, :] + 0.5 + 1e-9).astype(np.int64)
    counts = np.maximum(rounded, np.where(shares > 0, min_kept_counts(visual, pictures), 0))
    return np.minimum.accumulate(counts)  # ratios may rise by rounding


def min_kept_counts(
    visual: NDArray[np.int64], pictures: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Fewest tokens that a ratio above 0 keeps of `visual` tokens `[samples]`: int64 `[samples]`.

    One, or one for each of a sample's `pictures`; none where there are none.
    """
    return np.minimum(1 if pictures is None else pictures, visual)
