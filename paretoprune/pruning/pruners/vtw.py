"""VTW (arXiv 2405.05803): all visual tokens leave at one layer, and nothing is ranked for it."""

from __future__ import annotations

from torch import Tensor

from paretoprune.errors import InvalidValueError
from paretoprune.pruning.base import PruningContext, RowPruner


class VTW(RowPruner):
    """Visual tokens withdrawal: all of them before layer K, none from it on (section "VTW").

    K is the schedule's; the paper takes the first layer at which the output's divergence from the
    dense model is small enough (half of LLaVA-1.5-7B's 32). A search over schedules finds K: of any
    schedule, the first drop takes every token. A schedule that keeps a part of them is refused.
    """

    name = "vtw"
    first_layer = 0
    withdraws = True

    def select_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """There is nothing to choose from: raises `InvalidValueError`."""
        raise InvalidValueError(
            f"pruner {self.name!r} keeps all visual tokens or none, not {n} of "
            f"{one.visual.shape[1]}; choose another pruner"
        )
