"""What one candidate really runs: a pruner with its settings, and a keep schedule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretoprune.problem import Candidate
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import PRUNER
from paretoprune.schedules import KeepSchedule
from paretoprune.space import Value

EXACT = "schedule"
"""Space name of candidates that hold a schedule as it is, off any lattice; never searched."""
KEEP = "keep_"


@dataclass(frozen=True)
class Configuration:
    """`ratios` float64 [layers] of visual tokens are kept, ranked by `pruner`."""

    pruner: Pruner
    ratios: NDArray[np.float64]

    @property
    def key(self) -> str:
        """Equal for configurations that compute the same.

        A schedule that keeps all tokens or none ranks nothing, so its pruner plays no part.
        """
        kept = tuple(self.ratios.tolist())
        ranks = any(0 < ratio < 1 for ratio in kept)
        return f"{self.pruner.label if ranks else ''} {kept}"

    @property
    def schedule(self) -> KeepSchedule:
        """The ratios as a schedule."""
        return KeepSchedule.from_ratios(self.ratios)


def exact_candidate(schedule: KeepSchedule, pruner: Pruner | None = None) -> Candidate:
    """A candidate that stands for exactly this schedule, on or off any lattice.

    `pruner` ranks, with its settings; without one, the problem's own.
    """
    values: dict[str, Value] = {}
    if pruner is not None:
        values[PRUNER] = pruner.name
        values |= {f"{pruner.name}.{name}": value for name, value in pruner.settings.items()}
    return Candidate(EXACT, values | {f"{KEEP}{i}": r for i, r in enumerate(schedule.ratios)})


def exact_ratios(candidate: Candidate) -> KeepSchedule:
    """The schedule that an exact candidate holds."""
    layers = sum(name.startswith(KEEP) for name in candidate.values)
    return KeepSchedule.from_ratios([float(candidate.values[f"{KEEP}{i}"]) for i in range(layers)])
