"""Capabilities of some problems, one small protocol each.

A problem has a capability where it defines its methods; nothing is declared. Callers ask with
`isinstance`, or call one of the functions below, which raise `UnsupportedError` without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import UnsupportedError

if TYPE_CHECKING:
    from paretoprune.core.problem import Candidate, Problem


class Policy(Protocol):
    """The part of an adaptive policy (`pruning.policies.base`) that a study needs."""

    @property
    def key(self) -> str:
        """Name by content: equal for policies that decide alike, in any process."""


@dataclass(frozen=True)
class Measurement:
    """Figures measured of candidates together, by name, one mapping each, and a note about them.

    A refused measurement has no values; its note says why.
    """

    values: list[dict[str, float]]
    note: str


@dataclass(frozen=True)
class Published:
    """A published configuration to compare a front with: its name, one line, its candidate."""

    name: str
    about: str
    candidate: Candidate


@runtime_checkable
class HasRelaxation(Protocol):
    """Gradient strategies can search it."""

    def relaxation(self) -> Any:
        """The differentiable form: `search.gradient.relaxation.Relaxation`."""


@runtime_checkable
class HasStatistics(Protocol):
    """Strategies can choose from statistics of its dense model; they charge the price first."""

    def probe(self, statistic: str, samples: int) -> NDArray[np.float64]:
        """A statistic of the dense model on at most `samples` samples of the search split.

        `attention` is float64 `[2, samples, layers, tokens]`: what each visual token receives in
        each layer from the visual tokens and from the question, maximum over heads, mean over
        queries, NaN where a sample has fewer tokens. `withdrawal` is float64 `[layers]`: mean KL in
        nats, at the first answer token, between the dense model and one whose visual tokens all
        leave before the layer.
        """

    def probe_price(self, statistic: str, samples: int) -> float:
        """Cost of `probe`, in dense-pass equivalents."""


@runtime_checkable
class HasPolicies(Protocol):
    """Its candidates may be adaptive policies."""

    def policy_candidate(self, name: str, **settings: Any) -> Candidate:
        """A candidate that is the registered policy `name` with these settings."""


@runtime_checkable
class HasExamples(Protocol):
    """It shows the tokens that candidates keep of samples."""

    def examples(
        self,
        candidates: Mapping[str, Candidate],
        count: int,
        *,
        observe: Callable[[int, int], None] | None = None,
    ) -> list[Any]:
        """One `compression.kept.Example` per sample, of candidates by label.

        [] where there is nothing to see. `observe` is called with done and total.
        """


@runtime_checkable
class HasPresets(Protocol):
    """It knows published configurations, which no search sees."""

    def published(self) -> list[Published]:
        """The presets that its model can run."""


@runtime_checkable
class CanMeasure(Protocol):
    """It measures objectives that the search only predicted."""

    def measure(self, candidates: Sequence[Candidate]) -> Measurement | None:
        """Measured figures of each candidate; None where no objective is predicted."""


@runtime_checkable
class CanPrefetch(Protocol):
    """It can start on candidates while others are evaluated, where `works_ahead`."""

    works_ahead: bool

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """Start on candidates that `evaluate` will be given next."""


@runtime_checkable
class HasNotes(Protocol):
    """It has sentences that belong to every figure, such as the error of a fitted model."""

    def notes(self) -> list[str]:
        """The sentences."""


@runtime_checkable
class HasScale(Protocol):
    """Its outcomes are on another scale than the maximised objective."""

    scale: tuple[float, float]
    """Mean outcomes of a worthless model and of the dense one."""


@runtime_checkable
class HasParts(Protocol):
    """Its data have parts, such as question families."""

    def parts(self, outcomes: NDArray[np.float32]) -> Mapping[str, float]:
        """Mean outcome of each part; `outcomes` is float32 `[samples]`, of an evaluation."""


@runtime_checkable
class HasFingerprints(Protocol):
    """A rerun checks its data and weights."""

    def fingerprints(self) -> Mapping[str, str]:
        """SHA-256 by name of the data that a rerun must find unchanged, without settings."""


def relaxation_of(problem: Problem) -> Any:
    """The problem's relaxation; raises `UnsupportedError` for a black box."""
    if isinstance(problem, HasRelaxation):
        return problem.relaxation()
    raise UnsupportedError(
        f"problem {problem.name!r} is a black box: it offers no differentiable relaxation, so "
        "gradient strategies cannot search it; choose a sampler such as 'tpe' or 'nsga2'"
    )


def statistics_of(problem: Problem, statistic: str) -> HasStatistics:
    """The problem, which has statistics; raises `UnsupportedError` for a black box."""
    if isinstance(problem, HasStatistics):
        return problem
    raise UnsupportedError(
        f"problem {problem.name!r} offers no {statistic!r} statistics of a dense model, so "
        "strategies that choose from them cannot search it; choose a sampler such as 'tpe'"
    )


def policies_of(problem: Problem, policy: str) -> HasPolicies:
    """The problem, which takes policies; raises `UnsupportedError` where `policy` cannot be tried.

    A problem that keeps no visual tokens takes none.
    """
    if isinstance(problem, HasPolicies):
        return problem
    raise UnsupportedError(
        f"problem {problem.name!r} keeps no visual tokens, so policy {policy!r} cannot be tried on "
        "it; choose a sampler such as 'tpe'"
    )


def relative_outcomes(problem: Problem, outcomes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Outcomes `[..., samples]` from 0, the maximised objective's reference, to 1, its best."""
    if isinstance(problem, HasScale):
        worst, best = problem.scale
    else:
        (quality,) = (o for o in problem.objectives if o.direction == "max")
        worst, best = quality.reference, quality.best
    above: NDArray[np.float64] = np.asarray(outcomes, dtype=np.float64) - worst
    return above / (best - worst)


def notes_of(problem: Problem) -> list[str]:
    """The problem's notes; [] without any."""
    return problem.notes() if isinstance(problem, HasNotes) else []
