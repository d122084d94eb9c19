"""The static policy: one keep schedule for every input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from paretoprune.pruning.policies.base import Policy
from paretoprune.schedules.schedule import KeepSchedule

if TYPE_CHECKING:
    from torch import Tensor

    from paretoprune.pruning.base import PruningContext


class Static(Policy):
    """A keep schedule, given as ratios per layer, that looks at nothing and costs nothing."""

    name = "static"
    adaptive: ClassVar[bool] = False

    def __init__(self, keep: KeepSchedule | Sequence[float]) -> None:
        self.schedule = keep if isinstance(keep, KeepSchedule) else KeepSchedule.from_ratios(keep)

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self.schedule.layers

    @property
    def settings(self) -> Mapping[str, Any]:
        """The ratios."""
        return {"keep": list(self.schedule.ratios)}

    def ratios(self, context: PruningContext) -> Tensor:
        """The schedule's, for each sample."""
        import torch

        row = torch.from_numpy(np.asarray(self.schedule.ratios))
        return row.expand(len(context.hidden), -1)
