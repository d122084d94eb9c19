"""The differentiable form of token pruning: KL to dense through the soft decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from paretoprune.adapters.base import Prefill
from paretoprune.compression.configuration import policy_candidate
from paretoprune.compression.teacher_forcing import IGNORE, AnsweredBatch
from paretoprune.core.problem import Candidate
from paretoprune.cost import layer_cost
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import ranking_cost
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.features import pooled_features, prompt_embeddings
from paretoprune.pruning.score_soft import run_score_soft
from paretoprune.pruning.soft import BAND, run_soft
from paretoprune.pruning.tokens import enter
from paretoprune.search.gradient.relaxation import Mask, RelaxedFigures
from paretoprune.tasks.scoring import Exact, TokenShare

if TYPE_CHECKING:
    from paretoprune.compression.problem import Compression

BACKWARD = 2.0
"""A backward pass costs two forward passes: one product each for inputs and weights."""
GROUP = 8
"""Rows that run together: sorted by kept tokens, so that little is padded."""


class TokenRelaxation:
    """Implements `search.relaxation.Relaxation` for a `Compression` problem of tokens alone.

    With `checkpoint` the backward pass runs each layer once more instead of saving its tensors.
    Raises `UnsupportedError` with further techniques, for costs other than FLOPs, which are the
    only one that is differentiated, and for pruners that are searched or no top-k of a score.
    """

    space = "free"

    def __init__(self, problem: Compression, *, checkpoint: bool = False) -> None:
        if not problem.tokens_alone:
            names = ", ".join(technique.name for technique in problem.techniques)
            raise UnsupportedError(
                f"gradient strategies differentiate the schedule of 'tokens' alone, not {names}; "
                "choose a sampler such as 'tpe' or 'nsga2'"
            )
        if problem.costs != ("compute",):
            raise UnsupportedError(
                "gradient strategies differentiate the cost 'compute' alone, not "
                f"{', '.join(problem.costs)}; choose a sampler such as 'tpe' or 'nsga2', or the "
                "objectives score,compute"
            )
        if problem.tokens.operators.only is None:
            raise UnsupportedError(
                "gradient strategies search the schedule of one pruner, not the choice of "
                f"{', '.join(problem.tokens.operators.names)} and their knobs; choose a sampler "
                "such as 'tpe' or 'nsga2', or name one pruner"
            )
        if not problem.tokens.pruner.relaxable:
            raise UnsupportedError(
                f"pruner {problem.tokens.pruner.name!r} is not top-k of a score, so gradient "
                "strategies cannot search it; choose one that is, such as 'fastv'"
            )
        self.problem = problem
        self.checkpoint = checkpoint
        self.kernels = problem.tokens.kernels
        self.layers = problem.adapter.spec.layers
        self.first = problem.tokens.pruner.first_layer
        self.samples = len(problem.samples)
        self._place = np.zeros((self.samples, 2), dtype=np.int64)  # of each sample: batch, row
        for number, part in enumerate(problem.evaluator.batches):
            rows = part.sample.cpu().numpy()
            self._place[rows, 0] = number
            self._place[rows, 1] = np.arange(len(rows))
        # moments of text length t and visual count v: the exact means of (t + r v) and its square
        t = problem.evaluator.text_tokens.astype(np.float64)
        v = problem.evaluator.visual_tokens.astype(np.float64)
        self._mean = float(t.mean()), float(v.mean())
        self._square = float((t * t).mean()), float((2 * t * v).mean()), float((v * v).mean())
        probe = layer_cost(problem.adapter.spec, np.array([1, 2]))
        self._quadratic = float(probe[1] - 2 * probe[0]) / 2
        self._linear = float(probe[0]) - self._quadratic

    @property
    def _quotas(self) -> bool:
        """Whether some sample shows several pictures that each keep a token."""
        return self.problem.tokens.per_picture and bool((self.problem.evaluator.pictures > 1).any())

    @property
    def reachable(self) -> tuple[float, float]:
        """Lowest and highest relative compute of the space: layers before `first` stay dense."""
        lowest = torch.zeros(1, self.layers, dtype=torch.float64)
        lowest[:, : self.first] = 1.0
        return float(self.compute(lowest)), 1.0

    def loss(
        self,
        ratios: Tensor,
        samples: NDArray[np.int64],
        *,
        tau: float,
        straight_through: bool = True,
        noise: NDArray[np.int64] | None = None,
        mask: Mask = "rank",
    ) -> Tensor:
        """KL(dense || soft student) in nats, summed over answer tokens: float `[rows]`.

        Row i runs sample `samples[i]` under keep ratios `ratios[i]`, float `[rows, layers]`.
        """
        device, dtype = self.problem.adapter.model.device, ratios.dtype
        ratios = ratios.to(device)
        order = ratios.detach().mean(1).argsort()
        losses = []
        for part in order.split(GROUP):
            batch, dense = self._gather(samples[part.cpu().numpy()])
            student = self._student(
                batch, ratios[part], tau=tau, straight_through=straight_through, mask=mask,
                noise=None if noise is None else noise[part.cpu().numpy()],
            )  # fmt: skip
            losses.append(batch.divergence(dense, student))
        return torch.cat(losses)[order.argsort()].to("cpu", dtype)

    def _student(
        self,
        batch: AnsweredBatch,
        ratios: Tensor,
        *,
        tau: float,
        straight_through: bool,
        mask: Mask,
        noise: NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Log-probabilities of the soft decoder on a batch, one row of ratios per sample."""
        adapter, pruner = self.problem.adapter, self.problem.tokens.pruner
        if mask == "score":
            tokens = run_score_soft(
                adapter, batch.prefill, ratios, pruner, temperature=tau,
                straight_through=straight_through, checkpoint=self.checkpoint,
                sample=batch.sample, per_picture=self.problem.tokens.per_picture,
            )  # fmt: skip
        else:
            tokens = run_soft(
                adapter, batch.prefill, ratios, pruner, tau=tau,
                straight_through=straight_through, noise=noise, checkpoint=self.checkpoint,
                sample=batch.sample, per_picture=self.problem.tokens.per_picture,
            )  # fmt: skip
        return batch.log_probabilities(adapter, tokens)

    def _gather(self, numbers: NDArray[np.int64]) -> tuple[AnsweredBatch, Tensor]:
        """These samples as one batch in this order, and the dense model's log-probabilities.

        Only they are read, so that a split may be larger than memory.
        """
        place = self._place[numbers]
        parts, dense, found = [], [], []
        for number in np.unique(place[:, 0]).tolist():
            inside = np.flatnonzero(place[:, 0] == number)
            rows = torch.from_numpy(place[inside, 1]).to(self.problem.adapter.model.device)
            parts.append(self.problem.evaluator.batches[number].rows(rows))
            dense.append(self.problem.evaluator.dense_log_probabilities[number][rows])
            found.append(inside)
        order = torch.from_numpy(np.concatenate(found).argsort())
        return _joined(parts, dense, order.to(self.problem.adapter.model.device))

    def compute(self, ratios: Tensor) -> Tensor:
        """Relative compute u of real-valued ratios `[rows, layers]`: `[rows]`; ranking left out."""
        if self._quotas:
            everyone = np.arange(self.samples)
            each = [self.sample_compute(row.expand(self.samples, -1), everyone) for row in ratios]
            return torch.stack([row.mean() for row in each])
        first = self._mean[0] + ratios * self._mean[1]
        second = self._square[0] + ratios * self._square[1] + ratios**2 * self._square[2]
        flops = (self._linear * first + self._quadratic * second).sum(-1)
        costs = self.problem.cost_model
        text_only, dense = costs.text_only_flops, costs.dense_flops
        return (flops - text_only) / (dense - text_only)

    def figures(
        self, ratios: NDArray[np.float64], *, tau: float, mask: Mask = "rank"
    ) -> RelaxedFigures:
        """The split under the soft masks of ratios `[layers]`, or `[samples, layers]`.

        Raises `UnsupportedError` where the task decodes answers freely: soft masks have no cache.
        """
        problem = self.problem
        if any(not isinstance(s.scoring, Exact | TokenShare) for s in problem.samples):
            raise UnsupportedError("a relaxed score is known for teacher-forced answers only")
        each = torch.from_numpy(np.asarray(ratios, dtype=np.float64)).expand(self.samples, -1)
        exact, divergence = [], []
        with torch.no_grad():
            for batch, dense in zip(
                problem.evaluator.batches, problem.evaluator.dense_log_probabilities, strict=True
            ):
                rows = each[batch.sample.cpu()].to(problem.adapter.model.device)
                student = self._student(batch, rows, tau=tau, straight_through=False, mask=mask)
                exact.append(self._right(batch, student).double())
                divergence.append(batch.divergence(dense, student).double())
        loss = float(1 - torch.cat(divergence).neg().exp().mean())
        score = float(torch.cat(exact).mean()) - problem.text_only_score
        return RelaxedFigures(
            score / (problem.dense_score - problem.text_only_score),
            float(self.sample_compute(each, np.arange(self.samples)).mean()),
            float(torch.cat(divergence).mean()), loss,
        )  # fmt: skip

    @cached_property
    def features(self) -> Tensor:
        """Pooled picture and question of each sample, float64 `[samples, 2 hidden]`."""
        found = torch.zeros(self.samples, 2 * self.problem.adapter.spec.hidden, dtype=torch.float64)
        for part in self.problem.evaluator.batches:
            context = enter(part.prefill, part.sample).context(self.problem.adapter, 0)
            found[part.sample.cpu()] = torch.cat(pooled_features(context), 1).cpu().double()
        return found

    def embeddings(self, samples: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Picture and question as the decoder is given them, float64 `[rows, tokens, hidden]`."""
        batch, _ = self._gather(samples)
        context = enter(batch.prefill, batch.sample).context(self.problem.adapter, 0)
        found, there = prompt_embeddings(context)
        return found.cpu().double(), there.cpu()

    def part(self, share: float) -> NDArray[np.int64]:
        """The samples of a candidate with this sample fraction, in order."""
        return self.problem.evaluator.part(share)

    def sample_compute(self, ratios: Tensor, samples: NDArray[np.int64]) -> Tensor:
        """Relative compute of samples under their own ratios `[rows, layers]`: `[rows]`."""
        text = torch.from_numpy(self.problem.evaluator.text_tokens[samples]).to(ratios)[:, None]
        visual = torch.from_numpy(self.problem.evaluator.visual_tokens[samples]).to(ratios)[:, None]
        kept = ratios * visual
        if self._quotas:
            least = torch.from_numpy(self.problem.evaluator.pictures[samples]).to(ratios)[:, None]
            kept = torch.where(ratios > 0, kept.maximum(least), kept)
        tokens = text + kept
        flops = (self._linear * tokens + self._quadratic * tokens**2).sum(-1)
        costs = self.problem.cost_model
        text_only, dense = costs.text_only_flops, costs.dense_flops
        return (flops - text_only) / (dense - text_only)

    def passes(self, flops: float) -> float:
        """FLOPs in dense-pass equivalents."""
        return flops / (self.problem.cost_model.dense_flops * self.samples)

    def policy(self, policy: Policy) -> Candidate:
        """The candidate that a policy is."""
        return policy_candidate(policy)

    def decisions(self, policy: Policy) -> NDArray[np.float64]:
        """Keep ratios of a policy on each sample before rounding, float64 `[samples, layers]`."""
        return self.problem.evaluator.decisions(policy, self.problem.tokens.pruner, rounded=False)

    def _right(self, batch: AnsweredBatch, student: Tensor) -> Tensor:
        """Outcomes float [B], as the task scores teacher-forced answers."""
        scoring = self.problem.samples[int(batch.sample[0])].scoring
        if isinstance(scoring, TokenShare):
            known = batch.labels != IGNORE
            return (batch.right(student) & known).sum(1) / known.sum(1)
        return batch.exact(student)

    def constant(self, budget: float) -> NDArray[np.float64]:
        """The schedule, constant from `first` on, whose relative compute is `budget`."""

        def schedule(ratio: float) -> Tensor:
            ratios = torch.full((1, self.layers), ratio, dtype=torch.float64)
            ratios[:, : self.first] = 1.0
            return ratios

        low, high = self.reachable
        inside = min(max(budget, low), high)
        gap = lambda r: float(self.compute(schedule(r))) - inside  # noqa: E731
        ratio = brentq(gap, -1e-9, 1 + 1e-9)
        return np.asarray(schedule(min(max(ratio, 0.0), 1.0))[0].numpy())

    def step_price(
        self,
        ratios: NDArray[np.float64],
        *,
        tau: float,
        straight_through: bool = True,
        mask: Mask = "rank",
    ) -> float:
        """Cost of `loss` and its gradient at ratios `[rows, layers]`, in dense-pass equivalents.

        Each row runs one sample with its kept tokens and those carried along behind the edge; the
        straight-through estimator runs forward twice. In score space no token leaves, and hard and
        soft are one pass.
        """
        if mask == "score":
            flops = self._flops(np.ones_like(ratios))
            passes = 1 + BACKWARD + self.checkpoint
            return passes * flops / (self.problem.cost_model.dense_flops * self.samples)
        visual = self._mean[1]
        count = np.ceil(ratios * visual)
        if self._quotas:
            count = np.maximum(
                count, np.where(ratios > 0, self.problem.evaluator.pictures.mean(), 0)
            )
        kept = np.minimum(count + math.ceil(BAND * tau), visual) / visual
        passes = 1 + BACKWARD + straight_through + self.checkpoint
        return passes * self._flops(kept) / (self.problem.cost_model.dense_flops * self.samples)

    def _flops(self, ratios: NDArray[np.float64]) -> float:
        """FLOPs of one forward pass over rows `[rows, layers]` of average samples, ranked anew."""
        text, visual = self._mean
        kept = ratios * visual
        kept[:, : self.first] = visual
        spec, pruner = self.problem.adapter.spec, self.problem.tokens.pruner
        flops = float(layer_cost(spec, np.rint(kept + text).astype(np.int64)).sum())
        before = np.rint(kept[:, max(self.first - 1, 0) : -1]).astype(np.int64)
        return flops + float(ranking_cost(pruner, spec, before + round(text), before).sum())

    def teacher_price(self) -> float:
        """One dense pass over the split."""
        return 1.0

    def checkpointed(self) -> TokenRelaxation:
        """The same on the same problem, keeping no activations but each layer's input."""
        return TokenRelaxation(self.problem, checkpoint=True)

    def candidate(self, ratios: Sequence[float] | NDArray[np.float64]) -> Candidate:
        """The candidate of the free space that a row of ratios `[layers]` rounds to."""
        values = {f"keep_{i}": float(ratios[i]) for i in range(self.first, self.layers)}
        return self.problem.candidate(values, self.space)

    def rounded_compute(self, candidate: Candidate) -> float:
        """Relative compute u of a candidate as its evaluation reports it, ranking included."""
        chosen = self.problem.configuration(candidate)
        return self.problem.cost_model.relative_compute(chosen.ratios, chosen.pruner)


def _joined(
    batches: Sequence[AnsweredBatch], dense: Sequence[Tensor], order: Tensor
) -> tuple[AnsweredBatch, Tensor]:
    """Batches as one, right-padded, rows taken by `order` int64 [S]; dense [S, A, vocabulary]."""
    length = max(b.prefill.hidden.shape[1] for b in batches)
    answers = max(b.labels.shape[1] for b in batches)

    def wide(x: Tensor, size: int, dim: int, value: float = 0) -> Tensor:
        missing = size - x.shape[dim]
        shape = list(x.shape)
        shape[dim] = missing
        return torch.cat([x, x.new_full(shape, value)], dim=dim) if missing else x

    def rotary(which: int) -> Tensor:
        return torch.cat([wide(b.prefill.rotary[which], length, 1) for b in batches])[order]

    prefill = Prefill(
        hidden=torch.cat([wide(b.prefill.hidden, length, 1) for b in batches])[order],
        rotary=(rotary(0), rotary(1)),
        visual=torch.cat([wide(b.prefill.visual, length, 1) for b in batches])[order],
        valid=torch.cat([wide(b.prefill.valid, length, 1) for b in batches])[order],
        prompt_end=torch.cat([b.prefill.prompt_end for b in batches])[order],
        extras={
            name: torch.cat([wide(b.prefill.extras[name], length, 1) for b in batches])[order]
            for name in batches[0].prefill.extras
        },
    )
    padded = [b.positions[:, :1].expand(-1, answers - b.positions.shape[1]) for b in batches]
    positions = torch.cat(
        [torch.cat([b.positions, p], 1) for b, p in zip(batches, padded, strict=True)]
    )
    joined = AnsweredBatch(
        prefill,
        torch.cat([b.sample for b in batches])[order],
        positions[order],
        torch.cat([wide(b.labels, answers, 1, IGNORE) for b in batches])[order],
    )
    return joined, torch.cat([wide(d, answers, 1) for d in dense])[order]
