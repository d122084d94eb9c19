"""Which samples a partial evaluation sees: nested, stratified, and the same for all candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.tasks.base import Sample


def stratified_order(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Sample numbers in an order whose every prefix holds the families in proportion: `[samples]`.

    Within a family the order is random but fixed: it depends on the number of samples alone.
    """
    rng = np.random.default_rng(len(samples))
    families: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        families.setdefault(sample.family, []).append(number)
    place = np.empty(len(samples))
    for members in families.values():
        # spread each family evenly over 0..1, so that prefixes are proportional
        shuffled = rng.permutation(members)
        place[shuffled] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")


def chosen_samples(order: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """The first `share` (over 0, at most 1) of the order, at least two samples: bool `[samples]`.

    Larger shares contain smaller ones, so what differs between candidates is never the samples.
    """
    count = min(len(order), max(2, math.ceil(share * len(order) - 1e-9)))
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order[:count]] = True
    return chosen
