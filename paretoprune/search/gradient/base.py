"""What the gradient strategies have in common: their kernels, their teacher, their finals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from paretoprune.core.problem import Problem
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.core.trace import Round, SearchTrace
from paretoprune.cost import DecoderSpec
from paretoprune.pruning.policies.trained import TrainedPolicy
from paretoprune.search.gradient.coordinates import kernel_spaces, reachable_by
from paretoprune.search.gradient.finals import DIGITS, Foretold, round_budgets, staircase
from paretoprune.search.gradient.knots import Knots
from paretoprune.search.gradient.relaxation import Relaxation

ROOM = 0.02
"""Of the reachable range, below the lowest knot: at the lower end only one schedule exists."""
HIGHEST_BUDGET = 0.9
"""Relative compute of the highest knot."""
AVERAGED_SHARE = 0.33
"""Last share of the steps over which iterates or weights are averaged."""
SLOPE_START, SLOPE_END = 2.0, 10.0
"""Steepness of a kernel's steps per layer, annealed over the run."""


class GradientStrategy(SearchStrategy):
    """A strategy that differentiates the relaxation of a problem with one cost.

    Part of the budget is kept for evaluating what comes out, like anyone's; the rest pays for the
    dense model's answers, once, and for gradient steps.
    """

    requires_gradient: ClassVar[bool] = True
    max_objectives: ClassVar[int | None] = 2
    relaxed: Relaxation
    knots: Knots
    tokens_leave: ClassVar[bool] = True
    """Whether a soft pass leaves tokens out, so that cheap schedules make cheap steps."""
    options: Any
    """Its settings, a dataclass."""
    kernel_asked: str
    """Name of the kernel in the options."""
    history: list[dict[str, Any]]
    """What was seen of each round, JSON-ready, as checkpoints keep it."""

    def own_spaces(self, problem: Problem) -> Sequence[str]:
        """The kernels of the relaxation, the one that the options name first."""
        return kernel_spaces(problem, self.kernel_asked)

    def untrained(self, spec: DecoderSpec) -> TrainedPolicy | None:
        """The policy that it would train for a decoder of this kind, to tell its size; if any."""
        return None

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to the problem; nothing is paid for yet."""
        super().start(problem, context)
        self._taught = False
        self._reserve = 0.0

    def _knots(self, count: int, bend: float) -> Knots:
        """Budgets over what the space can reach, up to `HIGHEST_BUDGET`; see `Knots.within`."""
        low, high = self.relaxed.reachable
        highest = max(HIGHEST_BUDGET, low + 0.1)
        return Knots.within(low + ROOM * (high - low), highest, count, bend)

    def _plan_finals(self, price: Callable[[float], float], share: float, most: int) -> None:
        """Plan final evaluations at round budgets, for at most `share` of the budget.

        At most half of `most`. What they cost, and a tenth more, is kept.
        """
        self._planned = self._round_budgets(price, share * self.context.budget, (most + 1) // 2)
        self._reserve = 1.1 * sum(map(price, self._planned))

    def _round_budgets(
        self, price: Callable[[float], float], affordable: float, most: int
    ) -> NDArray[np.float64]:
        low, high = self.knots.budgets[0], self.knots.budgets[-1]
        return round_budgets(low, high, price=price, affordable=affordable, most=most)

    def _offers(
        self,
        price: Callable[[float], float],
        most: int,
        told: Foretold | None,
    ) -> NDArray[np.float64]:
        """Budgets to offer configurations at, for all that is left of the search's budget.

        `told` has those that are planned among its budgets; None where nothing is known.
        """
        left = self.context.budget - self.context.spent
        if told is None:
            return self._round_budgets(price, left, most)
        budgets, lost = told
        return staircase(
            budgets, lost, np.array([price(b) for b in budgets]),
            np.isin(budgets, self._planned.round(DIGITS)), affordable=left, most=most,
        )  # fmt: skip

    def _before_steps(self) -> float:
        """What is paid for once, before the first step: the dense model's answers."""
        return self.relaxed.teacher_price()

    def _traced(
        self,
        loss: str,
        budgets: Iterable[float],
        clamp: float | None = None,
        constraint: str = "excess",
    ) -> SearchTrace:
        """Curves of all rounds so far; `constraint` is the key of c = u - b at these budgets."""
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

    def _teach(self) -> bool:
        """Pay for the dense model's answers, once; false if the budget does not reach."""
        if not self._taught:
            teacher = self._before_steps()
            if not self.context.affords(teacher + self._reserve):
                return False
            self.context.charge(teacher)
            self._taught = True
        return True


def geometric(start: float, end: float, done: float) -> float:
    """From `start` to `end` in equal ratios, at `done` in 0..1."""
    return float(start * (end / start) ** done)


def cosine(done: float) -> float:
    """From 1 to 0 along half a cosine, at `done` in 0..1."""
    return float(1 + np.cos(np.pi * done)) / 2


def moments_of(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers of each parameter, as named tensors."""
    return {
        f"adam.{number}.{key}": value
        for number, moments in optimizer.state_dict()["state"].items()
        for key, value in moments.items()
    }


def restore_moments(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take over what `moments_of` gave; other tensors are passed over."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("adam."):
            _, number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = tensor.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Copies of the tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): tensor.clone()
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
