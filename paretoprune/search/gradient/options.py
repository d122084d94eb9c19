"""Options of the gradient strategies, validated."""

from __future__ import annotations

from dataclasses import dataclass, fields

from paretoprune.core.options import check_ranges
from paretoprune.errors import InvalidValueError, UnknownNameError

MIN_COUNTS = {"grid_points": 2}
"""Smallest values of counts that must be more than 1."""
LOSSES = ("kl", "retention")
ESTIMATORS = ("straight-through", "soft", "gumbel", "gumbel-straight-through")


@dataclass(frozen=True)
class GradientOptions:
    """Options of every gradient strategy.

    `kernel` is the kernel whose parameters are searched. `batch` is the number of samples of a
    gradient step, of which `micro_batch` are in memory at a time. With `checkpoint` the backward
    pass runs each layer once more instead of keeping its activations. `inner_steps` gradient steps
    lie between two multiplier updates. `sigma` is the penalty weight of the augmented Lagrangian.
    `final_share` is the share of the budget kept for evaluating the final candidates, which are
    `max_final_evaluations` at most.
    """

    kernel: str = "free"
    batch: int = 16
    micro_batch: int = 16
    checkpoint: bool = False
    inner_steps: int = 8
    learning_rate: float = 0.5
    sigma: float = 20.0
    final_share: float = 0.5
    max_final_evaluations: int = 48

    def __post_init__(self) -> None:
        """Counts are 1 or more, real numbers positive, shares between 0 and 1."""
        kinds = {field.name: type(field.default) for field in fields(self)}
        check_ranges(
            self,
            at_least={n: MIN_COUNTS.get(n, 1) for n, kind in kinds.items() if kind is int},
            positive=[n for n, kind in kinds.items() if kind is float and not n.endswith("_share")],
            shares=("final_share",),
        )

    @property
    def forward_passes(self) -> int:
        """Forward passes of the decoder in each step."""
        return 1


@dataclass(frozen=True)
class BudgetGridOptions(GradientOptions):
    """Options of the strategies that solve for a grid of budgets.

    The grid has `grid_points` budgets; a `grid_exponent` above 1 puts them closer together at low
    budgets (see `BudgetGrid.within`). `loss` is minimised per sample: `kl`, the divergence from
    dense in nats, or `retention`, 1 - exp(-KL). Where the dense model is sure, exp(-KL) is the
    probability that its answer is kept, so samples whose answer changed do not dominate the mean.
    `max_multiplier` is where multipliers are clamped. `tau_start` and `tau_end` are mask widths in
    tokens, annealed over the run. `initial_share` is the largest share of the budget without final
    evaluations that initial designs may cost (`gradient.initial_designs`); with 0 there are none.
    """

    grid_points: int = 16
    grid_exponent: float = 1.0
    loss: str = "retention"
    max_multiplier: float = 20.0
    tau_start: float = 4.0
    tau_end: float = 2.0
    initial_share: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.initial_share <= 1:
            raise InvalidValueError(
                f"option initial_share must be in 0..1, got {self.initial_share}"
            )
        if self.loss not in LOSSES:
            raise UnknownNameError("loss", self.loss, LOSSES)


@dataclass(frozen=True)
class LagrangianOptions(BudgetGridOptions):
    """Options of the gradient search; the documentation's figures use the defaults.

    `estimator` is how a step sees the mask: `straight-through` evaluates the rounded configuration
    (one forward pass more) and differentiates the soft one, `soft` uses the soft one for both,
    `gumbel` draws relaxed samples of it, `gumbel-straight-through` draws hard ones.
    `learning_rate` is that of 5 grid points or fewer. It falls with the number of grid points,
    since each then gets the gradients of fewer samples. No keep ratio moves more than `max_step` in
    a step. With an `initial_share` of 1 there are no steps: only initial designs and final
    candidates are evaluated.
    """

    max_step: float = 0.1
    estimator: str = "straight-through"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.estimator not in ESTIMATORS:
            raise UnknownNameError("estimator", str(self.estimator), ESTIMATORS)

    @property
    def forward_passes(self) -> int:
        """Forward passes of the decoder in each step; a hard forward pass is one more."""
        return 1 + self.hard

    @property
    def hard(self) -> bool:
        """Whether the forward pass is that of a really pruned decoder."""
        return self.estimator.endswith("straight-through")

    @property
    def noisy(self) -> bool:
        """Whether masks are drawn."""
        return self.estimator.startswith("gumbel")


@dataclass(frozen=True)
class AdaptiveOptions(BudgetGridOptions):
    """Options of the adaptive search.

    `clusters` is the number of clusters of questions with initial designs of their own. Where
    `initial_share` pays for too few designs, or with one cluster, the search starts from constant
    schedules. `width` is that of the predictor's layers. `learning_rate` is AdamW's for the
    predictor, `base_rate` that of the parameters at the grid points; both fall by a cosine.
    """

    batch: int = 32
    learning_rate: float = 3e-3
    final_share: float = 0.3
    grid_exponent: float = 2.0
    initial_share: float = 0.5
    clusters: int = 8
    width: int = 16
    base_rate: float = 0.05

    @property
    def forward_passes(self) -> int:
        """Forward passes of the decoder in each step: a soft and a really pruned one."""
        return 2


@dataclass(frozen=True)
class VispcoOptions(GradientOptions):
    """Options of VisPCO: the paper's values where it gives them (section 4.1 and its code).

    `width` is that of the predictor's layers; `sigma` is the penalty weight at the start.
    """

    kernel: str = "single-step"
    learning_rate: float = 1e-4
    sigma: float = 100.0
    max_final_evaluations: int = 24
    width: int = 32
