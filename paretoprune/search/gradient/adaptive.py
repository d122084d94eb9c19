"""The adaptive gradient search: one predictor for all budgets; easy inputs pay for hard ones.

A predictor (`policies.predictor`) gives every input z and budget b a keep schedule r(z, b). With
knots b_k it solves

    minimise  E_z d(z; r(z, b_k))   subject to  E_z u(z; r(z, b_k)) = b_k   for every k:

the budget holds on *average* over inputs, not for each. More compute never costs loss, so what a
budget leaves over is a loss, too: an equality. d is made of KL(dense || student) through the soft
decoder, as in the static search (`search.lagrangian`). The augmented Lagrangian has one multiplier
w_k per knot:

    L = mean_i d(z_i; r(z_i, b_i)) / s(b_i)
        + mean_k ( w_k c_k + sigma c_k^2 / 2 ),
    c_k = E_z u(z; r(z, b_k)) - b_k,     w_k <- clamp(w_k + sigma c_k, -w_max, w_max).

Every step draws one budget per sample. c_k is exact: the predictor is asked for every sample of the
split at every knot, which costs next to nothing beside one forward pass of the decoder. s is the
loss that one unit of compute saves, so that the multiplier to expect is 1.

A gradient stays in its valley, and a kind of question that needs another valley than most is a few
percent of the samples. So the predictor starts from a static front per kind of question
(`gradient.kinds`): schedules spread over the space (`gradient.starts`) are evaluated on a part of
the samples first, paid for like any evaluation, and every kind starts at what should be best for it
by what they tell (`gradient.surrogate`).

After training, the budgets to ask for are corrected on the search split, so that the mean compute
there is at most the one aimed at, lattice included. On new data it is not forced; evaluations
report it. Which budgets policies are offered at, `gradient.finals` says.
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
from paretoprune.core.strategy import SearchContext, SearchState
from paretoprune.core.trace import SearchTrace
from paretoprune.cost import DecoderSpec
from paretoprune.pruning.policies.base import checked
from paretoprune.pruning.policies.predictor import Predicted, predictor_flops, seeded_net
from paretoprune.search.gradient.adaptive_options import AdaptiveOptions
from paretoprune.search.gradient.augmented import EqualityMultipliers, SavedLoss
from paretoprune.search.gradient.base import (
    GradientStrategy,
    cosine,
    geometric,
    moments_of,
    restore_moments,
    with_prefix,
)
from paretoprune.search.gradient.coordinates import FreeRatios, coordinates_of
from paretoprune.search.gradient.finals import Foretold, fine_budgets
from paretoprune.search.gradient.kinds import Kinds, best_per_kind, kinds_of, means_per_kind
from paretoprune.search.gradient.relaxation import AdaptiveRelaxation, adaptive, loss_and_slope
from paretoprune.search.gradient.sampling import distinct
from paretoprune.search.gradient.starts import Probe, Starts, plan_starts
from paretoprune.search.gradient.state import GradientState
from paretoprune.search.gradient.surrogate import expected

CORRECTION = 65
"""Budgets at which the mean compute of the trained predictor is looked up."""
PER_START = 2.0
"""Samples that schedules are tried on, for each that is tried: every kind has its part of them."""
PER_KIND = 4
"""Samples of each kind that schedules are tried on, on average, at least."""
TRIED_BELOW = 0.6
"""Of the reachable range: dearer schedules hardly lose anything, whatever the kind."""
KEPT_BELOW = 0.005
"""How far the mean compute is to stay below a budget: ranking and deciding come on top."""
LEAST_SCALE = 1e-6
"""A feature that does not vary is divided by this."""
SURE = 0.02
"""How near to 0 or 1 a parameter may start: the sigmoid's slope must not vanish."""

__all__ = ["AdaptiveOptions", "AdaptiveSearch", "standardised"]


class AdaptiveSearch(GradientStrategy):
    """One predictor for all inputs and budgets; then policies at round budgets.

    Each `ask` runs one outer iteration (`inner_steps` gradient steps and a multiplier update) and
    returns nothing; once the budget left is what the final evaluations cost, it offers policies,
    cheapest first. Every evaluation pays for the predictor that decides in it.
    """

    relaxed: AdaptiveRelaxation

    options_class: ClassVar[type | None] = AdaptiveOptions

    def __init__(self, options: AdaptiveOptions | None = None, **overrides: Any) -> None:
        if overrides:
            options = AdaptiveOptions(**overrides)
        self.options = options or AdaptiveOptions()
        self.kernel_asked = self.options.kernel

    def untrained(self, spec: DecoderSpec) -> Predicted:
        """A predictor for all kinds of questions, at evenly spaced knots."""
        options = self.options
        return Predicted(
            spec.layers, None, spec.hidden, options.kernel,
            np.linspace(0, options.highest_budget, options.knots).tolist(), 0.5, options.width,
            kinds=options.kinds,
        )  # fmt: skip

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Draw the predictor's weights; at every knot it starts near the budget."""
        super().start(problem, context)
        options = self.options
        self.relaxed = adaptive(problem, checkpoint=options.checkpoint)
        self.knots = self._knots(options.knots, options.highest_budget, options.bend)
        self._starts = self._plan_starts(problem, context)
        self.policy, self._kinds = self._untrained(problem, context)
        self.net = self.policy.net
        base = [self.net.base]
        others = [p for p in self.net.parameters() if p is not self.net.base]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": others, "rate": options.learning_rate},
                {"params": base, "rate": options.base_rate, "weight_decay": 0.0},
            ],
            lr=options.learning_rate, betas=(0.9, 0.95), weight_decay=options.weight_decay,
        )  # fmt: skip
        self.multipliers = EqualityMultipliers(
            options.knots, sigma=options.sigma, most=options.most_multiplier
        )
        self.saved = SavedLoss(options.knots)
        self._average = {n: torch.zeros_like(x) for n, x in self.net.named_parameters()}
        self._averaged = 0
        self._stepped = 0.0
        self._given = 0
        self._finals: list[Candidate] | None = None
        self._offered: NDArray[np.float64] | None = None
        self._plan_finals(self._price_at, options.final_share, options.most_finals)
        starts = sum(problem.checked_price(p.candidate) for p in self._probes)
        self._for_steps = context.budget - self._reserve - self._before_steps() - starts
        self.history: list[dict[str, Any]] = []

    def _plan_starts(self, problem: Problem, context: SearchContext) -> Starts | None:
        """Schedules to try on a part of the samples, as many as may be paid for; or none."""
        options, relaxed = self.options, self.relaxed
        if options.kinds == 1 or self.space_name != relaxed.space or not problem.has_shares:
            return None
        low, high = relaxed.reachable
        return plan_starts(
            FreeRatios(relaxed), relaxed, problem,
            below=low + TRIED_BELOW * (high - low),
            affordable=options.start_share * (1 - options.final_share) * context.budget,
            per_start=PER_START, least=options.kinds * PER_KIND,
        )  # fmt: skip

    @property
    def _probes(self) -> Sequence[Probe]:
        return self._starts.probes if self._starts is not None else ()

    def _untrained(self, problem: Problem, context: SearchContext) -> tuple[Predicted, Kinds]:
        """The policy with a constant start, and the kinds of questions that it tells apart."""
        options, relaxed = self.options, self.relaxed
        kernel = relaxed.kernels[self.space_name]
        hidden = relaxed.features.shape[1] // 2
        questions = relaxed.features[:, hidden:]
        seed = context.seed_of_ask()
        wanted = options.kinds if self._probes else 1
        kinds = kinds_of(standardised(questions).numpy(), wanted, seed)
        count = len(kinds.centres)
        net = seeded_net(
            hidden, len(kernel.space.knobs), options.knots, options.width, count, seed=seed
        ).double()
        net.mean.copy_(relaxed.features.mean(0))
        net.scale.copy_(relaxed.features.std(0).clamp(min=LEAST_SCALE))
        net.centres.copy_(torch.from_numpy(kinds.centres))
        net.spread.fill_(kinds.spread)
        policy = Predicted(
            relaxed.layers, kernel.levels, hidden, kernel.name, self.knots.budgets.tolist(), 0.5,
            options.width, relaxed.first, options.slope_end, kinds=count, net=net,
        )  # fmt: skip
        units = coordinates_of(relaxed, problem, kernel.name).start(self.knots.budgets)
        if units.shape[1] == relaxed.layers and kernel.name == relaxed.space:
            units = units[:, relaxed.first :]
        with torch.no_grad():
            net.base.copy_(_logits(units)[None].expand_as(net.base))
        return policy, kinds

    def _before_steps(self) -> float:
        """The teacher, and finding the kinds of questions."""
        return super()._before_steps() + self.relaxed.passes(self._kinds.flops)

    def _price_at(self, budget: float) -> float:
        """What evaluating a policy of this budget will cost, its own compute included."""
        fixed = self.problem.checked_price(self.relaxed.candidate(self.relaxed.constant(budget)))
        return fixed + self.relaxed.passes(self._row_flops * self.relaxed.samples)

    @property
    def _row_flops(self) -> float:
        parameters = self.net.base.shape[2]
        return predictor_flops(
            self.policy.hidden, parameters, len(self.knots), self.options.width, self.policy.kinds
        )

    def ask(self, n: int) -> list[Candidate]:
        """Starts to try; then one outer iteration; at the end, up to `n` of the policies."""
        untried = [p.candidate for p in self._probes if p.kept is None]
        if untried:
            return untried[:n]
        if self._finals is None:
            if self._iterate():
                return []
            self._finals = self._policies()
        ready = self._finals[self._given : self._given + n]
        self._given += len(ready)
        return ready

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn what the tried schedules score; after the last one the knots are set."""
        open_ = [p for p in self._probes if p.kept is None]
        if not open_:
            return
        for probe, evaluation in zip(open_, evaluations, strict=False):
            # a failed one loses everything
            missing = np.zeros(len(self.relaxed.part(probe.candidate.share)))
            given = None if evaluation.failure is not None else self._kept(evaluation)
            probe.kept = missing if given is None else np.asarray(given, dtype=np.float64)
        if self._starts is not None and all(p.kept is not None for p in self._probes):
            self._begin(self._starts)

    def _kept(self, evaluation: Evaluation) -> NDArray[np.float32] | None:
        """What a schedule keeps of each sample: what is minimised says more of few than scores."""
        if self.options.loss == "retention" and evaluation.retained is not None:
            return evaluation.retained
        return evaluation.outcomes

    def _begin(self, starts: Starts) -> None:
        """Every kind of question starts from what should be best for it, at every knot."""
        chosen, _ = self._best_for_kinds(starts)
        rows = starts.points[torch.from_numpy(chosen)]
        with torch.no_grad():
            self.net.base.copy_(_logits(rows[..., self.relaxed.first :]))

    def _best_for_kinds(self, starts: Starts) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """What each kind should start from at each knot, `[kinds, knots]`.

        And what is kept of all samples then, to be expected at each knot, `[knots]`.
        """
        rows = starts.points
        scores = np.stack([p.kept for p in self._probes if p.kept is not None])
        numbers = self.relaxed.part(self._probes[0].candidate.share)
        compute = np.stack(
            [self.relaxed.sample_compute(row.expand(len(numbers), -1), numbers) for row in rows]
        )
        labels = self._kinds.labels[numbers]
        tried = np.stack([p.ratios for p in starts.probes])
        known = means_per_kind(scores, labels, self.policy.kinds)
        means = np.stack([expected(tried, own, starts.ratios) for own in known])
        chosen = best_per_kind(means, compute, labels, self.knots.budgets)
        of_kinds = np.bincount(labels, minlength=len(means)) / len(labels)
        return chosen, of_kinds @ np.take_along_axis(means, chosen, axis=1)

    @property
    def finished(self) -> bool:
        """Whether all policies have been handed out."""
        return self._finals is not None and self._given >= len(self._finals)

    @property
    def progress(self) -> float:
        """Share of the gradient steps' budget that is spent, 0..1."""
        return min(1.0, self._stepped / max(self._for_steps, 1e-9))

    # --- an outer iteration

    def _iterate(self) -> bool:
        """Gradient steps and one multiplier update; false once there is nothing left to do."""
        if not self._teach():
            return False
        rng = self.context.rng()
        losses, excesses, kept = [], [], []
        for _ in range(self.options.inner_steps):
            found = self._step(rng)
            if found is None:
                return False
            losses.append(found[0])
            excesses.append(found[1])
            kept.append(found[2])
        excess = torch.stack(excesses).mean(0)
        self.multipliers.update(excess)
        self.history.append(
            {
                "spent": self.context.spent, "divergence": [float(np.mean(losses))],
                "excess": excess.tolist(), "multiplier": self.multipliers.values.tolist(),
                "kept": kept[-1].tolist(),
            }
        )  # fmt: skip
        return True

    def _step(self, rng: np.random.Generator) -> tuple[float, Tensor, Tensor] | None:
        """One step of AdamW on the Lagrangian; None if the budget does not reach.

        Returns the mean divergence, the constraints' values and mean keep ratios, `[knots]`.
        """
        options, relaxed = self.options, self.relaxed
        tau = geometric(options.tau_start, options.tau_end, self.progress)
        self.policy.slope = geometric(options.slope_start, options.slope_end, self.progress)
        budgets = self.knots.draw(options.batch, rng)
        samples = distinct(rng, relaxed.samples, options.batch)
        rows = self.policy.at_aims(relaxed.features[torch.from_numpy(samples)], budgets)
        asked = len(rows) + relaxed.samples * len(self.knots)
        price = relaxed.step_price(rows.detach().numpy(), tau=tau) + relaxed.passes(
            3.0 * self._row_flops * asked
        )
        if not self.context.affords(price + self._reserve):
            return None
        self.context.charge(price)
        self._stepped += price
        divergence, slope = loss_and_slope(
            relaxed, rows.detach(), samples, tau=tau, micro_batch=options.micro_batch
        )
        if options.loss == "retention":
            slope = torch.exp(-divergence)[:, None] * slope
        scale = self._scale(rows.detach(), samples, budgets, slope)
        excess, kept = self._excess()
        # the divergence's slope enters as a linear term: the same gradient, in small batches
        lagrangian = (slope * rows / scale[:, None]).sum() / len(rows)
        lagrangian = lagrangian + self.multipliers.penalty(excess).mean()
        self._learn(lagrangian)
        return float(divergence.mean()), excess.detach(), kept

    def _excess(self) -> tuple[Tensor, Tensor]:
        """c_k, mean relative compute over all samples at each knot less its budget, `[knots]`.

        And what the layers that the pruner can act at keep on average there.
        """
        count, knots = self.relaxed.samples, len(self.knots)
        features = self.relaxed.features.repeat(knots, 1)
        rows = self.policy.at_aims(features, np.repeat(self.knots.budgets, count))
        numbers = np.tile(np.arange(count), knots)
        mean = self.relaxed.sample_compute(rows, numbers).reshape(knots, count).mean(1)
        kept = rows.detach()[:, self.relaxed.first :].mean(1).reshape(knots, count).mean(1)
        return mean - torch.from_numpy(self.knots.budgets), kept

    def _scale(
        self, rows: Tensor, samples: NDArray[np.int64], budgets: NDArray[np.float64], slope: Tensor
    ) -> Tensor:
        """S at each row's budget, `[rows]`: what a unit of compute saves, over recent steps."""
        ratios = rows.clone().requires_grad_()
        (dearer,) = torch.autograd.grad(self.relaxed.sample_compute(ratios, samples).sum(), ratios)
        weights = self.knots.weights(budgets)
        share = weights / weights.sum(0).clamp(min=1e-9)
        self.saved.update(share.T @ (slope * dearer).sum(1))
        return weights @ self.saved.scale(share.T @ (dearer * dearer).sum(1))

    def _learn(self, lagrangian: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * cosine(self.progress)
        self.optimizer.zero_grad()
        lagrangian.backward()
        self.optimizer.step()
        if self.progress >= 1 - self.options.average_share:
            self._averaged += 1
            for name, x in self.net.named_parameters():
                self._average[name] += x.detach()

    def trace(self) -> SearchTrace:
        """Curves of all rounds so far; constraints are on means over the split."""
        options = self.options
        return self._traced(options.loss, self.knots.budgets, options.most_multiplier)

    # --- what comes out

    def _policies(self) -> list[Candidate]:
        """Policies at the budgets offered, cheapest first, each corrected to reach its own."""
        if self._averaged:
            with torch.no_grad():
                for name, x in self.net.named_parameters():
                    x.copy_(self._average[name] / self._averaged)
        self.policy.slope = self.options.slope_end
        stored = Predicted.restore(self.policy.settings, self.policy.tensors)
        correction = self._correction(stored)
        corrected = Predicted(**{**stored.settings, **correction}, net=stored.net)
        if self._offered is None:  # else of a checkpoint: evaluations may have been paid for since
            told = self._told(correction.get("reached", []))
            self._offered = self._offers(self._price_at, self.options.most_finals, told)
        seen = {"tau": self.options.tau_end}
        return [
            replace(self.relaxed.policy(corrected.at(float(b))), relaxed=seen)
            for b in self._offered
        ]

    def _told(self, reached: Sequence[float]) -> Foretold | None:
        """What starts promise up to the dearest budget that policies `reached`."""
        if self._starts is None:
            return None
        knots = self.knots.budgets
        highest = min(max(reached, default=knots[-1]), knots[-1])
        planned = self._planned[self._planned <= highest]
        if not len(planned):  # masks that collapsed reach none; what they are is worth one look
            planned = self._planned[:1]
        budgets = fine_budgets(knots[0], highest, planned)
        _, kept = self._best_for_kinds(self._starts)
        lost = np.minimum.accumulate(1 - np.interp(budgets, knots, kept))
        return Foretold(budgets, lost.clip(0, 1))

    def _correction(self, policy: Predicted) -> dict[str, list[float]]:
        """Budgets to ask for, and the mean compute on the search split that each gives, rounded."""
        budgets = self.knots.budgets
        aims = np.linspace(budgets[0], budgets[-1], CORRECTION)
        numbers = np.arange(self.relaxed.samples)
        means = []
        for aim in aims:
            with torch.no_grad():
                rows = policy.at_aims(self.relaxed.features, np.full(len(numbers), aim))
            rounded = torch.from_numpy(checked(policy, rows.double().numpy(), len(numbers)))
            means.append(float(self.relaxed.sample_compute(rounded, numbers).mean()))
        reached = np.maximum.accumulate(means) + KEPT_BELOW
        rising = np.concatenate([[True], np.diff(reached) > 1e-9])
        if rising.sum() < 2:
            return {}
        return {"aims": aims[rising].tolist(), "reached": reached[rising].tolist()}

    # --- checkpoints

    def state(self) -> GradientState:
        """Everything that a fresh, started search needs to continue identically."""
        tensors = {f"net.{name}": x for name, x in self.net.state_dict().items()}
        tensors |= {f"average.{name}": x for name, x in self._average.items()}
        tensors |= moments_of(self.optimizer)
        tensors |= {"multipliers": self.multipliers.values, "saved": self.saved.sum}
        told = [p.kept for p in self._probes if p.kept is not None]
        if told:
            tensors["told"] = torch.from_numpy(np.stack(told))
        return GradientState(
            tensors,
            {
                "saved_steps": self.saved.steps, "averaged": self._averaged, "given": self._given,
                "taught": self._taught, "stepped": self._stepped, "history": self.history,
                "offered": None if self._offered is None else self._offered.tolist(),
            },
        )  # fmt: skip

    def restore(self, state: SearchState) -> None:
        """Take over a state; `start` must have been called with the same problem and context."""
        tensors, values = state.tensors, state.values
        self.net.load_state_dict(with_prefix(tensors, "net."))
        self._average = with_prefix(tensors, "average.")
        restore_moments(self.optimizer, tensors)
        for probe, kept in zip(self._probes, tensors.get("told", ()), strict=False):
            probe.kept = kept.numpy()
        self.multipliers.values = tensors["multipliers"].clone()
        self.saved.sum, self.saved.steps = tensors["saved"].clone(), values["saved_steps"]
        self._averaged, self._given = values["averaged"], values["given"]
        self._taught, self._stepped = values["taught"], values["stepped"]
        self.history = list(values["history"])
        self._offered = None if values["offered"] is None else np.array(values["offered"])
        self._finals = None if self._offered is None else self._policies()


def standardised(features: Tensor) -> Tensor:
    """Features `[samples, n]` less their means, over their spreads."""
    return (features - features.mean(0)) / features.std(0).clamp(min=LEAST_SCALE)


def _logits(units: Tensor) -> Tensor:
    return torch.logit(units.clamp(SURE, 1 - SURE))
