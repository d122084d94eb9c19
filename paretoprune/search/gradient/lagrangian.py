"""The gradient search: straight-through top-k, KL to dense, augmented Lagrangian per budget knot.

After VisPCO (arXiv 2604.15188), with the budget constraint as an inequality in relative compute and
one multiplier per knot, so that the whole front comes out of one run. For each knot k with budget
b_k the parameters x_k of a keep schedule r (free ratios, or a kernel's parameters) solve

    minimise  f_k(x_k) = E_z d(z; r(x_k))   subject to  u(r(x_k)) <= b_k

where d is made of KL(dense(z) || student(z; r)) on sample z, through the augmented Lagrangian

    L_k = f_k / s_k + ( max(0, w_k + sigma c_k)^2 - w_k^2 ) / (2 sigma),   c_k = u(r(x_k)) - b_k,
    w_k <- clamp(w_k + sigma c_k, 0, w_max)   after each outer iteration

(`gradient.augmented`). s_k, the loss that one unit of compute saves, puts all knots on one scale:
the multiplier to expect is 1, whatever the model, and sigma and the step size carry over.
(Unscaled, the multipliers of cheap knots were still winding up when the budget was spent, far above
their constraint.)

Between knots parameters are linear: every gradient step draws one budget per sample, so all samples
teach the two knots around their budget.

Knots start where the loss should be least by what a few samples tell of schedules all over the
space, and the same samples judge where the steps end (`gradient.starts`).
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
from paretoprune.core.strategy import SearchContext, SearchState
from paretoprune.core.trace import SearchTrace
from paretoprune.errors import UnsupportedError
from paretoprune.search.gradient.augmented import Multipliers, SavedLoss
from paretoprune.search.gradient.base import GradientStrategy, geometric
from paretoprune.search.gradient.coordinates import coordinates_of, project
from paretoprune.search.gradient.finals import Foretold, below, fine_budgets, least, lost_within
from paretoprune.search.gradient.knots import over_neighbours
from paretoprune.search.gradient.options import LagrangianOptions
from paretoprune.search.gradient.relaxation import Relaxation, loss_and_slope
from paretoprune.search.gradient.rounds import BestIterates, Rounds
from paretoprune.search.gradient.sampling import distinct
from paretoprune.search.gradient.starts import (
    Probe,
    Starts,
    expected_loss,
    plan_starts,
    probes_of,
    told,
)
from paretoprune.search.gradient.state import GradientState

CURVE = 301
"""Budgets along the knots whose rounded configurations are looked at, for those to evaluate."""
PER_START = 1.0
"""Samples that starts are tried on, for each start that is tried."""
FEWEST_SAMPLES = 8
"""Samples that starts are tried on, at least."""
FEW_KNOTS = 5
"""Knots, at most, where no starts can be paid for: near knots then only share out the samples."""
TRIED_BELOW = 0.75
"""Of the reachable range: there a dearer start hardly loses anything."""

__all__ = ["LagrangianOptions", "LagrangianSearch", "project"]


class LagrangianSearch(GradientStrategy):
    """Static schedules of one kernel, for all budgets at once, by gradient descent.

    The first `ask`s return starts to try. Each further one runs one outer iteration (`inner_steps`
    gradient steps and a multiplier update) and returns nothing; once the budget left is what the
    rest costs, the knots are tried, and then rounded configurations below round budgets come out.
    The kernel is the option `kernel`, or the space that the study names.
    """

    options_class: ClassVar[type | None] = LagrangianOptions

    def __init__(self, options: LagrangianOptions | None = None, **overrides: Any) -> None:
        if overrides:
            options = LagrangianOptions(**overrides)
        self.options = options or LagrangianOptions()
        self.kernel_asked = self.options.kernel

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Put every knot near its budget: a constant schedule, or a kernel's point."""
        super().start(problem, context)
        options = self.options
        free = LagrangianOptions.kernel
        if options.kernel != free and context.space not in (None, options.kernel):
            raise UnsupportedError(
                f"the options kernel={options.kernel} and space={context.space} name two kernels; "
                "give one of them"
            )
        self.relaxed: Relaxation = relaxation_of(problem)
        if options.checkpoint:
            self.relaxed = self.relaxed.checkpointed()
        self.coordinates = coordinates_of(self.relaxed, problem, self.space_name)
        self.knots = self._knots(options.knots, options.highest_budget, options.bend)
        self._plan_finals(self._price_at, options.final_share, options.most_finals)
        self.starts = self._plan_starts()
        self._checks: list[Probe] = []
        self._stepping = options.start_share < 1
        if options.start != "constant" and self.starts is None:
            few = min(options.knots, FEW_KNOTS)
            self.knots = self._knots(few, options.highest_budget, options.bend)
        count = len(self.knots)
        self.x = self.coordinates.start(self.budgets)
        self.velocity = torch.zeros_like(self.x)
        self.multipliers = Multipliers(count, sigma=options.sigma, most=options.most_multiplier)
        self.saved = SavedLoss(count)
        self.best = BestIterates(self.x)
        self.met = 0
        self._sum = torch.zeros_like(self.x)
        self._summed = 0
        self._pending: list[Candidate] | None = None
        if self._stepping:
            self._reserve += 1.1 * self._tried_share * sum(map(self._price_at, self.budgets))
        probing = sum(problem.checked_price(p.candidate) for p in self._probes)
        for_steps = context.budget - self._reserve - self.relaxed.teacher_price() - probing
        self.rounds = Rounds(for_steps, options.restarts, options.average_share)
        self.history: list[dict[str, Any]] = []

    @property
    def budgets(self) -> NDArray[np.float64]:
        """The knots' budgets."""
        return self.knots.budgets

    @property
    def ratios(self) -> Tensor:
        """Keep ratios of the knots as they are, `[knots, layers]`."""
        with torch.no_grad():
            return self.coordinates.ratios(self.x)

    def _price_at(self, budget: float) -> float:
        """What evaluating a configuration of this budget will cost, nearly."""
        return self.problem.checked_price(self.relaxed.candidate(self.relaxed.constant(budget)))

    def _plan_starts(self) -> Starts | None:
        """Starts to try; none where options, problem or budget say so."""
        options, relaxed = self.options, self.relaxed
        if options.start == "constant" or not self.problem.has_shares:
            return None
        low, high = relaxed.reachable
        self.coordinates.slope = options.slope_end
        left = self.context.budget - self._reserve
        if options.start_share < 1:
            left -= relaxed.teacher_price()
        return plan_starts(
            self.coordinates, relaxed, self.problem,
            below=low + TRIED_BELOW * (high - low),
            affordable=options.start_share * left,
            per_start=PER_START, least=FEWEST_SAMPLES,
        )  # fmt: skip

    @property
    def _probes(self) -> list[Probe]:
        """Starts that are tried, and where the steps ended, once they have."""
        return [*self.starts.probes, *self._checks] if self.starts is not None else []

    @property
    def _tried_share(self) -> float:
        """Of the samples, that starts are tried on, and the knots where steps end; 0 for none."""
        return self._probes[0].candidate.share if self._probes else 0.0

    @property
    def progress(self) -> float:
        """Share of the gradient steps' budget that is spent, 0..1."""
        return self.rounds.progress

    def ask(self, n: int) -> list[Candidate]:
        """Starts to try; then one outer iteration; at the end, the rounded configurations."""
        if self._untried:
            return [p.candidate for p in self._untried[:n]]
        if self._pending is None:
            if self._stepping and self._iterate():
                return []
            if self._stepping and self.starts is not None and self.history:
                self._end_steps()
                return self.ask(n)
            self._pending = self._round()
        ready, self._pending = self._pending[:n], self._pending[n:]
        return ready

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn what is lost by starts, the last of which sets the knots, and where steps end."""
        untried = self._untried
        for probe, evaluation in zip(untried, evaluations, strict=False):
            told(probe, evaluation, self.options.loss)
        if untried and self.starts is not None and not (self._untried or self._checks):
            self.x = self.starts.best(self.budgets, self.x)
            self.best = BestIterates(self.x)

    @property
    def _untried(self) -> list[Probe]:
        return [p for p in self._probes if p.lost is None]

    @property
    def returning(self) -> bool:
        """Whether it takes no more steps, and hands out final configurations."""
        return self._pending is not None

    @property
    def finished(self) -> bool:
        """Whether all final configurations have been handed out."""
        return self._pending is not None and not self._pending

    # --- an outer iteration

    def _iterate(self) -> bool:
        """Gradient steps and one multiplier update; false once there is nothing left to do."""
        if self.met >= self.options.patience or not self._teach():
            return False
        rng = self.context.rng()
        losses: list[float] = []
        excesses: list[Tensor] = []
        merits: list[Tensor] = []
        for _ in range(self.options.inner_steps):
            tau = self._annealed()
            weights = self.knots.weights(self.knots.draw(self.options.batch, rng))
            x = self.x.clone().requires_grad_()
            rows = self.coordinates.ratios(weights @ x)
            price = self.relaxed.step_price(
                rows.detach().numpy(), tau=tau, straight_through=self.options.hard
            )
            if not self.context.affords(price + self._reserve):
                if losses:
                    self._close(losses, excesses, merits)
                return False
            self.context.charge(price)
            loss, merit = self._step(x, rows, weights, rng, tau)
            losses.append(loss)
            merits.append(merit)
            excesses.append(self._excess(self.x).detach())
            if self.rounds.spend(price):
                self.x = self.best.x.clone()
                self.velocity.zero_()
        self._close(losses, excesses, merits)
        return True

    def _annealed(self) -> float:
        """Mask width tau of this step; a kernel's steps sharpen alongside."""
        options, done = self.options, self.progress
        self.coordinates.slope = geometric(options.slope_start, options.slope_end, done)
        return geometric(options.tau_start, options.tau_end, done)

    def _excess(self, x: Tensor) -> Tensor:
        """Constraint values c_k = u(r(x_k)) - b_k, `[knots]`."""
        return self.relaxed.compute(self.coordinates.ratios(x)) - torch.from_numpy(self.budgets)

    def _step(
        self, x: Tensor, rows: Tensor, weights: Tensor, rng: np.random.Generator, tau: float
    ) -> tuple[float, Tensor]:
        """One gradient step on the augmented Lagrangian, then projection.

        Returns the mean divergence and each knot's Lagrangian, `[knots]`, before the step.
        """
        options, count = self.options, len(self.knots)
        samples = distinct(rng, self.relaxed.samples, len(rows))
        divergence, slope_of_rows = loss_and_slope(
            self.relaxed, rows.detach(), samples, tau=tau, straight_through=options.hard,
            noise=rng.integers(2**63, size=len(rows)) if options.noisy else None,
            micro_batch=options.micro_batch,
        )  # fmt: skip
        lost = divergence if options.loss == "kl" else 1 - torch.exp(-divergence)
        if options.loss == "retention":
            slope_of_rows = torch.exp(-divergence)[:, None] * slope_of_rows
        # the mean over samples is one over the knots, too: each knot hears 1 / knots of them
        (quality,) = torch.autograd.grad(rows, x, slope_of_rows * count / len(rows))
        excess = self._excess(x)
        (slope,) = torch.autograd.grad(excess.sum(), x)
        excess = excess.detach()
        quality = over_neighbours(quality, options.sharing)
        natural = self.coordinates.natural(x, slope)
        self.saved.update((quality * natural).sum(1))
        scale = self.saved.scale((slope * natural).sum(1))
        heard = (weights * lost[:, None]).sum(0) / weights.sum(0).clamp(min=1e-9)
        merit = heard / scale + self.multipliers.penalty(excess)
        gradient = quality / scale[:, None] + self.multipliers.force(excess)[:, None] * slope
        self._descend(x.detach(), self.coordinates.natural(x, gradient))
        return float(divergence.mean()), merit

    def _descend(self, x: Tensor, direction: Tensor) -> None:
        """One step, x <- project(x - lr v), no coordinate farther than allowed."""
        options = self.options
        # the more knots, the fewer samples each hears
        highest = options.learning_rate * min(1.0, FEW_KNOTS / len(self.knots))
        reach = options.farthest / highest
        self.velocity = options.momentum * self.velocity + self.coordinates.limited(
            direction, reach
        )
        rate = highest * (1 - 0.8 * self.rounds.progress_of_round)
        self.x = self.coordinates.project(x - rate * self.velocity)
        if self.rounds.averaging:
            self._sum += self.x
            self._summed += 1

    def _close(
        self, losses: Sequence[float], excesses: Sequence[Tensor], merits: Sequence[Tensor]
    ) -> None:
        """Move the multipliers, remember the best iterates, write the iteration down."""
        excess = torch.stack(list(excesses)).mean(0)  # single iterates jump about the constraint
        acting = self.ratios[:, self.relaxed.first :]
        self.multipliers.update(excess)
        self.best.update(self.x, torch.stack(list(merits)).mean(0))
        if self.options.stop_within:
            near = bool((self.multipliers.residual(excess) < self.options.stop_within).all())
            self.met = self.met + 1 if near else 0
        self.history.append(
            {
                "spent": self.context.spent,
                "divergence": [float(np.mean(losses))],
                "excess": excess.tolist(),
                "kept": acting.mean(1).tolist(),
                "multiplier": self.multipliers.values.tolist(),
            }
        )

    def trace(self) -> SearchTrace:
        """Curves of all rounds so far."""
        options = self.options
        return self._traced(options.loss, self.budgets, options.most_multiplier)

    # --- what comes out

    def _averaged(self) -> Tensor:
        """Where the steps ended: the mean of the last iterates, `[knots, n]`."""
        x = self._sum / self._summed if self._summed else self.x
        return self.coordinates.project(x)

    def _end_steps(self) -> None:
        """Take no more steps; try where they ended on the samples that the starts were tried on."""
        self._stepping = False
        self._annealed()
        self._checks = probes_of(self.coordinates, self._averaged(), self._tried_share)

    def _round(self) -> list[Candidate]:
        """Rounded configurations just below the budgets offered, cheapest first, each once.

        Each carries what it was before rounding.
        """
        points = self.knots.weights(self.knots.even(CURVE)) @ self._averaged()
        if self.starts is not None:
            points = torch.cat([points, self.starts.points])
        rounded = [self.coordinates.candidate(point) for point in points.numpy()]
        compute = np.array([self.relaxed.rounded_compute(each) for each in rounded])
        tau = self._annealed()
        with torch.no_grad():
            ratios = self.coordinates.ratios(points).numpy()
        told = lost = None
        if self.starts is not None:
            lost = expected_loss(self._probes, ratios)
            told = self._told(compute, lost)
        offers = self._offers(self._price_at, self.options.most_finals, told)
        places = below(compute, offers) if lost is None else least(compute, lost, offers)
        points, ratios = points[torch.from_numpy(places)], ratios[places]
        once: dict[str, Candidate] = {}
        for point, row in zip(points.numpy(), ratios, strict=True):
            candidate = self.coordinates.candidate(point)
            relaxed = {"keep": [float(r) for r in row], "tau": tau}
            once[self.problem.identity(candidate)] = replace(candidate, relaxed=relaxed)
        return list(once.values())

    def _told(self, compute: NDArray[np.float64], lost: NDArray[np.float64]) -> Foretold | None:
        """What to expect of points `[n]` that cost `compute` and should lose `lost`."""
        if not np.isfinite(lost).any():
            return None
        budgets = fine_budgets(self.relaxed.reachable[0], self.budgets[-1], self._planned)
        best = lost_within(compute, lost, budgets)
        part = best if self.options.loss == "retention" else 1 - np.exp(-best)
        return Foretold(budgets, part.clip(0, 1))

    # --- checkpoints

    def state(self) -> GradientState:
        """Everything that a fresh, started search needs to continue identically."""
        return GradientState(
            tensors={
                "x": self.x, "velocity": self.velocity, "multipliers": self.multipliers.values,
                "saved": self.saved.sum, "sum": self._sum, "best": self.best.x,
                "merit": self.best.merit,
            },
            values={
                "saved_steps": self.saved.steps, "summed": self._summed, "taught": self._taught,
                "stepped": self.rounds.spent, "restarted": self.rounds.restarted, "met": self.met,
                "history": self.history, "probed": [p.lost for p in self._probes],
                "stepping": self._stepping,
                "pending": None if self._pending is None else [
                    {"space": c.space, "values": dict(c.values), "relaxed": dict(c.relaxed or {})}
                    for c in self._pending
                ],
            },
        )  # fmt: skip

    def restore(self, state: SearchState) -> None:
        """Take over a state; `start` must have been called with the same problem and context."""
        tensors, values = state.tensors, state.values
        self.x, self.velocity = tensors["x"].clone(), tensors["velocity"].clone()
        self.multipliers.values = tensors["multipliers"].clone()
        self.saved.sum, self.saved.steps = tensors["saved"].clone(), values["saved_steps"]
        self._sum, self._summed = tensors["sum"].clone(), values["summed"]
        self.best.x, self.best.merit = tensors["best"].clone(), tensors["merit"].clone()
        self._taught, self.met = values["taught"], values["met"]
        self.rounds.spent, self.rounds.restarted = values["stepped"], values["restarted"]
        self.history = list(values["history"])
        if self._stepping and not values["stepping"]:
            self._end_steps()
        for probe, lost in zip(self._probes, values["probed"], strict=True):
            probe.lost = lost
        pending = values["pending"]
        self._pending = None if pending is None else [Candidate(**each) for each in pending]
