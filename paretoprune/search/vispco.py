"""VisPCO as the paper has it (arXiv 2604.15188), so that its claims are tested as made.

A predictor maps a budget b to the parameters of a kernel; the soft decoder masks in score space
(`pruning.score_soft`); the loss on a sample z with budget b is

    L = KL(dense(z) || student(z; r(b))) - w c + (sigma / 2) c^2,     c = b - u(r(b)),

an augmented Lagrangian of an equality with one multiplier (section 3.4; Nocedal & Wright, ch. 17).
u is relative compute, the same in the loss and in the update. After each epoch

    w <- w - sigma c,     sigma <- alpha sigma where |c_t| / |c_(t-1)| >= beta,

and training stops when |c| < eps three epochs in a row. In an epoch's figures c is the mean over
its samples in the update of w and |c| the mean of absolute values: budgets differ, and signs would
cancel.

Departures: the predictor does not see the input yet, only the budget; what it finds is rounded,
really pruned and evaluated like anyone's; an epoch is `inner_steps` steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from paretoprune.errors import InvalidValueError
from paretoprune.problem import Candidate, Problem
from paretoprune.search.base import SearchContext, SearchStrategy
from paretoprune.search.gradient.coordinates import kernel_spaces, reachable_by
from paretoprune.search.gradient.predictor import seeded_predictor
from paretoprune.search.gradient.sampling import distinct
from paretoprune.search.gradient.state import GradientState
from paretoprune.search.relaxation import Relaxation, loss_and_slope
from paretoprune.search.trace import Round, SearchTrace

MOST_SIGMA = 1e6
"""Where the penalty weight stops growing: float64 would still follow, the optimiser would not."""


@dataclass(frozen=True)
class VispcoOptions:
    """The paper's values where it gives them (section 4.1 and its code)."""

    kernel: str = "single-step"
    batch: int = 16
    inner_steps: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    multiplier: float = 1.0
    sigma: float = 100.0
    alpha: float = 2.0
    beta: float = 0.5
    epsilon: float = 0.01
    patience: int = 3
    temperature: float = 0.1
    lowest_budget: float = 0.01
    highest_budget: float = 0.95
    width: int = 32
    final_share: float = 0.5
    most_finals: int = 24

    def __post_init__(self) -> None:
        for name in ("batch", "inner_steps", "patience", "width", "most_finals"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"option {name} is too small: {getattr(self, name)}")
        for name in ("learning_rate", "sigma", "beta", "epsilon", "temperature"):
            if not getattr(self, name) > 0:
                raise InvalidValueError(
                    f"option {name} must be positive, got {getattr(self, name)}"
                )
        if not self.alpha >= 1:
            raise InvalidValueError(f"option alpha must be 1 or more, got {self.alpha}")
        if not 0 < self.final_share < 1:
            raise InvalidValueError(
                f"option final_share must be between 0 and 1, got {self.final_share}"
            )
        if not 0 <= self.lowest_budget < self.highest_budget <= 1:
            raise InvalidValueError(
                "budgets must satisfy 0 <= lowest_budget < highest_budget <= 1, got "
                f"{self.lowest_budget} and {self.highest_budget}"
            )


class Vispco(SearchStrategy):
    """One predictor for all budgets, trained by gradient; then its rounded configurations.

    Each `ask` runs one epoch and returns nothing; once training stops or the budget left is what
    the final evaluations cost, it offers configurations at evenly spaced budgets.
    """

    requires_gradient: ClassVar[bool] = True
    most_objectives: ClassVar[int | None] = 2

    def __init__(self, options: VispcoOptions | None = None, **overrides: Any) -> None:
        if overrides:
            options = VispcoOptions(**overrides)
        self.options = options or VispcoOptions()

    def own_spaces(self, problem: Problem) -> Sequence[str]:
        """The kernels of the relaxation, the one that the options name first."""
        return kernel_spaces(problem, self.options.kernel)

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Draw the predictor's weights."""
        super().start(problem, context)
        options = self.options
        self.relaxed: Relaxation = problem.relaxation()
        self.kernel = self.relaxed.kernels[self.space_name]
        low, high = (torch.from_numpy(bound) for bound in self.kernel.bounds)
        self._low, self._span = low, high - low
        self.predictor = seeded_predictor(len(low), options.width, context.seed_of_ask())
        self.optimizer = torch.optim.AdamW(
            self.predictor.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.w, self.sigma = options.multiplier, options.sigma
        self.before: float | None = None
        self.met = 0
        self._taught = False
        self._stepped = 0.0
        self._pending: list[Candidate] | None = None
        budgets = np.linspace(options.lowest_budget, options.highest_budget, options.most_finals)
        prices = [problem.price(c) for c in self._candidates(budgets)]
        count = int(options.final_share * context.budget / float(np.mean(prices)))
        self._finals = max(1, min(count, options.most_finals))
        # trained schedules may cost more than those of untrained weights; none more than dense
        self._reserve = min(self._finals * 1.0, options.final_share * context.budget)
        self._for_steps = context.budget - self._reserve - self.relaxed.teacher_price()
        self.history: list[dict[str, Any]] = []

    def parameters(self, budgets: Tensor) -> Tensor:
        """Kernel parameters at budgets `[rows]`, `[rows, knobs]`."""
        predicted: Tensor = self.predictor(budgets)
        return self._low + self._span * predicted

    def ask(self, n: int) -> list[Candidate]:
        """One epoch; or, at the end, up to `n` of the rounded configurations."""
        if self._pending is None:
            if self._epoch():
                return []
            budgets = np.linspace(
                self.options.lowest_budget, self.options.highest_budget, self._finals
            )
            once = {self.problem.identity(c): c for c in self._candidates(budgets)}
            self._pending = list(once.values())
        ready, self._pending = self._pending[:n], self._pending[n:]
        return ready

    @property
    def finished(self) -> bool:
        """Whether all final configurations have been handed out."""
        return self._pending is not None and not self._pending

    def _epoch(self) -> bool:
        """Steps, then the update of w and sigma; false once there is nothing left to do."""
        options = self.options
        if self.met >= options.patience:
            return False
        if not self._taught:
            if not self.context.affords(self.relaxed.teacher_price() + self._reserve):
                return False
            self.context.charge(self.relaxed.teacher_price())
            self._taught = True
        rng = self.context.rng()
        losses, signed, absolute = [], [], []
        for _ in range(options.inner_steps):
            span = options.highest_budget - options.lowest_budget
            budgets = torch.from_numpy(options.lowest_budget + span * rng.random(options.batch))
            rows = self.kernel.ratios(self.parameters(budgets))
            price = self.relaxed.step_price(
                rows.detach().numpy(), tau=options.temperature, mask="score"
            )
            if not self.context.affords(price + self._reserve):
                return False
            self.context.charge(price)
            self._stepped += price
            samples = distinct(rng, self.relaxed.samples, options.batch)
            divergence, slope = loss_and_slope(
                self.relaxed, rows.detach(), samples, tau=options.temperature, mask="score"
            )
            gap = budgets - self.relaxed.compute(rows)
            penalty = (-self.w * gap + self.sigma / 2 * gap**2).mean()
            # the divergence's slope enters as a linear term: the same gradient, in small batches
            lagrangian = (slope * rows).sum() / len(rows) + penalty
            self._learn(lagrangian)
            losses.append(float(divergence.mean()))
            signed.append(float(gap.detach().mean()))
            absolute.append(float(gap.detach().abs().mean()))
        self._update(float(np.mean(losses)), float(np.mean(signed)), float(np.mean(absolute)))
        return True

    def _learn(self, lagrangian: Tensor) -> None:
        """One step of AdamW with a cosine learning rate."""
        done = min(1.0, self._stepped / max(self._for_steps, 1e-9))
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate * (1 + np.cos(np.pi * done)) / 2
        self.optimizer.zero_grad()
        lagrangian.backward()
        self.optimizer.step()

    def _update(self, loss: float, c: float, distance: float) -> None:
        """Multiplier, penalty weight and stopping rule, after an epoch."""
        options = self.options
        self.w -= self.sigma * c
        if self.before is not None and distance / max(self.before, 1e-12) >= options.beta:
            self.sigma = min(options.alpha * self.sigma, MOST_SIGMA)
        self.before = distance
        self.met = self.met + 1 if distance < options.epsilon else 0
        self.history.append(
            {
                "spent": self.context.spent, "divergence": [loss], "excess": [-c],
                "distance": [distance], "multiplier": [self.w], "sigma": [self.sigma],
                **self._seen(),
            }
        )  # fmt: skip

    def _seen(self) -> dict[str, list[float]]:
        """Constraint u - b and mean keep ratio at a few budgets, for reports."""
        budgets = torch.from_numpy(self._shown)
        with torch.no_grad():
            rows = self.kernel.ratios(self.parameters(budgets))
            excess = self.relaxed.compute(rows) - budgets
        kept = rows[:, self.relaxed.first :].mean(1)
        return {"excess_of": excess.tolist(), "kept": kept.tolist()}

    @property
    def _shown(self) -> np.ndarray:
        return np.linspace(self.options.lowest_budget, self.options.highest_budget, 5)

    def trace(self) -> SearchTrace:
        """Curves of all epochs so far; -w c is w (u - b), so w means what ours means."""
        return SearchTrace(
            loss="kl",
            budgets=tuple(float(b) for b in self._shown),
            reachable=reachable_by(self.relaxed, self.problem, self.space_name),
            rounds=tuple(
                Round(
                    h["spent"], h["divergence"][0], tuple(h["excess_of"]), tuple(h["kept"]),
                    tuple(h["multiplier"]),
                )
                for h in self.history
            ),
        )  # fmt: skip

    def _candidates(self, budgets: np.ndarray) -> list[Candidate]:
        """Rounded configurations, each with what it was before."""
        with torch.no_grad():
            parameters = self.parameters(torch.from_numpy(budgets))
            rows = self.kernel.ratios(parameters).numpy()
        return [
            replace(
                self.problem.candidate(self.kernel.values(point), self.kernel.name),
                relaxed={
                    "keep": [float(r) for r in row], "tau": self.options.temperature,
                    "mask": "score",
                },
            )
            for point, row in zip(parameters.numpy(), rows, strict=True)
        ]  # fmt: skip

    # --- checkpoints

    def state(self) -> GradientState:
        """Everything that a fresh, started search needs to continue identically."""
        tensors = {f"net.{k}": v for k, v in self.predictor.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{k}": v for k, v in moments.items()}
        return GradientState(
            tensors,
            {
                "w": self.w, "sigma": self.sigma, "before": self.before, "met": self.met,
                "taught": self._taught, "stepped": self._stepped, "history": self.history,
                "pending": None if self._pending is None else [
                    {"space": c.space, "values": dict(c.values), "relaxed": dict(c.relaxed or {})}
                    for c in self._pending
                ],
            },
        )  # fmt: skip

    def restore(self, state: GradientState) -> None:
        """Take over a state; `start` must have been called with the same problem and context."""
        tensors, values = state.tensors, state.values
        self.predictor.load_state_dict(
            {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
        )
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, number, key = name.split(".")
                moments.setdefault(int(number), {})[key] = tensor.clone()
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.w, self.sigma, self.before = values["w"], values["sigma"], values["before"]
        self.met, self._taught = values["met"], values["taught"]
        self._stepped, self.history = values["stepped"], list(values["history"])
        pending = values["pending"]
        self._pending = None if pending is None else [Candidate(**each) for each in pending]
