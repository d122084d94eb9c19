"""The gradient search: straight-through top-k, KL to dense, one augmented Lagrangian per budget.

After VisPCO (arXiv 2604.15188), with the budget constraint as an inequality in relative compute and
one multiplier per budget of a grid, so that the whole front comes out of one run. For each budget
b_k of the grid the parameters x_k of a keep schedule r (free ratios, or a kernel's parameters)
solve

    minimise  f_k(x_k) = E_z d(z; r(x_k))   subject to  u(r(x_k)) <= b_k

where d is made of KL(dense(z) || student(z; r)) on sample z, through the augmented Lagrangian

    L_k = f_k / s_k + ( max(0, w_k + sigma c_k)^2 - w_k^2 ) / (2 sigma),   c_k = u(r(x_k)) - b_k,
    w_k <- clamp(w_k + sigma c_k, 0, w_max)   after each round

(`gradient.augmented`). s_k, the loss that one unit of compute saves, puts all budgets on one scale:
the expected multiplier is 1, whatever the model, and sigma and the step size carry over. (Unscaled,
the multipliers of low budgets were still rising when the budget was spent, far above their
constraint.)

Between grid points parameters are linear: every gradient step draws one budget per sample, so each
sample moves the two grid points around its budget.

Grid points start at the initial designs of least predicted loss, and the same samples decide
whether the steps improved on them (`gradient.initial_designs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.capabilities import relaxation_of
from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.strategy import SearchContext
from paretoprune.errors import UnsupportedError
from paretoprune.search.gradient.augmented import Multipliers, SavedLoss
from paretoprune.search.gradient.base import (
    AVERAGED_SHARE,
    RESERVE_FACTOR,
    SLOPE_END,
    SLOPE_START,
    BudgetGridStrategy,
    Step,
    geometric,
)
from paretoprune.search.gradient.budgets import (
    PredictedFront,
    best_in_interval,
    best_within,
    fine_budgets,
    largest_within,
    smoothed,
)
from paretoprune.search.gradient.coordinates import coordinates_of, project
from paretoprune.search.gradient.initial_designs import (
    InitialDesign,
    InitialDesigns,
    designs_at,
    plan_initial_designs,
    predicted_loss,
)
from paretoprune.search.gradient.options import LagrangianOptions
from paretoprune.search.gradient.relaxation import distinct_samples, loss_and_slope

CURVE_POINTS = 301
"""Budgets along the grid whose rounded configurations may become final candidates."""
SAMPLES_PER_DESIGN = 1.0
"""Samples of each initial design, relative to the number of designs."""
MIN_DESIGN_SAMPLES = 8
"""Samples of each initial design, at least."""
MAX_GRID_POINTS_WITHOUT_DESIGNS = 5
"""Grid points, at most, where no designs can be paid for: more would only share out the samples."""
NEIGHBOUR_SMOOTHING = 0.5
"""Weight of neighbouring grid points in a gradient: near budgets want near schedules."""
MAX_DESIGN_COMPUTE = 0.75
"""Share of the reachable range up to which designs lie: above it losses hardly differ."""

__all__ = ["LagrangianOptions", "LagrangianSearch", "project"]


class LagrangianSearch(BudgetGridStrategy):
    """Static schedules of one kernel, for all budgets at once, by gradient descent.

    The first `ask`s return initial designs. Each further one runs one round and returns nothing.
    Once the budget left is needed for the rest, the grid points are evaluated as the designs were,
    and then rounded configurations within round budgets come out. The kernel is the option
    `kernel`, or the space that the study names.
    """

    options_class: ClassVar[type | None] = LagrangianOptions
    ends_cut_rounds: ClassVar[bool] = True
    options: LagrangianOptions

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Put every grid point near its budget: a constant schedule, or a kernel's point."""
        super().start(problem, context)
        options = self.options
        if options.kernel != LagrangianOptions.kernel and context.space not in (
            None, options.kernel,
        ):  # fmt: skip
            raise UnsupportedError(
                f"the options kernel={options.kernel} and space={context.space} name two kernels; "
                "give one of them"
            )
        self.relaxed = relaxation_of(problem)
        if options.checkpoint:
            self.relaxed = self.relaxed.checkpointed()
        self.coordinates = coordinates_of(self.relaxed, problem, self.space_name)
        self.grid = self._budget_grid(options.grid_points)
        self._plan_finals()
        self.designs = self._plan_designs()
        self._ends: list[InitialDesign] = []
        self._stepping = options.initial_share < 1
        if options.initial_share and self.designs is None:
            self.grid = self._budget_grid(min(options.grid_points, MAX_GRID_POINTS_WITHOUT_DESIGNS))
        count = len(self.grid)
        self.x = self.coordinates.start(self.grid.budgets)
        self.multipliers = Multipliers(
            count, sigma=options.sigma, max_multiplier=options.max_multiplier
        )
        self.saved = SavedLoss(count)
        self._sum = torch.zeros_like(self.x)
        self._summed = 0
        if self._stepping:
            ends = sum(map(self._price_at, self.grid.budgets))
            self._reserve += RESERVE_FACTOR * self._design_share * ends
        designs = sum(problem.checked_price(design.candidate) for design in self._evaluated)
        self._for_steps = context.budget - self._reserve - self.relaxed.teacher_price() - designs

    @property
    def ratios(self) -> Tensor:
        """Keep ratios of the grid points as they are, `[points, layers]`."""
        with torch.no_grad():
            return self.coordinates.ratios(self.x)

    # --- initial designs

    def _plan_designs(self) -> InitialDesigns | None:
        """Initial designs; None where options, problem or budget exclude them."""
        options, relaxed = self.options, self.relaxed
        if not options.initial_share or not self.problem.has_shares:
            return None
        low, high = relaxed.reachable
        self.coordinates.slope = SLOPE_END
        left = self.context.budget - self._reserve
        if options.initial_share < 1:
            left -= relaxed.teacher_price()
        return plan_initial_designs(
            self.coordinates, relaxed, self.problem,
            max_compute=low + MAX_DESIGN_COMPUTE * (high - low),
            affordable=options.initial_share * left,
            samples_per_design=SAMPLES_PER_DESIGN, min_samples=MIN_DESIGN_SAMPLES,
        )  # fmt: skip

    @property
    def _evaluated(self) -> list[InitialDesign]:
        """The initial designs, and the grid points where the steps ended, once they have."""
        return [*super()._evaluated, *self._ends]

    @property
    def _design_share(self) -> float:
        """Share of the samples that designs are evaluated on; 0 where there are none."""
        return self._evaluated[0].candidate.share if self._evaluated else 0.0

    def _record(self, design: InitialDesign, evaluation: Evaluation) -> None:
        name = "kl_to_dense" if self.options.loss == "kl" else "lost_to_dense"
        failed = evaluation.failure is not None
        design.loss = np.inf if failed else evaluation.metrics.get(name, np.inf)

    def _begin(self, designs: InitialDesigns) -> None:
        if not self._ends:
            self.x = designs.best(self.grid.budgets, self.x)

    # --- a round

    def _run_round(self) -> bool:
        if self._stepping and super()._run_round():
            return True
        if self._stepping and self.designs is not None and self.history:
            self._end_steps()
        return False

    def _annealed_tau(self) -> float:
        """Mask width of this step; a kernel's steps sharpen alongside."""
        options, done = self.options, self.progress
        self.coordinates.slope = geometric(SLOPE_START, SLOPE_END, done)
        return geometric(options.tau_start, options.tau_end, done)

    def _constraint(self, x: Tensor) -> Tensor:
        """Constraint values c_k = u(r(x_k)) - b_k, `[points]`."""
        compute = self.relaxed.compute(self.coordinates.ratios(x))
        return compute - torch.from_numpy(self.grid.budgets)

    def _step(self, rng: np.random.Generator) -> Step | None:
        """One gradient step on the augmented Lagrangian, then projection."""
        options, relaxed, count = self.options, self.relaxed, len(self.grid)
        tau = self._annealed_tau()
        weights = self.grid.weights(self.grid.draw(options.batch, rng))
        x = self.x.clone().requires_grad_()
        rows = self.coordinates.ratios(weights @ x)
        price = relaxed.step_price(rows.detach().numpy(), tau=tau, straight_through=options.hard)
        if not self._pays(price):
            return None
        samples = distinct_samples(rng, relaxed.samples, len(rows))
        divergence, slope_of_rows = loss_and_slope(
            relaxed, rows.detach(), samples, tau=tau, straight_through=options.hard,
            noise=rng.integers(2**63, size=len(rows)) if options.noisy else None,
            micro_batch=options.micro_batch,
        )  # fmt: skip
        slope_of_rows = self._loss_slope(divergence, slope_of_rows)
        # the mean over samples is one over the grid, too: each point gets 1 / points of them
        (quality,) = torch.autograd.grad(rows, x, slope_of_rows * count / len(rows))
        constraint = self._constraint(x)
        (slope,) = torch.autograd.grad(constraint.sum(), x)
        quality = smoothed(quality, NEIGHBOUR_SMOOTHING)
        natural = self.coordinates.natural(x, slope)
        self.saved.update((quality * natural).sum(1))
        scale = self.saved.scale((slope * natural).sum(1))
        force = self.multipliers.force(constraint.detach())
        gradient = quality / scale[:, None] + force[:, None] * slope
        self._descend(x.detach(), self.coordinates.natural(x, gradient))
        self._stepped += price
        return Step(float(divergence.mean()), self._constraint(self.x).detach())

    def _descend(self, x: Tensor, direction: Tensor) -> None:
        """One step, x <- project(x - lr v), no coordinate beyond `max_step`."""
        options = self.options
        # the more grid points, the fewer samples each gets
        highest = options.learning_rate * min(1.0, MAX_GRID_POINTS_WITHOUT_DESIGNS / len(self.grid))
        limited = self.coordinates.limited(direction, options.max_step / highest)
        rate = highest * (1 - 0.8 * self.progress)
        self.x = self.coordinates.project(x - rate * limited)
        if self.progress >= 1 - AVERAGED_SHARE:
            self._sum += self.x
            self._summed += 1

    def _end_round(self, steps: Sequence[Step], rng: np.random.Generator) -> None:
        # single iterates jump about the constraint
        constraint = torch.stack([step.constraint for step in steps]).mean(0)
        self.multipliers.update(constraint)
        self.history.append(
            {
                "spent": self.context.spent,
                "divergence": [float(np.mean([step.divergence for step in steps]))],
                "excess": constraint.tolist(),
                "kept": self.ratios[:, self.relaxed.first :].mean(1).tolist(),
                "multiplier": self.multipliers.values.tolist(),
            }
        )

    # --- final candidates

    def _averaged(self) -> Tensor:
        """Where the steps ended: the mean of the last iterates, `[points, n]`."""
        x = self._sum / self._summed if self._summed else self.x
        return self.coordinates.project(x)

    def _end_steps(self) -> None:
        """Take no more steps; evaluate where they ended on the samples of the initial designs."""
        self._stepping = False
        self._annealed_tau()
        self._ends = designs_at(self.coordinates, self._averaged(), self._design_share)

    def _final_candidates(self) -> list[Candidate]:
        """Rounded configurations just within the final budgets, cheapest first, each once.

        Each carries its keep ratios before rounding.
        """
        points = self.grid.weights(self.grid.even(CURVE_POINTS)) @ self._averaged()
        if self.designs is not None:
            points = torch.cat([points, self.designs.points])
        rounded = [self.coordinates.candidate(point) for point in points.numpy()]
        compute = np.array([self.relaxed.rounded_compute(candidate) for candidate in rounded])
        tau = self._annealed_tau()
        with torch.no_grad():
            ratios = self.coordinates.ratios(points).numpy()
        if self.designs is None:
            indices = largest_within(compute, self._final_budgets(None))
        else:
            loss = predicted_loss(self._evaluated, ratios)
            budgets = self._final_budgets(self._predicted_front(compute, loss))
            indices = best_in_interval(compute, loss, budgets)
        once: dict[str, Candidate] = {}
        for index in indices:
            candidate = rounded[index]
            relaxed = {"keep": [float(r) for r in ratios[index]], "tau": tau}
            once[self.problem.identity(candidate)] = replace(candidate, relaxed=relaxed)
        return list(once.values())

    def _predicted_front(
        self, compute: NDArray[np.float64], loss: NDArray[np.float64]
    ) -> PredictedFront | None:
        """The front of points `[n]` of this compute and predicted loss; None where unknown."""
        if not np.isfinite(loss).any():
            return None
        budgets = fine_budgets(self.relaxed.reachable[0], self.grid.budgets[-1], self._planned)
        best = best_within(compute, loss, budgets)
        share = best if self.options.loss == "retention" else 1 - np.exp(-best)
        return PredictedFront(budgets, share.clip(0, 1))

    # --- checkpoints

    def _own_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {
            "x": self.x, "multipliers": self.multipliers.values, "saved": self.saved.sum,
            "sum": self._sum,
        }  # fmt: skip
        finals = None if self._finals is None else [
            {"space": c.space, "values": dict(c.values), "relaxed": dict(c.relaxed or {})}
            for c in self._finals
        ]  # fmt: skip
        return tensors, {
            "saved_steps": self.saved.steps, "summed": self._summed, "stepping": self._stepping,
            "losses": [design.loss for design in self._evaluated], "finals": finals,
        }  # fmt: skip

    def _restore_own(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.x = tensors["x"].clone()
        self.multipliers.values = tensors["multipliers"].clone()
        self.saved.sum, self.saved.steps = tensors["saved"].clone(), values["saved_steps"]
        self._sum, self._summed = tensors["sum"].clone(), values["summed"]
        if self._stepping and not values["stepping"]:
            self._end_steps()
        for design, loss in zip(self._evaluated, values["losses"], strict=True):
            design.loss = loss
        finals = values["finals"]
        self._finals = None if finals is None else [Candidate(**final) for final in finals]
