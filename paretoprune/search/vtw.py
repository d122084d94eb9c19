"""VTW's criterion (arXiv 2405.05803): all visual tokens leave where the output hardly notices."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.problem import Candidate
from paretoprune.errors import InvalidValueError
from paretoprune.search.per_layer import Numbers, StatisticStrategy, numbers_of


class VTWSearch(StatisticStrategy):
    """Per threshold, the first layer before which all visual tokens may leave.

    It is the first whose KL to dense, at the first answer token, is below the threshold (section
    "Visual Tokens Withdrawal"; the paper's threshold is 0.003). Where there is none, nothing
    leaves. Several thresholds give a front, but never more schedules than there are layers. The
    divergence of every layer is paid for once, in the first ask, on `samples` samples of the search
    split (the paper's 20).
    """

    statistic: ClassVar[str] = "withdrawal"

    def __init__(
        self, thresholds: Numbers = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), samples: int = 20
    ) -> None:
        self.thresholds = numbers_of("thresholds", thresholds)
        if min(self.thresholds) <= 0:
            raise InvalidValueError(f"a threshold must be positive, got {min(self.thresholds):g}")
        if samples < 1:
            raise InvalidValueError(f"VTW needs 1 or more samples, got {samples}")
        self.samples = samples

    def schedules(self, statistic: NDArray[np.float64]) -> list[Candidate]:
        """The schedule of each threshold, in their order, each once."""
        dense_layers = len(statistic) - len(self.knobs)  # those that the space cannot prune
        schedules: dict[int, Candidate] = {}
        for threshold in self.thresholds:
            below = np.flatnonzero(statistic[dense_layers:] < threshold)
            kept = int(below[0]) if len(below) else len(self.knobs)
            ratios = np.arange(len(self.knobs)) < kept
            schedules.setdefault(kept, self.schedule(ratios.astype(np.float64)))
        return list(schedules.values())
