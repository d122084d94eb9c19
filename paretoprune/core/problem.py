"""Problems: search spaces, objectives, and the evaluation of candidates."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.capabilities import Policy
from paretoprune.core.options import is_number
from paretoprune.core.space import SearchSpace, Value
from paretoprune.errors import (
    FailedEvaluationError,
    InvalidValueError,
    UnknownNameError,
    brief,
)


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective: a name, a direction, a unit and the fixed hypervolume reference.

    `best` and `reference` bound the values that count towards hypervolume: a value is clipped to
    them: a lucky score above dense earns nothing, and one below the text-only score costs nothing.
    """

    name: str
    direction: Literal["max", "min"]
    unit: str = ""
    reference: float = field(kw_only=True)
    best: float = field(kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.direction, str) or self.direction not in ("max", "min"):
            raise InvalidValueError(
                f"objective {self.name!r}: the direction is 'max' or 'min', got {self.direction!r}"
            )
        if not isinstance(self.name, str) or not self.name:
            raise InvalidValueError(f"the name of an objective is text, got {self.name!r}")
        if not all(is_number(v) and math.isfinite(v) for v in (self.reference, self.best)):
            raise InvalidValueError(
                f"objective {self.name!r}: best and reference are finite numbers, got "
                f"best={self.best!r}, reference={self.reference!r}"
            )
        upward = self.best > self.reference
        if upward != (self.direction == "max"):
            raise InvalidValueError(
                f"objective {self.name!r}: with direction {self.direction!r}, best={self.best:g} "
                f"must be better than reference={self.reference:g}"
            )


@dataclass(frozen=True)
class Candidate:
    """A point of one of a problem's spaces.

    `policy` holds a policy (`policies.base`) where a strategy proposes one instead of a fixed
    point; `values` then names its budget, if it has one. Both are evaluated the same way.

    `share` is the sample fraction (fidelity) of the evaluation, over 0 and at most 1. Equal
    fractions are the same samples for every candidate. An evaluation on a part is cheaper, and
    never on a front.

    `relaxed` is a gradient strategy's point before rounding: JSON-ready, such as real-valued keep
    ratios `keep` and the mask's width `tau`. It is carried along and no part of the identity.
    """

    space: str
    values: Mapping[str, Value]
    policy: Policy | None = None
    share: float = 1.0
    relaxed: Mapping[str, Any] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping):
            raise InvalidValueError(
                f"a candidate has values by the names of its knobs, got {brief(self.values)}"
            )
        if not is_number(self.share) or not 0 < self.share <= 1:  # nan too
            raise InvalidValueError(
                f"the share of samples must be over 0 and at most 1, got {self.share!r}"
            )

    @property
    def key(self) -> str:
        """Identity as canonical JSON: equal keys are the same point."""
        policy = None if self.policy is None else self.policy.key
        named: list[Any] = [self.space, dict(self.values), policy]
        return json.dumps(named if self.share == 1 else [*named, self.share], sort_keys=True)


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of one candidate.

    `objectives`, `standard_errors` and `metrics` (auxiliary figures, such as the KL to dense) are
    by name. `outcomes` float32 `[samples]` are the per-sample scores. `retained`, where there is a
    dense model, is exp(-KL(dense || pruned)) in 0..1 of the same samples, which is less noisy.
    `cost` is the nominal price in dense-pass equivalents, `executed` the price computed after
    sharing, same unit. `seconds` is this candidate's part of the wall time. `detail` is further
    JSON-ready information such as the keep schedule. With `failure` set the objectives are empty.
    """

    candidate: Candidate
    objectives: Mapping[str, float]
    cost: float
    executed: float = 0.0
    seconds: float = 0.0
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    outcomes: NDArray[np.float32] | None = None
    retained: NDArray[np.float32] | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.candidate, Candidate):
            raise InvalidValueError(
                f"an evaluation is of a paretoprune.Candidate, got {brief(self.candidate)}"
            )
        if not is_number(self.cost):
            raise InvalidValueError(f"the cost of an evaluation is a number, got {self.cost!r}")
        if self.outcomes is not None and getattr(self.outcomes, "ndim", None) != 1:
            raise InvalidValueError(
                "outcomes are an array of one number per sample, [samples], got "
                f"{brief(self.outcomes)}"
            )
        if not isinstance(self.objectives, Mapping):
            raise InvalidValueError(
                f"an evaluation has objectives by name, got {brief(self.objectives)}"
            )
        if self.failure is None:
            message = (
                f"objectives must be finite numbers, got {brief(dict(self.objectives))}; report a "
                "failed evaluation with failure='...'"
            )
            values = self.objectives.values()
            if not values or not all(is_number(v) for v in values):
                raise InvalidValueError(message)
            if not all(math.isfinite(v) for v in values):
                raise FailedEvaluationError(message)
        elif self.objectives:
            raise InvalidValueError("a failed evaluation has no objectives")

    @property
    def complete(self) -> bool:
        """Whether it succeeded on all samples: fronts consist of such evaluations."""
        return self.failure is None and self.candidate.share == 1


class Problem(ABC):
    """A search space with objectives, and the means to evaluate candidates.

    Subclasses set `name`, `spaces` (by name; the first is the default) and `objectives`, and
    define `evaluate`. `price` must be known before evaluating, because a study charges it first.
    Methods of some problems only are in `core.capabilities`.
    """

    name: str
    spaces: Mapping[str, SearchSpace]
    objectives: tuple[Objective, ...]
    has_shares: bool = False
    """Whether candidates may be evaluated on a sample fraction below 1."""

    @abstractmethod
    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate a whole batch, in order, so that work can be shared."""

    def price(self, candidate: Candidate) -> float:
        """Nominal cost of evaluating `candidate` alone, dense-pass equivalents; 1 by default."""
        return 1.0

    def checked_price(self, candidate: Candidate) -> float:
        """The price, to be charged; raises `InvalidValueError` for no finite number above 0.

        A search that is charged nothing would go on without end.
        """
        price = self.price(candidate)
        if not is_number(price) or not 0 < price < math.inf:  # nan too
            raise InvalidValueError(
                f"problem {self.name!r} prices {dict(candidate.values)} at {price!r}: a price is a "
                "finite number of dense-pass equivalents above 0"
            )
        return float(price)

    def identity(self, candidate: Candidate) -> str:
        """Name of the configuration really run: candidates that round to the same share it."""
        return candidate.key

    @property
    def heldout(self) -> Problem | None:
        """The same problem on held-out data; None where there is none (analytic problems)."""
        return None

    def describe(self) -> dict[str, Any]:
        """JSON-ready description, which must be unchanged when a study is resumed."""
        return {"problem": self.name}

    def space(self, name: str | None = None) -> SearchSpace:
        """The space called `name`, or the default one; raises `UnknownNameError`."""
        if name is None:
            name = default_space(self)
        if not isinstance(name, str) or name not in self.spaces:
            raise UnknownNameError("search space", name, self.spaces)
        return self.spaces[name]

    def candidate(self, values: Mapping[str, Value], space: str | None = None) -> Candidate:
        """A validated candidate of one of this problem's spaces."""
        name = space or default_space(self)
        return Candidate(name, self.space(name).validate(values))


def default_space(problem: Problem) -> str:
    """Name of the space that strategies search where none is named."""
    return next(iter(problem.spaces))


def costs_matrix(
    evaluations: Sequence[Evaluation], objectives: Sequence[Objective]
) -> NDArray[np.float64]:
    """Objectives of successful evaluations as costs to minimise.

    Float64 `[evaluations, objectives]`. Maximised objectives are negated; nothing is clipped.
    """
    signs = np.array([-1.0 if o.direction == "max" else 1.0 for o in objectives])
    rows = [[e.objectives[o.name] for o in objectives] for e in evaluations]
    costs: NDArray[np.float64] = np.reshape(rows, (len(rows), len(signs))) * signs
    return costs
