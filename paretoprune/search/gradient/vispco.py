"""VisPCO as the paper has it (arXiv 2604.15188), so that its claims are tested as made.

A predictor (`policies.vispco`, section 3.2) maps an input x and a budget b to the parameters of a
kernel; the soft decoder masks in score space (`pruning.score_soft`, section 3.3); the loss on a
sample x with a budget b of its own is

    L = KL(dense(x) || student(x; r(x, b))) - w c + (sigma / 2) c^2,     c = b - u(x; r(x, b)),

an augmented Lagrangian of an equality with one multiplier (section 3.4; Nocedal & Wright, ch. 17).
u is relative compute, the same in the loss and in the update. After each epoch

    w <- w - sigma c,     sigma <- alpha sigma where |c_t| / |c_(t-1)| >= beta,

and training stops when |c| < eps three epochs in a row. In an epoch's figures c is the mean over
its samples in the update of w and |c| the mean of absolute values: budgets differ, and signs would
cancel.

Departures: what it finds is rounded, really pruned and evaluated like anyone's, at evenly spaced
budgets; an epoch is `inner_steps` steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.options import check_ranges
from paretoprune.core.problem import Candidate, Problem
from paretoprune.core.strategy import SearchContext, SearchState
from paretoprune.core.trace import SearchTrace
from paretoprune.cost import DecoderSpec
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.policies.vispco import (
    VispcoPolicy,
    seeded_token_predictor,
    token_predictor_flops,
)
from paretoprune.search.gradient.base import (
    GradientStrategy,
    cosine,
    moments_of,
    restore_moments,
    with_prefix,
)
from paretoprune.search.gradient.relaxation import AdaptiveRelaxation, adaptive, loss_and_slope
from paretoprune.search.gradient.sampling import distinct
from paretoprune.search.gradient.state import GradientState

AT_LEAST = {
    "batch": 1, "micro_batch": 1, "inner_steps": 1, "patience": 1, "width": 1, "most_finals": 1,
    "weight_decay": 0, "alpha": 1,
}  # fmt: skip
SHARES = ("final_share",)
POSITIVE = ("learning_rate", "sigma", "beta", "epsilon", "temperature")
SHOWN = 5
"""Budgets that the report's curves are drawn for."""
MOST_SIGMA = 1e6
"""Where the penalty weight stops growing: float64 would still follow, the optimiser would not."""


@dataclass(frozen=True)
class VispcoOptions:
    """The paper's values where it gives them (section 4.1 and its code).

    `micro_batch` samples of a step's `batch` are in memory at a time; with `checkpoint` the
    backward pass runs each layer once more instead of keeping what it did.
    """

    kernel: str = "single-step"
    batch: int = 16
    micro_batch: int = 16
    checkpoint: bool = False
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
        check_ranges(self, at_least=AT_LEAST, positive=POSITIVE, shares=SHARES)
        if not 0 <= self.lowest_budget < self.highest_budget <= 1:
            raise InvalidValueError(
                "budgets must satisfy 0 <= lowest_budget < highest_budget <= 1, got "
                f"{self.lowest_budget} and {self.highest_budget}"
            )

    @property
    def forward_passes(self) -> int:
        """Of the decoder, per step: hard and soft masks are one pass."""
        return 1


class Vispco(GradientStrategy):
    """One predictor for all inputs and budgets, trained by gradient; then its policies.

    Each `ask` runs one epoch and returns nothing; once training stops or the budget left is what
    the final evaluations cost, it offers policies at evenly spaced budgets, cheapest first. Every
    evaluation pays for the predictor that decides in it.
    """

    relaxed: AdaptiveRelaxation

    options_class: ClassVar[type | None] = VispcoOptions
    tokens_leave: ClassVar[bool] = False

    def __init__(self, options: VispcoOptions | None = None, **overrides: Any) -> None:
        if overrides:
            options = VispcoOptions(**overrides)
        self.options = options or VispcoOptions()
        self.kernel_asked = self.options.kernel

    def untrained(self, spec: DecoderSpec) -> VispcoPolicy:
        """A predictor that reads every token."""
        width = self.options.width
        return VispcoPolicy(spec.layers, None, spec.hidden, self.kernel_asked, 0.5, width)

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Draw the predictor's weights."""
        super().start(problem, context)
        options = self.options
        self.relaxed = relaxed = adaptive(problem, checkpoint=options.checkpoint)
        kernel = relaxed.kernels[self.space_name]
        hidden, parameters = relaxed.embeddings(np.arange(1))[0].shape[2], len(kernel.space.knobs)
        net = seeded_token_predictor(
            hidden, parameters, options.width, seed=context.seed_of_ask()
        ).double()
        self.policy = VispcoPolicy(
            relaxed.layers, kernel.levels, hidden, kernel.name, 0.5, options.width, relaxed.first,
            net=net,
        )  # fmt: skip
        self.optimizer = torch.optim.AdamW(
            net.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.w, self.sigma = options.multiplier, options.sigma
        self.before: float | None = None
        self.met = 0
        self._stepped = 0.0
        self._given = 0
        self._finals: list[Candidate] | None = None
        # trained schedules may cost more than those that meet their budgets
        budgets = self._budgets(options.most_finals).clip(*relaxed.reachable)
        rows = [relaxed.candidate(relaxed.constant(float(b))) for b in budgets]
        price = float(np.mean([problem.checked_price(row) for row in rows]))
        self._count = self._keep_for_finals(price, options.final_share, options.most_finals)
        self._for_steps = context.budget - self._reserve - relaxed.teacher_price()
        self.history: list[dict[str, Any]] = []

    def _budgets(self, count: int) -> NDArray[np.float64]:
        return np.linspace(self.options.lowest_budget, self.options.highest_budget, count)

    def ratios(self, samples: NDArray[np.int64], budgets: Tensor) -> Tensor:
        """Keep ratios of samples at one budget each, `[rows, layers]`, differentiable."""
        embeddings, there = self.relaxed.embeddings(samples)
        return self.policy.at_budgets(embeddings, there, budgets)

    def _own_price(self, samples: NDArray[np.int64], passes: float) -> float:
        """What so many passes of the predictor cost on these samples."""
        tokens = self.relaxed.embeddings(samples)[1].sum(1).numpy()
        parameters = len(self.policy.kernel.space.knobs)
        flops = token_predictor_flops(tokens, self.policy.hidden, parameters, self.policy.width)
        return self.relaxed.passes(passes * float(flops.sum()))

    def _keep_for_finals(self, price: float, share: float, most: int) -> int:
        """How many final evaluations of this mean price `share` of the budget pays for.

        At least one and at most `most`; a tenth more than they should cost is kept for them.
        """
        count = max(1, min(int(share * self.context.budget / price), most))
        self._reserve = 1.1 * count * price
        return count

    def ask(self, n: int) -> list[Candidate]:
        """One epoch; or, at the end, up to `n` of the policies."""
        if self._finals is None:
            if self._epoch():
                return []
            self._finals = self._policies()
        ready = self._finals[self._given : self._given + n]
        self._given += len(ready)
        return ready

    @property
    def finished(self) -> bool:
        """Whether all policies have been handed out."""
        return self._finals is not None and self._given >= len(self._finals)

    def _epoch(self) -> bool:
        """Steps, then the update of w and sigma; false once there is nothing left to do."""
        if self.met >= self.options.patience or not self._teach():
            return False
        rng = self.context.rng()
        losses, gaps = [], []
        for _ in range(self.options.inner_steps):
            found = self._step(rng)
            if found is None:
                return False
            losses.append(found[0])
            gaps.append(found[1])
        gap = torch.stack(gaps)
        samples = distinct(rng, self.relaxed.samples, self.options.batch)
        self._update(float(np.mean(losses)), float(gap.mean()), float(gap.abs().mean()), samples)
        return True

    def _step(self, rng: np.random.Generator) -> tuple[float, Tensor] | None:
        """One step of AdamW on the Lagrangian; None if the budget does not reach.

        Returns the mean divergence and the constraint's values c, `[batch]`.
        """
        options, relaxed = self.options, self.relaxed
        span = options.highest_budget - options.lowest_budget
        budgets = torch.from_numpy(options.lowest_budget + span * rng.random(options.batch))
        samples = distinct(rng, relaxed.samples, options.batch)
        rows = self.ratios(samples, budgets)
        price = self._own_price(samples, 3.0) + relaxed.step_price(
            rows.detach().numpy(), tau=options.temperature, mask="score"
        )
        if not self.context.affords(price + self._reserve):
            return None
        self.context.charge(price)
        self._stepped += price
        divergence, slope = loss_and_slope(
            relaxed, rows.detach(), samples, tau=options.temperature, mask="score",
            micro_batch=options.micro_batch,
        )  # fmt: skip
        gap = budgets - relaxed.sample_compute(rows, samples)
        penalty = (-self.w * gap + self.sigma / 2 * gap**2).mean()
        # the divergence's slope enters as a linear term: the same gradient, in small batches
        self._learn((slope * rows).sum() / len(rows) + penalty)
        return float(divergence.mean()), gap.detach()

    def _learn(self, lagrangian: Tensor) -> None:
        """One step of AdamW with a cosine learning rate."""
        rate = self.options.learning_rate * cosine(min(1.0, self._stepped / self._for_steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        lagrangian.backward()
        self.optimizer.step()

    def _update(self, loss: float, c: float, distance: float, samples: NDArray[np.int64]) -> None:
        """Multiplier, penalty weight and stopping rule, after an epoch; `samples` are shown."""
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
                **self._seen(samples),
            }
        )  # fmt: skip

    def _seen(self, samples: NDArray[np.int64]) -> dict[str, list[float]]:
        """Mean constraint u - b and keep ratio of a few samples at a few budgets, for reports."""
        self.context.charge(self._own_price(samples, float(SHOWN)))
        excess, kept = [], []
        with torch.no_grad():
            for budget in self._budgets(SHOWN):
                each = torch.full((len(samples),), float(budget), dtype=torch.float64)
                rows = self.ratios(samples, each)
                compute = self.relaxed.sample_compute(rows, samples)
                excess.append(float(compute.mean()) - float(budget))
                kept.append(float(rows[:, self.relaxed.first :].mean()))
        return {"excess_of": excess, "kept": kept}

    def trace(self) -> SearchTrace:
        """Curves of all epochs so far; -w c is w (u - b), so w means what ours means."""
        return self._traced("kl", self._budgets(SHOWN), constraint="excess_of")

    def _policies(self) -> list[Candidate]:
        """Policies at evenly spaced budgets, cheapest first, with weights as they are stored."""
        stored = VispcoPolicy.restore(self.policy.settings, self.policy.tensors)
        budgets = self._budgets(self._count)
        seen = {"tau": self.options.temperature, "mask": "score"}
        return [
            replace(self.relaxed.policy(stored.at(float(budget))), relaxed=seen)
            for budget in budgets
        ]

    # --- checkpoints

    def state(self) -> GradientState:
        """Everything that a fresh, started search needs to continue identically."""
        tensors = {f"net.{k}": v for k, v in self.policy.net.state_dict().items()}
        return GradientState(
            tensors | moments_of(self.optimizer),
            {
                "w": self.w, "sigma": self.sigma, "before": self.before, "met": self.met,
                "taught": self._taught, "stepped": self._stepped, "history": self.history,
                "given": self._given, "trained": self._finals is not None,
            },
        )  # fmt: skip

    def restore(self, state: SearchState) -> None:
        """Take over a state; `start` must have been called with the same problem and context."""
        tensors, values = state.tensors, state.values
        self.policy.net.load_state_dict(with_prefix(tensors, "net."))
        restore_moments(self.optimizer, tensors)
        self.w, self.sigma, self.before = values["w"], values["sigma"], values["before"]
        self.met, self._taught = values["met"], values["taught"]
        self._stepped, self.history = values["stepped"], list(values["history"])
        self._given = values["given"]
        self._finals = self._policies() if values["trained"] else None
