"""The relaxation that gradient strategies require of a problem: differentiable loss, compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.capabilities import relaxation_of
from paretoprune.core.out_of_memory import give_back, is_out_of_memory
from paretoprune.core.problem import Candidate, Problem
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.parallel import processes, summed

if TYPE_CHECKING:
    from torch import Tensor

    from paretoprune.pruning.policies.base import Policy
    from paretoprune.schedules.kernels import Kernel


Mask: TypeAlias = Literal["rank", "score"]
"""Relaxations of top-k: over ranks (`pruning.soft`), or over scores (`pruning.score_soft`)."""


@dataclass(frozen=True)
class RelaxedFigures:
    """Means over a split of one relaxed configuration, none of it rounded.

    `score` is the relative score of the soft decoder, `compute` the relative compute of real-valued
    ratios, `divergence` the KL to dense in nats, `loss` the mean of 1 - exp(-KL).
    """

    score: float
    compute: float
    divergence: float
    loss: float


class Relaxation(Protocol):
    """A relaxed problem over keep ratios: rows are configurations, columns are layers.

    Ratios are float `[rows, layers]` in 0..1, non-increasing along layers; the layers before
    `first` are always 1.
    """

    layers: int
    first: int
    samples: int
    """Number of samples to draw from."""
    space: str
    """Name of the space in which a ratio row, once rounded, is a candidate."""

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """Kernels by the name of their space."""

    @property
    def reachable(self) -> tuple[float, float]:
        """Lowest and highest relative compute that the space can reach."""

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
        """Divergence from dense, `[rows]`: row i on sample `samples[i]`, differentiable in ratios.

        `tau` is the mask's width in tokens; with the mask `score`, VisPCO's, a temperature. With
        `straight_through` the value is that of the rounded configuration. `noise` are seeds
        `[rows]`: masks are then drawn (binary concrete).
        """

    def compute(self, ratios: Tensor) -> Tensor:
        """Exact relative compute u of each row, `[rows]`, differentiable."""

    def figures(
        self, ratios: NDArray[np.float64], *, tau: float, mask: Mask = "rank"
    ) -> RelaxedFigures:
        """The whole split under the soft masks of ratios `[layers]`, nothing rounded, no gradient.

        Ratios `[samples, layers]` are each sample's own. For the relaxation gap; no strategy may
        search by it.
        """

    def constant(self, budget: float) -> NDArray[np.float64]:
        """The constant schedule, `[layers]`, whose relative compute is `budget`."""

    def step_price(
        self,
        ratios: NDArray[np.float64],
        *,
        tau: float,
        straight_through: bool = True,
        mask: Mask = "rank",
    ) -> float:
        """Cost of one forward and backward pass of `loss`, in dense-pass equivalents."""

    def teacher_price(self) -> float:
        """Cost of the dense model's answers that `loss` compares with, dense-pass equivalents."""

    def checkpointed(self) -> Relaxation:
        """The same with less memory: layers are run once more in the backward pass."""

    def candidate(self, ratios: Sequence[float] | NDArray[np.float64]) -> Candidate:
        """The candidate that one row rounds to."""

    def rounded_compute(self, candidate: Candidate) -> float:
        """The relative compute that a candidate's evaluation will report."""


@runtime_checkable
class AdaptiveRelaxation(Relaxation, Protocol):
    """A relaxation that tells inputs apart, so that policies can be trained on it."""

    @property
    def features(self) -> Tensor:
        """Features of each sample before the decoder, float64 `[samples, features]`."""

    def embeddings(self, samples: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The decoder's inputs of picture and question, `[rows, tokens, features]`.

        And which tokens exist, bool `[rows, tokens]`. The width is half that of `features`.
        """

    def part(self, share: float) -> NDArray[np.int64]:
        """The samples of a candidate with this sample fraction, in order."""

    def checkpointed(self) -> AdaptiveRelaxation:
        """The same with less memory: layers are run once more in the backward pass."""

    def sample_compute(self, ratios: Tensor, samples: NDArray[np.int64]) -> Tensor:
        """Relative compute of sample `samples[i]` under row i, `[rows]`, differentiable.

        Relative to the mean sample's, so that the mean is the cost of a policy.
        """

    def passes(self, flops: float) -> float:
        """FLOPs in dense-pass equivalents."""

    def policy(self, policy: Policy) -> Candidate:
        """The candidate that a policy is."""

    def decisions(self, policy: Policy) -> NDArray[np.float64]:
        """Keep ratios of a policy on each sample before rounding, float64 `[samples, layers]`."""


def adaptive(problem: Problem, *, checkpoint: bool = False) -> AdaptiveRelaxation:
    """The problem's relaxation, if it tells inputs apart; raises `UnsupportedError` if not.

    With `checkpoint`, the one with less memory.
    """
    relaxed = relaxation_of(problem)
    if not isinstance(relaxed, AdaptiveRelaxation):
        raise UnsupportedError(
            f"problem {problem.name!r} has no features of its inputs, so no policy can be trained "
            "on them; choose 'gradient'"
        )
    return relaxed.checkpointed() if checkpoint else relaxed


def distinct_samples(rng: np.random.Generator, total: int, count: int) -> NDArray[np.int64]:
    """`count` of `total` sample numbers, without repeats as long as there are enough."""
    rounds = [rng.permutation(total) for _ in range(-(-count // total))]
    return np.concatenate(rounds)[:count].astype(np.int64)


def loss_and_slope(
    relaxed: Relaxation,
    ratios: Tensor,
    samples: NDArray[np.int64],
    *,
    tau: float,
    straight_through: bool = True,
    noise: NDArray[np.int64] | None = None,
    mask: Mask = "rank",
    micro_batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss `[rows]` and its derivative in each row's own ratios, `[rows, layers]`.

    Rows do not depend on each other, so that `micro_batch` of them are in memory at a time, those
    of similar length together, and the result is the same; so it is in halves, where they need more
    memory than there is. Where several processes take part (`parallel`), each does its share of the
    rows.
    """
    import torch

    number, count = processes()
    order = ratios.detach().mean(1).argsort(stable=True)
    losses = torch.zeros(len(ratios), dtype=ratios.dtype)
    slopes = torch.zeros_like(ratios)
    size = min(micro_batch or len(ratios), -(-len(ratios) // count))

    def run(part: Tensor) -> None:
        try:
            run_at_once(part)
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(part) == 1:
                raise
        give_back()
        for half in part.tensor_split(2):
            run(half)

    def run_at_once(part: Tensor) -> None:
        rows = ratios[part].detach().requires_grad_()
        chosen = part.numpy()
        loss = relaxed.loss(
            rows, samples[chosen], tau=tau, straight_through=straight_through,
            noise=None if noise is None else noise[chosen], mask=mask,
        )  # fmt: skip
        (slopes[part],) = torch.autograd.grad(loss.sum(), rows)
        losses[part] = loss.detach()

    for part in order.split(size)[number::count]:
        run(part)
    return summed(losses), summed(slopes)
