"""The adaptive gradient search: one predictor for all budgets; easy inputs pay for hard ones.

A predictor (`policies.predictor`) gives every input z and budget b a keep schedule r(z, b). On a
grid of budgets b_k it solves

    minimise  E_z d(z; r(z, b_k))   subject to  E_z u(z; r(z, b_k)) = b_k   for every k:

the budget holds on *average* over inputs, not for each. Unused budget is wasted, so the constraint
is an equality. d is made of KL(dense || student) through the soft decoder, as in the static search
(`gradient.lagrangian`). The augmented Lagrangian has one multiplier w_k per budget of the grid:

    L = mean_i d(z_i; r(z_i, b_i)) / s(b_i)
        + mean_k ( w_k c_k + sigma c_k^2 / 2 ),
    c_k = E_z u(z; r(z, b_k)) - b_k,     w_k <- clamp(w_k + sigma c_k, -w_max, w_max).

Every step draws one budget per sample. c_k is exact: the predictor is asked for every sample of the
split at every budget of the grid, at a small fraction of the cost of one forward pass of the
decoder. s is the loss that one unit of compute saves, so that the expected multiplier is 1.

A gradient stays in its valley, and questions that need another valley than most are a few percent
of the samples. So the predictor starts from a static front per cluster of questions
(`gradient.clusters`): initial designs are evaluated on a part of the samples first, paid for like
any evaluation, and every cluster starts at the designs of highest predicted score
(`gradient.initial_designs`).

After training, the budgets to ask for are corrected on the search split, so that the mean compute
there is at most the one aimed at, lattice included. On new data it is not forced; evaluations
report it. `gradient.budgets` chooses the budgets that policies are offered at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.strategy import SearchContext
from paretoprune.cost import DecoderSpec
from paretoprune.pruning.policies.base import checked
from paretoprune.pruning.policies.predictor import Predicted, predictor_flops, seeded_net
from paretoprune.search.gradient.augmented import EqualityMultipliers, SavedLoss
from paretoprune.search.gradient.base import (
    AVERAGED_SHARE,
    HIGHEST_BUDGET,
    SLOPE_END,
    SLOPE_START,
    BudgetGridStrategy,
    Step,
    descend,
    geometric,
)
from paretoprune.search.gradient.budgets import PredictedFront, fine_budgets
from paretoprune.search.gradient.clusters import Clusters, cluster_questions, start_clusters
from paretoprune.search.gradient.coordinates import FreeRatios, coordinates_of
from paretoprune.search.gradient.initial_designs import (
    InitialDesign,
    InitialDesigns,
    plan_initial_designs,
)
from paretoprune.search.gradient.options import AdaptiveOptions
from paretoprune.search.gradient.relaxation import (
    AdaptiveRelaxation,
    adaptive,
    distinct_samples,
    loss_and_slope,
)
from paretoprune.search.gradient.state import moments_of, restore_moments, with_prefix

CORRECTION_POINTS = 65
"""Budgets at which the mean compute of the trained predictor is looked up."""
SAMPLES_PER_DESIGN = 2.0
"""Samples of each initial design, relative to the number of designs: each cluster has its part."""
MIN_SAMPLES_PER_CLUSTER = 4
"""Samples of each cluster that designs are evaluated on, on average, at least."""
MAX_DESIGN_COMPUTE = 0.6
"""Share of the reachable range up to which designs lie: above it losses hardly differ."""
COMPUTE_MARGIN = 0.005
"""Margin of the mean compute below a budget: ranking and deciding are not included."""
WEIGHT_DECAY = 1e-2
"""Weight decay of AdamW, for the predictor's layers."""
MIN_SCALE = 1e-6
"""A feature that does not vary is divided by this."""
UNIT_MARGIN = 0.02
"""Least distance of an initial parameter from 0 and 1: the sigmoid's slope must not vanish."""

__all__ = ["AdaptiveOptions", "AdaptiveSearch", "standardised"]


class AdaptiveSearch(BudgetGridStrategy):
    """One predictor for all inputs and budgets; then policies at round budgets.

    The first `ask`s return initial designs. Each further one runs one round and returns nothing.
    Once the budget left is needed for the final evaluations, it offers policies, cheapest first.
    Every evaluation pays for the predictor that decides in it.
    """

    options_class: ClassVar[type | None] = AdaptiveOptions
    relaxed: AdaptiveRelaxation
    options: AdaptiveOptions

    def untrained(self, spec: DecoderSpec) -> Predicted:
        """A predictor for all clusters of questions, at evenly spaced budgets."""
        options = self.options
        return Predicted(
            spec.layers, None, spec.hidden, options.kernel,
            np.linspace(0, HIGHEST_BUDGET, options.grid_points).tolist(), 0.5, options.width,
            clusters=options.clusters,
        )  # fmt: skip

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Draw the predictor's weights; at every grid point it starts near the budget."""
        super().start(problem, context)
        options = self.options
        self.relaxed = adaptive(problem, checkpoint=options.checkpoint)
        self.grid = self._budget_grid(options.grid_points)
        self.designs = self._plan_designs()
        self.clusters = self._cluster()
        self.policy = self._constant_policy()
        self.net = self.policy.net
        layers = [p for p in self.net.parameters() if p is not self.net.base]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": layers, "rate": options.learning_rate},
                {"params": [self.net.base], "rate": options.base_rate, "weight_decay": 0.0},
            ],
            lr=options.learning_rate, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY,
        )  # fmt: skip
        self.multipliers = EqualityMultipliers(
            options.grid_points, sigma=options.sigma, max_multiplier=options.max_multiplier
        )
        self.saved = SavedLoss(options.grid_points)
        self._average = {n: torch.zeros_like(x) for n, x in self.net.named_parameters()}
        self._averaged = 0
        self._offered: NDArray[np.float64] | None = None
        self._plan_finals()
        designs = sum(problem.checked_price(design.candidate) for design in self._evaluated)
        self._for_steps = context.budget - self._reserve - self._price_before_steps() - designs

    def _price_before_steps(self) -> float:
        """Price of the dense model's answers and of the clustering."""
        return super()._price_before_steps() + self.relaxed.passes(self.clusters.flops)

    def _price_at(self, budget: float) -> float:
        """Price of evaluating a policy of this budget, its own compute included."""
        return super()._price_at(budget) + self.relaxed.passes(
            self._row_flops * self.relaxed.samples
        )

    @property
    def _row_flops(self) -> float:
        """FLOPs of the predictor on one input at one budget."""
        parameters = self.net.base.shape[2]
        return predictor_flops(
            self.policy.hidden, parameters, len(self.grid), self.options.width, self.policy.clusters
        )

    # --- initial designs

    def _plan_designs(self) -> InitialDesigns | None:
        """Initial designs; None where options, kernel, problem or budget exclude them."""
        options, relaxed = self.options, self.relaxed
        free = self.space_name == relaxed.space
        if options.clusters == 1 or not free or not self.problem.has_shares:
            return None
        low, high = relaxed.reachable
        return plan_initial_designs(
            FreeRatios(relaxed), relaxed, self.problem,
            max_compute=low + MAX_DESIGN_COMPUTE * (high - low),
            affordable=options.initial_share * (1 - options.final_share) * self.context.budget,
            samples_per_design=SAMPLES_PER_DESIGN,
            min_samples=options.clusters * MIN_SAMPLES_PER_CLUSTER,
        )  # fmt: skip

    def _cluster(self) -> Clusters:
        """Clusters of questions; one where there are no initial designs."""
        features = self.relaxed.features
        questions = standardised(features[:, features.shape[1] // 2 :])
        count = self.options.clusters if self._evaluated else 1
        return cluster_questions(questions.numpy(), count, self.context.seed_of_ask())

    def _constant_policy(self) -> Predicted:
        """The policy with constant schedules near the budgets of the grid."""
        options, relaxed = self.options, self.relaxed
        kernel, clusters = relaxed.kernels[self.space_name], self.clusters
        hidden, count = relaxed.features.shape[1] // 2, len(clusters.centres)
        net = seeded_net(
            hidden, len(kernel.space.knobs), options.grid_points, options.width, count,
            seed=self.context.seed_of_ask(),
        ).double()  # fmt: skip
        net.mean.copy_(relaxed.features.mean(0))
        net.scale.copy_(relaxed.features.std(0).clamp(min=MIN_SCALE))
        net.centres.copy_(torch.from_numpy(clusters.centres))
        net.spread.fill_(clusters.variance)
        units = coordinates_of(relaxed, self.problem, kernel.name).start(self.grid.budgets)
        if units.shape[1] == relaxed.layers and kernel.name == relaxed.space:
            units = units[:, relaxed.first :]
        with torch.no_grad():
            net.base.copy_(_logits(units)[None].expand_as(net.base))
        return Predicted(
            relaxed.layers, kernel.levels, hidden, kernel.name, self.grid.budgets.tolist(), 0.5,
            options.width, relaxed.first, SLOPE_END, clusters=count, net=net,
        )  # fmt: skip

    def _record(self, design: InitialDesign, evaluation: Evaluation) -> None:
        """Note a design's score on each sample; retained probability is less noisy than scores."""
        found: NDArray[np.float32] | None = None
        if evaluation.failure is None:
            found = evaluation.outcomes
            if self.options.loss == "retention" and evaluation.retained is not None:
                found = evaluation.retained
        if found is None:  # a failed one loses everything
            design.retained = np.zeros(len(self.relaxed.part(design.candidate.share)))
        else:
            design.retained = np.asarray(found, dtype=np.float64)

    def _begin(self, designs: InitialDesigns) -> None:
        chosen, _ = start_clusters(designs, self.relaxed, self.clusters, self.grid.budgets)
        rows = designs.points[torch.from_numpy(chosen)]
        with torch.no_grad():
            self.net.base.copy_(_logits(rows[..., self.relaxed.first :]))

    # --- a round

    def _step(self, rng: np.random.Generator) -> Step | None:
        """One step of AdamW on the Lagrangian."""
        options, relaxed = self.options, self.relaxed
        tau = geometric(options.tau_start, options.tau_end, self.progress)
        self.policy.slope = geometric(SLOPE_START, SLOPE_END, self.progress)
        budgets = self.grid.draw(options.batch, rng)
        samples = distinct_samples(rng, relaxed.samples, options.batch)
        rows = self.policy.at_aims(relaxed.features[torch.from_numpy(samples)], budgets)
        predictions = len(rows) + relaxed.samples * len(self.grid)
        price = relaxed.step_price(rows.detach().numpy(), tau=tau) + relaxed.passes(
            3.0 * self._row_flops * predictions
        )
        if not self._pays(price):
            return None
        self._stepped += price
        divergence, slope = loss_and_slope(
            relaxed, rows.detach(), samples, tau=tau, micro_batch=options.micro_batch
        )
        slope = self._loss_slope(divergence, slope)
        scale = self._scale(rows.detach(), samples, budgets, slope)
        constraint, kept = self._constraint()
        # the divergence's slope enters as a linear term: the same gradient, in small batches
        lagrangian = (slope * rows / scale[:, None]).sum() / len(rows)
        lagrangian = lagrangian + self.multipliers.penalty(constraint).mean()
        descend(self.optimizer, lagrangian, self.progress)
        if self.progress >= 1 - AVERAGED_SHARE:
            self._averaged += 1
            for name, x in self.net.named_parameters():
                self._average[name] += x.detach()
        return Step(float(divergence.mean()), constraint.detach(), kept)

    def _constraint(self) -> tuple[Tensor, Tensor]:
        """c_k, the mean relative compute over all samples less the budget, `[points]`.

        And the mean keep ratios of the layers that the pruner can act at.
        """
        count, points = self.relaxed.samples, len(self.grid)
        features = self.relaxed.features.repeat(points, 1)
        rows = self.policy.at_aims(features, np.repeat(self.grid.budgets, count))
        numbers = np.tile(np.arange(count), points)
        mean = self.relaxed.sample_compute(rows, numbers).reshape(points, count).mean(1)
        kept = rows.detach()[:, self.relaxed.first :].mean(1).reshape(points, count).mean(1)
        return mean - torch.from_numpy(self.grid.budgets), kept

    def _scale(
        self, rows: Tensor, samples: NDArray[np.int64], budgets: NDArray[np.float64], slope: Tensor
    ) -> Tensor:
        """The loss that a unit of compute saves at each row's budget, s, `[rows]`."""
        ratios = rows.clone().requires_grad_()
        compute = self.relaxed.sample_compute(ratios, samples).sum()
        (compute_slope,) = torch.autograd.grad(compute, ratios)
        weights = self.grid.weights(budgets)
        share = weights / weights.sum(0).clamp(min=1e-9)
        self.saved.update(share.T @ (slope * compute_slope).sum(1))
        return weights @ self.saved.scale(share.T @ (compute_slope * compute_slope).sum(1))

    def _end_round(self, steps: Sequence[Step], rng: np.random.Generator) -> None:
        constraint, kept = torch.stack([step.constraint for step in steps]).mean(0), steps[-1].kept
        assert kept is not None
        self.multipliers.update(constraint)
        self.history.append(
            {
                "spent": self.context.spent,
                "divergence": [float(np.mean([step.divergence for step in steps]))],
                "excess": constraint.tolist(), "multiplier": self.multipliers.values.tolist(),
                "kept": kept.tolist(),
            }
        )  # fmt: skip

    # --- final candidates

    def _final_candidates(self) -> list[Candidate]:
        """Policies at the final budgets, each corrected to reach its own."""
        if self._averaged:
            with torch.no_grad():
                for name, x in self.net.named_parameters():
                    x.copy_(self._average[name] / self._averaged)
        self.policy.slope = SLOPE_END
        stored = Predicted.restore(self.policy.settings, self.policy.tensors)
        correction = self._correction(stored)
        corrected = Predicted(**{**stored.settings, **correction}, net=stored.net)
        if self._offered is None:  # else of a checkpoint: evaluations may have been paid for since
            self._offered = self._final_budgets(
                self._predicted_front(correction.get("reached", []))
            )
        relaxed = {"tau": self.options.tau_end}
        return [
            replace(self.relaxed.policy(corrected.at(float(b))), relaxed=relaxed)
            for b in self._offered
        ]

    def _predicted_front(self, reached: Sequence[float]) -> PredictedFront | None:
        """The front that initial designs predict, up to the highest budget that policies `reached`.

        None where there are no designs.
        """
        if self.designs is None:
            return None
        budgets = self.grid.budgets
        highest = min(max(reached, default=budgets[-1]), budgets[-1])
        planned = self._planned[self._planned <= highest]
        if not len(planned):  # collapsed masks reach none; their policy is evaluated once
            planned = self._planned[:1]
        fine = fine_budgets(budgets[0], highest, planned)
        _, scores = start_clusters(self.designs, self.relaxed, self.clusters, budgets)
        loss = np.minimum.accumulate(1 - np.interp(fine, budgets, scores))
        return PredictedFront(fine, loss.clip(0, 1))

    def _correction(self, policy: Predicted) -> dict[str, list[float]]:
        """Budgets to ask for, and the mean compute on the search split that each gives, rounded."""
        budgets = self.grid.budgets
        aims = np.linspace(budgets[0], budgets[-1], CORRECTION_POINTS)
        numbers = np.arange(self.relaxed.samples)
        means = []
        for aim in aims:
            with torch.no_grad():
                rows = policy.at_aims(self.relaxed.features, np.full(len(numbers), aim))
            rounded = torch.from_numpy(checked(policy, rows.double().numpy(), len(numbers)))
            means.append(float(self.relaxed.sample_compute(rounded, numbers).mean()))
        reached = np.maximum.accumulate(means) + COMPUTE_MARGIN
        rising = np.concatenate([[True], np.diff(reached) > 1e-9])
        if rising.sum() < 2:
            return {}
        return {"aims": aims[rising].tolist(), "reached": reached[rising].tolist()}

    # --- checkpoints

    def _own_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"net.{name}": x for name, x in self.net.state_dict().items()}
        tensors |= {f"average.{name}": x for name, x in self._average.items()}
        tensors |= moments_of(self.optimizer)
        tensors |= {"multipliers": self.multipliers.values, "saved": self.saved.sum}
        retained = [d.retained for d in self._evaluated if d.retained is not None]
        if retained:
            tensors["retained"] = torch.from_numpy(np.stack(retained))
        return tensors, {
            "saved_steps": self.saved.steps, "averaged": self._averaged,
            "offered": None if self._offered is None else self._offered.tolist(),
        }  # fmt: skip

    def _restore_own(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.net.load_state_dict(with_prefix(tensors, "net."))
        self._average = with_prefix(tensors, "average.")
        restore_moments(self.optimizer, tensors)
        for design, retained in zip(self._evaluated, tensors.get("retained", ()), strict=False):
            design.retained = retained.numpy()
        self.multipliers.values = tensors["multipliers"].clone()
        self.saved.sum, self.saved.steps = tensors["saved"].clone(), values["saved_steps"]
        self._averaged = values["averaged"]
        self._offered = None if values["offered"] is None else np.array(values["offered"])
        self._finals = None if self._offered is None else self._final_candidates()


def standardised(features: Tensor) -> Tensor:
    """Features `[samples, n]` less their means, over their standard deviations."""
    return (features - features.mean(0)) / features.std(0).clamp(min=MIN_SCALE)


def _logits(units: Tensor) -> Tensor:
    return torch.logit(units.clamp(UNIT_MARGIN, 1 - UNIT_MARGIN))
