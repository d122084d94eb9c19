"""Settings of the adaptive search, validated."""

from __future__ import annotations

from dataclasses import dataclass

from paretoprune.core.options import check_ranges
from paretoprune.errors import UnknownNameError
from paretoprune.search.gradient.options import LOSSES

AT_LEAST = {
    "knots": 2, "kinds": 1, "batch": 1, "micro_batch": 1, "inner_steps": 1, "width": 1,
    "most_finals": 1,
}  # fmt: skip
SHARES = ("final_share", "start_share")
POSITIVE = (
    "bend", "learning_rate", "base_rate", "sigma", "most_multiplier", "tau_start", "tau_end",
)  # fmt: skip


@dataclass(frozen=True)
class AdaptiveOptions:
    """Settings of the adaptive search; those that it shares with `gradient` mean the same.

    `kinds` is how many kinds of questions have a front of their own to start from, which is sought
    for at most `start_share` of what `final_share` leaves of the budget; where that pays for too
    few schedules, or with one kind, there is one, constant start. `width` is that of the
    predictor's layers; `learning_rate` is AdamW's for the predictor, `base_rate` that of the
    parameters at the knots; rates fall by a cosine.
    """

    kernel: str = "free"
    knots: int = 16
    bend: float = 2.0
    kinds: int = 8
    start_share: float = 0.5
    batch: int = 32
    micro_batch: int = 16
    checkpoint: bool = False
    inner_steps: int = 8
    loss: str = "retention"
    width: int = 16
    learning_rate: float = 3e-3
    base_rate: float = 0.05
    sigma: float = 20.0
    most_multiplier: float = 20.0
    tau_start: float = 4.0
    tau_end: float = 2.0
    final_share: float = 0.3
    most_finals: int = 48

    def __post_init__(self) -> None:
        check_ranges(self, at_least=AT_LEAST, positive=POSITIVE, shares=SHARES)
        if self.loss not in LOSSES:
            raise UnknownNameError("loss", self.loss, LOSSES)

    @property
    def forward_passes(self) -> int:
        """Of the decoder, per step: a soft and a really pruned one."""
        return 2
