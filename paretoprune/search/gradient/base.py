"""Base classes of the gradient strategies: rounds of steps, a grid of budgets, final candidates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.core.trace import Round, SearchTrace
from paretoprune.cost import DecoderSpec
from paretoprune.pruning.policies.trained import TrainedPolicy
from paretoprune.search.gradient.budgets import (
    DIGITS,
    BudgetGrid,
    PredictedFront,
    round_budgets,
    select_budgets,
)
from paretoprune.search.gradient.coordinates import kernel_spaces, reachable_by
from paretoprune.search.gradient.initial_designs import InitialDesign, InitialDesigns
from paretoprune.search.gradient.options import BudgetGridOptions, GradientOptions
from paretoprune.search.gradient.relaxation import Relaxation
from paretoprune.search.gradient.state import GradientState

LOWEST_MARGIN = 0.02
"""Share of the reachable range below the lowest grid point: only one schedule is the cheapest."""
HIGHEST_BUDGET = 0.9
"""Relative compute of the highest grid point."""
AVERAGED_SHARE = 0.33
"""Last share of the steps over which iterates or weights are averaged."""
SLOPE_START, SLOPE_END = 2.0, 10.0
"""Steepness of a kernel's steps per layer, annealed over the run."""
RESERVE_FACTOR = 1.1
"""The budget kept for final evaluations, relative to their expected price."""


class Step(NamedTuple):
    """One gradient step: mean divergence in nats, c = u - b, and mean keep ratios where known."""

    divergence: float
    constraint: Tensor
    kept: Tensor | None = None


class GradientStrategy(SearchStrategy):
    """A strategy that differentiates the relaxation of a problem with one cost.

    Each `ask` runs one round (`inner_steps` gradient steps and a multiplier update) and returns
    nothing. The dense model's answers are paid for once, before the first step. A part of the
    budget is kept for the final candidates, which come out once the rest is spent.
    """

    requires_gradient: ClassVar[bool] = True
    max_objectives: ClassVar[int | None] = 2
    options_class: ClassVar[type | None] = GradientOptions
    tokens_leave: ClassVar[bool] = True
    """Whether a soft pass leaves tokens out, so that cheap schedules make cheap steps."""
    ends_cut_rounds: ClassVar[bool] = False
    """Whether multipliers are updated after a round that the budget cut short."""
    relaxed: Relaxation
    options: GradientOptions
    history: list[dict[str, Any]]
    """JSON-ready figures of each round."""

    def __init__(self, options: GradientOptions | None = None, **overrides: Any) -> None:
        assert self.options_class is not None
        self.options = self.options_class(**overrides) if overrides or options is None else options

    def own_spaces(self, problem: Problem) -> Sequence[str]:
        """The kernels of the relaxation, that of the options first."""
        return kernel_spaces(problem, self.options.kernel)

    def untrained(self, spec: DecoderSpec) -> TrainedPolicy | None:
        """The policy that it would train for a decoder, to plan its size; None for none."""
        return None

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to the problem; nothing is paid for yet."""
        super().start(problem, context)
        self.history = []
        self._teacher_paid = False
        self._reserve = 0.0
        self._for_steps = 0.0
        self._stepped = 0.0
        self._finals: list[Candidate] | None = None
        self._handed_out = 0

    @property
    def progress(self) -> float:
        """Share of the gradient steps' budget that is spent, 0..1."""
        return min(1.0, self._stepped / max(self._for_steps, 1e-9))

    @property
    def returning(self) -> bool:
        """Whether it takes no more steps, and hands out final candidates."""
        return self._finals is not None

    @property
    def finished(self) -> bool:
        """Whether all final candidates have been handed out."""
        return self._finals is not None and self._handed_out >= len(self._finals)

    def ask(self, n: int) -> list[Candidate]:
        """Designs to evaluate, if any; else one round; at the end, up to `n` final candidates."""
        if self._open_designs:
            return [design.candidate for design in self._open_designs[:n]]
        if self._finals is None:
            if self._run_round():
                return []
            if self._open_designs:
                return [design.candidate for design in self._open_designs[:n]]
            self._finals = self._final_candidates()
        ready = self._finals[self._handed_out : self._handed_out + n]
        self._handed_out += len(ready)
        return ready

    @property
    def _open_designs(self) -> list[InitialDesign]:
        """Designs whose evaluations are not known yet."""
        return []

    def _run_round(self) -> bool:
        """One round of steps; false once the budget for steps is spent."""
        if not self._pay_teacher():
            return False
        rng = self.context.rng()
        steps: list[Step] = []
        while len(steps) < self.options.inner_steps:
            step = self._step(rng)
            if step is None:
                break
            steps.append(step)
        whole = len(steps) == self.options.inner_steps
        if whole or (steps and self.ends_cut_rounds):
            self._end_round(steps, rng)
        return whole

    @abstractmethod
    def _step(self, rng: np.random.Generator) -> Step | None:
        """One gradient step, paid for; None if the budget does not reach."""

    @abstractmethod
    def _end_round(self, steps: Sequence[Step], rng: np.random.Generator) -> None:
        """Update the multipliers and write the round down."""

    @abstractmethod
    def _final_candidates(self) -> list[Candidate]:
        """Everything to evaluate in the end, cheapest first."""

    def _pays(self, price: float) -> bool:
        """Pay for a step; false if the final evaluations could then no longer be paid for."""
        if not self.context.affords(price + self._reserve):
            return False
        self.context.charge(price)
        return True

    def _pay_teacher(self) -> bool:
        """Pay for the dense model's answers, once; false if the budget does not reach."""
        if not self._teacher_paid:
            self._teacher_paid = self._pays(self._price_before_steps())
        return self._teacher_paid

    def _price_before_steps(self) -> float:
        """Price of the dense model's answers, paid once before the first step."""
        return self.relaxed.teacher_price()

    def _traced(
        self,
        loss: str,
        budgets: Iterable[float],
        clamp: float | None = None,
        constraint: str = "excess",
    ) -> SearchTrace:
        """All rounds so far; `constraint` is the key of c = u - b at these budgets."""
        return SearchTrace(
            loss=loss,
            budgets=tuple(float(b) for b in budgets),
            reachable=reachable_by(self.relaxed, self.problem, self.space_name),
            clamp=clamp,
            rounds=tuple(
                Round(
                    h["spent"], h["divergence"][0], tuple(h[constraint]), tuple(h["kept"]),
                    tuple(h["multiplier"]),
                )
                for h in self.history
            ),
        )  # fmt: skip

    # --- checkpoints

    def state(self) -> GradientState:
        """Everything that a fresh, started search needs to continue identically."""
        tensors, values = self._own_state()
        shared = {
            "teacher_paid": self._teacher_paid, "stepped": self._stepped,
            "history": self.history, "handed_out": self._handed_out,
        }  # fmt: skip
        return GradientState(tensors, shared | values)

    def restore(self, state: GradientState) -> None:
        """Take over a state; `start` must have been called with the same problem and context."""
        values = state.values
        self._teacher_paid, self._stepped = values["teacher_paid"], values["stepped"]
        self.history, self._handed_out = list(values["history"]), values["handed_out"]
        self._restore_own(state.tensors, values)

    @abstractmethod
    def _own_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-ready values of the subclass."""

    @abstractmethod
    def _restore_own(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take over the tensors and values of `_own_state`."""


class BudgetGridStrategy(GradientStrategy):
    """A gradient strategy with a multiplier for each budget of a grid, and initial designs."""

    options: BudgetGridOptions
    grid: BudgetGrid
    designs: InitialDesigns | None = None
    """Schedules all over the space; some are evaluated before the first step."""

    @property
    def _evaluated(self) -> Sequence[InitialDesign]:
        """Designs that are evaluated on a part of the samples."""
        return self.designs.evaluated if self.designs is not None else ()

    @property
    def _open_designs(self) -> list[InitialDesign]:
        return [design for design in self._evaluated if not design.evaluated]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Record the losses of designs; after the last one the grid points start at the best."""
        waiting = self._open_designs
        for design, evaluation in zip(waiting, evaluations, strict=False):
            self._record(design, evaluation)
        if waiting and self.designs is not None and not self._open_designs:
            self._begin(self.designs)

    @abstractmethod
    def _record(self, design: InitialDesign, evaluation: Evaluation) -> None:
        """Note the loss of a design."""

    @abstractmethod
    def _begin(self, designs: InitialDesigns) -> None:
        """Start at the designs of least predicted loss."""

    def _budget_grid(self, count: int) -> BudgetGrid:
        """Budgets that the space can reach, up to `HIGHEST_BUDGET`; see `BudgetGrid.within`."""
        low, high = self.relaxed.reachable
        highest = max(HIGHEST_BUDGET, low + 0.1)
        lowest = low + LOWEST_MARGIN * (high - low)
        return BudgetGrid.within(lowest, highest, count, self.options.grid_exponent)

    def _price_at(self, budget: float) -> float:
        """Price of evaluating a configuration of this budget, nearly."""
        return self.problem.checked_price(self.relaxed.candidate(self.relaxed.constant(budget)))

    def _plan_finals(self) -> None:
        """Plan evaluations at round budgets: at most half of all, for at most their budget."""
        options = self.options
        affordable = options.final_share * self.context.budget
        self._planned = self._round_budgets(affordable, (options.max_final_evaluations + 1) // 2)
        self._reserve = RESERVE_FACTOR * sum(map(self._price_at, self._planned))

    def _round_budgets(self, affordable: float, max_count: int) -> NDArray[np.float64]:
        low, high = self.grid.budgets[0], self.grid.budgets[-1]
        return round_budgets(
            low, high, price=self._price_at, affordable=affordable, max_count=max_count
        )

    def _final_budgets(self, front: PredictedFront | None) -> NDArray[np.float64]:
        """Budgets of final candidates, for all that is left of the search's budget.

        The planned ones are among the budgets of `front`; None where nothing is predicted.
        """
        left = self.context.budget - self.context.spent
        max_count = self.options.max_final_evaluations
        if front is None:
            return self._round_budgets(left, max_count)
        prices = np.array([self._price_at(b) for b in front.budgets])
        planned = np.isin(front.budgets, self._planned.round(DIGITS))
        return select_budgets(front, prices, planned, affordable=left, max_count=max_count)

    def _loss_slope(self, divergence: Tensor, slope: Tensor) -> Tensor:
        """The derivative of each row's loss, given that of its divergence, `[rows, layers]`."""
        return (
            torch.exp(-divergence)[:, None] * slope if self.options.loss == "retention" else slope
        )

    def trace(self) -> SearchTrace:
        """Curves of all rounds so far."""
        options = self.options
        return self._traced(options.loss, self.grid.budgets, options.max_multiplier)


def geometric(start: float, end: float, done: float) -> float:
    """From `start` to `end` in equal ratios, at `done` in 0..1."""
    return float(start * (end / start) ** done)


def cosine(done: float) -> float:
    """From 1 to 0 along half a cosine, at `done` in 0..1."""
    return float(1 + np.cos(np.pi * done)) / 2


def descend(optimizer: Optimizer, objective: Tensor, done: float) -> None:
    """One step of an optimizer; each group's rate falls from its `rate` by a cosine."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * cosine(done)
    optimizer.zero_grad()
    objective.backward()
    optimizer.step()
