"""VisPCO as published (arXiv 2604.15188), to test the paper's claims as made.

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

Departures: the policies are rounded, really pruned and evaluated like any candidate, at evenly
spaced budgets; an epoch is `inner_steps` steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.problem import Candidate, Problem
from paretoprune.core.strategy import SearchContext
from paretoprune.core.trace import SearchTrace
from paretoprune.cost import DecoderSpec
from paretoprune.pruning.policies.vispco import (
    VispcoPolicy,
    seeded_token_predictor,
    token_predictor_flops,
)
from paretoprune.search.gradient.base import RESERVE_FACTOR, GradientStrategy, Step, descend
from paretoprune.search.gradient.options import VispcoOptions
from paretoprune.search.gradient.relaxation import (
    AdaptiveRelaxation,
    adaptive,
    distinct_samples,
    loss_and_slope,
)
from paretoprune.search.gradient.state import moments_of, restore_moments, with_prefix

SHOWN_BUDGETS = 5
"""Budgets that the report's curves are drawn for."""
MAX_SIGMA = 1e6
"""Maximum of the penalty weight: beyond it the optimiser, not float64, is inaccurate."""
WEIGHT_DECAY = 1e-4
MULTIPLIER = 1.0
"""w at the start."""
ALPHA, BETA = 2.0, 0.5
"""Growth of sigma, and the ratio of two epochs' constraints from which on it grows."""
EPSILON, PATIENCE = 0.01, 3
"""Training stops within this distance of the budgets, so many epochs in a row."""
TEMPERATURE = 0.1
"""Temperature of the soft mask, in units of the pruner's scores."""
LOWEST_BUDGET, HIGHEST_BUDGET = 0.01, 0.95
"""Relative compute that budgets are drawn between."""


class Vispco(GradientStrategy):
    """One predictor for all inputs and budgets, trained by gradient; then its policies.

    A round is an epoch. Once training stops or the budget left is what the final evaluations cost,
    it offers policies at evenly spaced budgets, cheapest first. Every evaluation pays for the
    predictor that decides in it.
    """

    options_class: ClassVar[type | None] = VispcoOptions
    tokens_leave: ClassVar[bool] = False
    relaxed: AdaptiveRelaxation
    options: VispcoOptions

    def untrained(self, spec: DecoderSpec) -> VispcoPolicy:
        """A predictor that reads every token."""
        options = self.options
        return VispcoPolicy(spec.layers, None, spec.hidden, options.kernel, 0.5, options.width)

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
            [{"params": list(net.parameters()), "rate": options.learning_rate}],
            lr=options.learning_rate, weight_decay=WEIGHT_DECAY,
        )  # fmt: skip
        self.w, self.sigma = MULTIPLIER, options.sigma
        self.before: float | None = None
        self.met = 0
        # trained schedules may cost more than those that meet their budgets
        budgets = _budgets(options.max_final_evaluations).clip(*relaxed.reachable)
        rows = [relaxed.candidate(relaxed.constant(float(b))) for b in budgets]
        price = float(np.mean([problem.checked_price(row) for row in rows]))
        affordable = int(options.final_share * context.budget / price)
        self._count = max(1, min(affordable, options.max_final_evaluations))
        self._reserve = RESERVE_FACTOR * self._count * price
        self._for_steps = context.budget - self._reserve - relaxed.teacher_price()

    def ratios(self, samples: NDArray[np.int64], budgets: Tensor) -> Tensor:
        """Keep ratios of samples at one budget each, `[rows, layers]`, differentiable."""
        embeddings, is_token = self.relaxed.embeddings(samples)
        return self.policy.at_budgets(embeddings, is_token, budgets)

    def _own_price(self, samples: NDArray[np.int64], passes: float) -> float:
        """Price of so many passes of the predictor on these samples."""
        tokens = self.relaxed.embeddings(samples)[1].sum(1).numpy()
        parameters = len(self.policy.kernel.space.knobs)
        flops = token_predictor_flops(tokens, self.policy.hidden, parameters, self.policy.width)
        return self.relaxed.passes(passes * float(flops.sum()))

    # --- an epoch

    def _run_round(self) -> bool:
        return self.met < PATIENCE and super()._run_round()

    def _step(self, rng: np.random.Generator) -> Step | None:
        """One step of AdamW on the Lagrangian."""
        options, relaxed = self.options, self.relaxed
        span = HIGHEST_BUDGET - LOWEST_BUDGET
        budgets = torch.from_numpy(LOWEST_BUDGET + span * rng.random(options.batch))
        samples = distinct_samples(rng, relaxed.samples, options.batch)
        rows = self.ratios(samples, budgets)
        price = self._own_price(samples, 3.0) + relaxed.step_price(
            rows.detach().numpy(), tau=TEMPERATURE, mask="score"
        )
        if not self._pays(price):
            return None
        self._stepped += price
        divergence, slope = loss_and_slope(
            relaxed, rows.detach(), samples, tau=TEMPERATURE, mask="score",
            micro_batch=options.micro_batch,
        )  # fmt: skip
        gap = budgets - relaxed.sample_compute(rows, samples)
        penalty = (-self.w * gap + self.sigma / 2 * gap**2).mean()
        # the divergence's slope enters as a linear term: the same gradient, in small batches
        descend(self.optimizer, (slope * rows).sum() / len(rows) + penalty, self.progress)
        return Step(float(divergence.mean()), -gap.detach())

    def _end_round(self, steps: Sequence[Step], rng: np.random.Generator) -> None:
        gap = -torch.stack([step.constraint for step in steps])
        samples = distinct_samples(rng, self.relaxed.samples, self.options.batch)
        loss = float(np.mean([step.divergence for step in steps]))
        self._update(loss, float(gap.mean()), float(gap.abs().mean()), samples)

    def _update(self, loss: float, c: float, distance: float, samples: NDArray[np.int64]) -> None:
        """Multiplier, penalty weight and stopping rule, after an epoch; `samples` are shown."""
        self.w -= self.sigma * c
        if self.before is not None and distance / max(self.before, 1e-12) >= BETA:
            self.sigma = min(ALPHA * self.sigma, MAX_SIGMA)
        self.before = distance
        self.met = self.met + 1 if distance < EPSILON else 0
        self.history.append(
            {
                "spent": self.context.spent, "divergence": [loss], "excess": [-c],
                "distance": [distance], "multiplier": [self.w], "sigma": [self.sigma],
                **self._shown(samples),
            }
        )  # fmt: skip

    def _shown(self, samples: NDArray[np.int64]) -> dict[str, list[float]]:
        """Mean constraint u - b and keep ratio of a few samples at a few budgets, for reports."""
        self.context.charge(self._own_price(samples, float(SHOWN_BUDGETS)))
        excess, kept = [], []
        with torch.no_grad():
            for budget in _budgets(SHOWN_BUDGETS):
                rows = self.ratios(
                    samples, torch.full((len(samples),), float(budget), dtype=torch.float64)
                )
                compute = self.relaxed.sample_compute(rows, samples)
                excess.append(float(compute.mean()) - float(budget))
                kept.append(float(rows[:, self.relaxed.first :].mean()))
        return {"excess_of": excess, "kept": kept}

    def trace(self) -> SearchTrace:
        """All epochs so far; -w c is w (u - b), so w means the same as in the other searches."""
        return self._traced("kl", _budgets(SHOWN_BUDGETS), constraint="excess_of")

    def _final_candidates(self) -> list[Candidate]:
        """Policies at evenly spaced budgets, cheapest first, with weights as they are stored."""
        stored = VispcoPolicy.restore(self.policy.settings, self.policy.tensors)
        relaxed = {"tau": TEMPERATURE, "mask": "score"}
        return [
            replace(self.relaxed.policy(stored.at(float(budget))), relaxed=relaxed)
            for budget in _budgets(self._count)
        ]

    # --- checkpoints

    def _own_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"net.{k}": v for k, v in self.policy.net.state_dict().items()}
        return tensors | moments_of(self.optimizer), {
            "w": self.w, "sigma": self.sigma, "before": self.before, "met": self.met,
            "trained": self._finals is not None,
        }  # fmt: skip

    def _restore_own(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.policy.net.load_state_dict(with_prefix(tensors, "net."))
        restore_moments(self.optimizer, tensors)
        self.w, self.sigma, self.before = values["w"], values["sigma"], values["before"]
        self.met = values["met"]
        self._finals = self._final_candidates() if values["trained"] else None


def _budgets(count: int) -> NDArray[np.float64]:
    """Evenly spaced budgets in relative compute."""
    return np.linspace(LOWEST_BUDGET, HIGHEST_BUDGET, count)
