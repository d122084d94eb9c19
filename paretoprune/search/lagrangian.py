"""The gradient search: straight-through top-k, KL to dense, augmented Lagrangian per budget knot.

After VisPCO (arXiv 2604.15188), with the budget constraint as an inequality in relative compute and
one multiplier per knot, so that the whole front comes out of one run. For each knot k with budget
b_k the keep ratios r_k (one per layer, non-increasing) solve

    minimise  f_k(r_k) = E_x d(x; r_k)   subject to  u(r_k) <= b_k

where d is made of KL(dense(x) || student(x; r)), through the augmented Lagrangian of an inequality
(Nocedal & Wright, eq. 17.64; w >= 0, sigma > 0)

    L_k = f_k / s_k + ( max(0, w_k + sigma c_k)^2 - w_k^2 ) / (2 sigma),   c_k = u(r_k) - b_k,
    w_k <- clamp(w_k + sigma c_k, 0, w_max)   after each outer iteration.

s_k, the loss that one unit of compute saves (the least-squares multiplier, averaged over recent
steps), puts all knots on one scale: the multiplier to expect is 1, whatever the model, and sigma
and the step size carry over. (Unscaled, the multipliers of cheap knots were still winding up when
the budget was spent, far above their constraint.)

Between knots the schedule is interpolated: every gradient step draws one budget per sample, so all
samples teach the two knots around their budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression
from torch import Tensor

from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.problem import Candidate, Problem
from paretoprune.search.base import SearchContext, SearchStrategy
from paretoprune.search.relaxation import Relaxation

SMOOTHING = 0.9
"""Memory of the running mean of what compute saves, per gradient step."""


@dataclass(frozen=True)
class LagrangianOptions:
    """Settings of the gradient search; the defaults are those that the docs' figures use.

    `loss` is what is minimised per sample: `kl`, the divergence from dense in nats, or `retention`,
    1 - exp(-KL): where the dense model is sure, exp(-KL) is the probability that its answer is
    kept, so lost samples no longer drown those that one more token would save. `straight_through`
    evaluates each step at the rounded configuration (one pass more) instead of the soft one.
    `tau_start` and `tau_end` are mask widths in tokens, annealed over the run; `batch` is samples
    per gradient step; `inner_steps` are gradient steps between two multiplier updates; no keep
    ratio moves more than `farthest` in a step; `sharing` is the weight that a knot's neighbours get
    in its gradient, 0 for none, because near budgets want near schedules;
    `final_share` is the share of the budget kept for evaluating the rounded configurations, at most
    `most_finals` of them; iterates are averaged over the last `average_share` of the run.
    """

    knots: int = 5
    batch: int = 16
    inner_steps: int = 8
    loss: str = "retention"
    straight_through: bool = True
    learning_rate: float = 0.5
    momentum: float = 0.0
    farthest: float = 0.1
    sharing: float = 0.5
    sigma: float = 20.0
    most_multiplier: float = 20.0
    tau_start: float = 4.0
    tau_end: float = 2.0
    final_share: float = 0.5
    most_finals: int = 24
    average_share: float = 0.33
    highest_budget: float = 0.9

    def __post_init__(self) -> None:
        for name in ("knots", "batch", "inner_steps", "most_finals"):
            if getattr(self, name) < (2 if name == "knots" else 1):
                raise InvalidValueError(f"option {name} is too small: {getattr(self, name)}")
        for name in ("final_share", "average_share", "highest_budget"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidValueError(
                    f"option {name} must be between 0 and 1, got {getattr(self, name)}"
                )
        if self.loss not in ("kl", "retention"):
            raise UnknownNameError("loss", self.loss, ("kl", "retention"))
        for name in ("learning_rate", "sigma", "most_multiplier", "tau_start", "tau_end"):
            if not getattr(self, name) > 0:
                raise InvalidValueError(
                    f"option {name} must be positive, got {getattr(self, name)}"
                )


class LagrangianSearch(SearchStrategy):
    """Static schedules over the `free` space, for all budgets at once, by gradient descent.

    Each `ask` runs one outer iteration (`inner_steps` gradient steps and a multiplier update) and
    returns nothing; once the budget left is what the final evaluations cost, it offers the rounded
    configurations of evenly spaced budgets.
    """

    requires_gradient: ClassVar[bool] = True
    most_objectives: ClassVar[int | None] = 2

    def __init__(self, options: LagrangianOptions | None = None, **overrides: float) -> None:
        if overrides:
            options = LagrangianOptions(**overrides)  # type: ignore[arg-type]
        self.options = options or LagrangianOptions()

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Put every knot at the constant schedule that meets its budget exactly."""
        super().start(problem, context)
        options = self.options
        self.relaxed: Relaxation = problem.relaxation()
        low, high = self.relaxed.reachable
        # the lowest knot leaves room to choose: at `low` itself only one schedule exists
        self.budgets = np.linspace(
            low + 0.03 * (high - low), max(options.highest_budget, low + 0.1), options.knots
        )
        start = np.stack([self.relaxed.constant(b) for b in self.budgets])
        self.ratios = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.SGD(
            [self.ratios], lr=options.learning_rate, momentum=options.momentum
        )
        self.multipliers = torch.ones(options.knots, dtype=torch.float64)
        self._saved = torch.zeros(options.knots, dtype=torch.float64)
        self._steps = 0
        self._sum = torch.zeros_like(self.ratios)
        self._summed = 0
        self._taught = False
        self._pending: list[Candidate] | None = None
        self._reserve, self._finals = self._plan_finals()
        self._for_steps = context.budget - self._reserve - self.relaxed.teacher_price()
        self._stepped = 0.0
        self.history: list[dict[str, list[float]]] = []

    def _plan_finals(self) -> tuple[float, int]:
        """What evaluating the final configurations may cost, and how many that is."""
        prices = [
            self.problem.price(self.relaxed.candidate(r)) for r in self.ratios.detach().numpy()
        ]
        mean = float(np.mean(prices))
        count = int(self.options.final_share * self.context.budget / mean)
        count = max(1, min(count, self.options.most_finals))
        return 1.1 * count * mean, count

    @property
    def progress(self) -> float:
        """Share of the gradient steps' budget that is spent, 0..1."""
        return min(1.0, self._stepped / max(self._for_steps, 1e-9))

    def ask(self, n: int) -> list[Candidate]:
        """One outer iteration; or, at the end, up to `n` of the rounded configurations."""
        if self._pending is None:
            if self._iterate():
                return []
            self._pending = self._round()
        ready, self._pending = self._pending[:n], self._pending[n:]
        return ready

    @property
    def finished(self) -> bool:
        """Whether all final configurations have been handed out."""
        return self._pending is not None and not self._pending

    def _iterate(self) -> bool:
        """Gradient steps and one multiplier update; false once the budget for steps is spent."""
        if not self._taught:
            teacher = self.relaxed.teacher_price()
            if not self.context.affords(teacher + self._reserve):
                return False
            self.context.charge(teacher)
            self._taught = True
        rng = self.context.rng()
        divergences, excesses = [], []
        for _ in range(self.options.inner_steps):
            rows = self._draw(rng)
            tau = self._annealed()
            price = self.relaxed.step_price(
                rows.detach().numpy(), tau=tau, straight_through=self.options.straight_through
            )
            if not self.context.affords(price + self._reserve):
                return False
            self.context.charge(price)
            self._stepped += price
            divergences.append(self._step(rows, rng, tau))
            excesses.append(self._excess().detach())
        with torch.no_grad():
            excess = torch.stack(excesses).mean(0)  # single iterates jump about the constraint
            self.multipliers = (self.multipliers + self.options.sigma * excess).clamp(
                0.0, self.options.most_multiplier
            )
        self.history.append(
            {
                "divergence": [float(np.mean(divergences))],
                "excess": excess.tolist(),
                "multiplier": self.multipliers.tolist(),
            }
        )
        return True

    def _annealed(self) -> float:
        start, end = self.options.tau_start, self.options.tau_end
        return float(start * (end / start) ** self.progress)

    def _excess(self) -> Tensor:
        """Constraint values c_k = u(r_k) - b_k, `[knots]`."""
        return self.relaxed.compute(self.ratios) - torch.from_numpy(self.budgets)

    def _draw(self, rng: np.random.Generator) -> Tensor:
        """Schedules at one budget per sample, stratified over the range: `[batch, layers]`."""
        batch = self.options.batch
        place = (np.arange(batch) + rng.random(batch)) / batch
        low, high = self.budgets[0], self.budgets[-1]
        budgets = low + place * (high - low)
        return self._at(budgets)

    def _at(self, budgets: NDArray[np.float64], ratios: Tensor | None = None) -> Tensor:
        """Schedules at any budgets within the knots, linear in between: `[budgets, layers]`."""
        ratios = self.ratios if ratios is None else ratios
        spacing = self.budgets[1] - self.budgets[0]
        place = np.clip((budgets - self.budgets[0]) / spacing, 0, len(self.budgets) - 1)
        below = np.minimum(place.astype(np.int64), len(self.budgets) - 2)
        share = torch.from_numpy(place - below)[:, None]
        index = torch.from_numpy(below)
        return (1 - share) * ratios[index] + share * ratios[index + 1]

    def _step(self, rows: Tensor, rng: np.random.Generator, tau: float) -> float:
        """One gradient step on the augmented Lagrangian, then projection; returns the mean KL."""
        samples = _distinct(rng, self.relaxed.samples, len(rows))
        divergence = self.relaxed.loss(
            rows, samples, tau=tau, straight_through=self.options.straight_through
        )
        lost = divergence if self.options.loss == "kl" else 1 - torch.exp(-divergence)
        # the mean over samples is one over the knots, too: each knot hears 1 / knots of them
        (quality,) = torch.autograd.grad(lost.mean() * len(self.budgets), self.ratios)
        excess = self._excess()
        quality = _shared(quality, self.options.sharing)
        (slope,) = torch.autograd.grad(excess.sum(), self.ratios)
        with torch.no_grad():
            self._saved = SMOOTHING * self._saved - (1 - SMOOTHING) * (quality * slope).sum(1)
            self._steps += 1
            saved = self._saved / (1 - SMOOTHING**self._steps)
            scale = _over_neighbours(saved / (slope * slope).sum(1))
            force = (self.multipliers + self.options.sigma * excess).clamp(min=0)
            gradient = quality / scale[:, None] + force[:, None] * slope
            reach = self.options.farthest / self.options.learning_rate
            self.ratios.grad = gradient.clamp(-reach, reach)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * (1 - 0.8 * self.progress)
        self.optimizer.step()
        with torch.no_grad():
            self.ratios.copy_(project(self.ratios, self.relaxed.first))
            if self.progress >= 1 - self.options.average_share:
                self._sum += self.ratios
                self._summed += 1
        return float(divergence.detach().mean())

    def _round(self) -> list[Candidate]:
        """Rounded configurations at evenly spaced budgets, cheapest first, each once."""
        ratios = self._sum / self._summed if self._summed else self.ratios.detach()
        budgets = np.linspace(self.budgets[0], self.budgets[-1], self._finals)
        found = [self.relaxed.candidate(row.numpy()) for row in self._at(budgets, ratios)]
        once = {self.problem.identity(c): c for c in found}
        return list(once.values())


def _shared(gradient: Tensor, sharing: float) -> Tensor:
    """Each knot's gradient averaged with its neighbours', `[knots, layers]`."""
    padded = torch.cat([gradient[:1], gradient, gradient[-1:]])
    return ((padded[:-2] + padded[2:]) * sharing + padded[1:-1]) / (1 + 2 * sharing)


def _over_neighbours(saved: Tensor) -> Tensor:
    """Mean over each knot and its neighbours, `[knots]`, and at least 2 % of the largest.

    Noise can hide, or turn, what a single knot saves; the front has no such jumps.
    """
    padded = torch.cat([saved[:1], saved, saved[-1:]])
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return smooth.clamp(min=max(0.02 * float(smooth.max()), 1e-6))


def project(ratios: Tensor, first: int) -> Tensor:
    """The nearest valid schedules: in 0..1, non-increasing, 1 before `first`: `[knots, layers]`.

    Euclidean projection by isotonic regression (pool adjacent violators).
    """
    out = np.ones(tuple(ratios.shape))
    for k, row in enumerate(ratios.detach().numpy()):
        out[k, first:] = isotonic_regression(row[first:], y_min=0.0, y_max=1.0, increasing=False)
    return torch.from_numpy(out)


def _distinct(rng: np.random.Generator, total: int, count: int) -> NDArray[np.int64]:
    """`count` sample numbers, without repeats as long as there are enough."""
    rounds: Sequence[NDArray[np.int64]] = [
        rng.permutation(total) for _ in range(-(-count // total))
    ]
    return np.concatenate(rounds)[:count].astype(np.int64)
