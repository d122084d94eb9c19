"""VTW's criterion (arXiv 2405.05803): all visual tokens leave where the output hardly notices."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from paretoprune.core.capabilities import statistics_of
from paretoprune.core.problem import Candidate, Problem
from paretoprune.core.strategy import SearchContext
from paretoprune.errors import InvalidValueError
from paretoprune.search.per_layer import Numbers, PerLayerStrategy, numbers_of

STATISTIC = "withdrawal"


class VTWSearch(PerLayerStrategy):
    """Per threshold, the first layer before which all visual tokens may leave.

    It is the first whose KL to dense, at the first answer token, is below the threshold (section
    "Visual Tokens Withdrawal"; the paper's threshold is 0.003). Where there is none, nothing
    leaves. Several thresholds give a front, but never more schedules than there are layers. The
    divergence of every layer is paid for once, in the first ask, on `samples` samples of the search
    split (the paper's 20).
    """

    depends_on_seed: ClassVar[bool] = False

    def __init__(
        self, thresholds: Numbers = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), samples: int = 20
    ) -> None:
        self.thresholds = numbers_of("thresholds", thresholds)
        if min(self.thresholds) <= 0:
            raise InvalidValueError(f"a threshold must be positive, got {min(self.thresholds):g}")
        if samples < 1:
            raise InvalidValueError(f"VTW needs 1 or more samples, got {samples}")
        self.samples = samples

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem that says what withdrawal does."""
        super().start(problem, context)
        self._price = statistics_of(problem, STATISTIC).probe_price(STATISTIC, self.samples)
        self.needs_budget(self._price)
        self._pending: list[Candidate] | None = None

    def ask(self, n: int) -> list[Candidate]:
        """Up to `n` of the schedules; the first ask looks at the divergences."""
        if self._pending is None:
            self.context.charge(self._price)
            self._pending = self._chosen()
        asked, self._pending = self._pending[:n], self._pending[n:]
        return asked

    @property
    def finished(self) -> bool:
        """Whether every schedule has been asked."""
        return self._pending is not None and not self._pending

    def _chosen(self) -> list[Candidate]:
        """The schedule of each threshold, in their order, each once."""
        divergence = statistics_of(self.problem, STATISTIC).probe(STATISTIC, self.samples)
        dense_layers = len(divergence) - len(self.knobs)  # those that the space cannot prune
        found: dict[int, Candidate] = {}
        for threshold in self.thresholds:
            below = np.flatnonzero(divergence[dense_layers:] < threshold)
            kept = int(below[0]) if len(below) else len(self.knobs)
            ratios = np.arange(len(self.knobs)) < kept
            found.setdefault(kept, self.schedule(ratios.astype(np.float64)))
        return list(found.values())
