"""Settings of the gradient search, validated."""

from __future__ import annotations

from dataclasses import dataclass

from paretoprune.core.options import check_ranges
from paretoprune.errors import InvalidValueError, UnknownNameError

STARTS = ("spread", "constant")
LOSSES = ("kl", "retention")
ESTIMATORS = ("straight-through", "soft", "gumbel", "gumbel-straight-through")
AT_LEAST = {
    "knots": 2, "batch": 1, "inner_steps": 1, "most_finals": 1, "micro_batch": 1,
}  # fmt: skip
SHARES = ("final_share",)
POSITIVE = (
    "bend", "learning_rate", "farthest", "sigma", "most_multiplier", "tau_start", "tau_end",
)  # fmt: skip


@dataclass(frozen=True)
class LagrangianOptions:
    """Settings of the gradient search; the defaults are those that the docs' figures use.

    `kernel` is whose parameters are searched; `bend` above 1 puts knots closer together at
    low budgets (see `Knots.within`). `loss` is what is minimised per sample:
    `kl`, the divergence from dense in nats, or `retention`, 1 - exp(-KL): where the dense model is
    sure, exp(-KL) is the probability that its answer is kept, so lost samples no longer drown those
    that one more token would save. `estimator` is how a step sees the mask: `straight-through`
    evaluates at the rounded configuration (one pass more) and differentiates the soft one, `soft`
    uses the soft one for both, `gumbel` draws relaxed samples of it, `gumbel-straight-through`
    draws hard ones. `tau_start` and `tau_end` are mask widths in tokens, annealed over the run;
    `batch` is
    samples per gradient step, of which `micro_batch` are in memory at a time; with `checkpoint` the
    backward pass runs each layer once more instead of keeping what it did; `inner_steps` are
    gradient steps between two multiplier updates; `learning_rate` is that of 5 knots or fewer, and
    falls with their number, since each then hears fewer samples; no keep ratio moves more than
    `farthest` in a step. `start` is where the knots start: `spread`,
    at what should lose least at each budget, by evaluations of schedules all over the space on a
    part of the samples, for at most `start_share` of what final evaluations leave of the budget;
    they judge, too, where the steps end (`gradient.starts`). With a `start_share` of 1 there are no
    steps: what is returned shows what starts and finals do alone. `constant` tries nothing; nor do
    the smallest budgets, where there are 5 knots at most. `final_share` is the share of the budget
    kept for evaluating the rounded configurations, at most `most_finals` of them.
    """

    kernel: str = "free"
    knots: int = 16
    bend: float = 1.0
    batch: int = 16
    micro_batch: int = 16
    checkpoint: bool = False
    inner_steps: int = 8
    loss: str = "retention"
    estimator: str = "straight-through"
    learning_rate: float = 0.5
    farthest: float = 0.1
    sigma: float = 20.0
    most_multiplier: float = 20.0
    tau_start: float = 4.0
    tau_end: float = 2.0
    start: str = "spread"
    start_share: float = 0.6
    final_share: float = 0.5
    most_finals: int = 48

    def __post_init__(self) -> None:
        check_ranges(self, at_least=AT_LEAST, positive=POSITIVE, shares=SHARES)
        if not 0 < self.start_share <= 1:
            raise InvalidValueError(
                f"option start_share must be above 0 and at most 1, got {self.start_share}"
            )
        if self.loss not in LOSSES:
            raise UnknownNameError("loss", self.loss, LOSSES)
        if self.start not in STARTS:
            raise UnknownNameError("start", self.start, STARTS)
        if self.estimator not in ESTIMATORS:
            raise UnknownNameError("estimator", str(self.estimator), ESTIMATORS)

    @property
    def forward_passes(self) -> int:
        """Of the decoder, per step: one more where the forward pass is that of a pruned one."""
        return 1 + self.hard

    @property
    def hard(self) -> bool:
        """Whether the forward pass is that of a really pruned decoder."""
        return self.estimator.endswith("straight-through")

    @property
    def noisy(self) -> bool:
        """Whether masks are drawn."""
        return self.estimator.startswith("gumbel")
