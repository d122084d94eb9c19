"""The configuration that a candidate stands for: its plan, a pruner, and keep ratios."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.problem import Candidate
from paretoprune.core.space import Value
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import PRUNER
from paretoprune.pruning.policies.base import BUDGET, Policy
from paretoprune.schedules import KeepSchedule
from paretoprune.techniques.base import Plan

POLICY = "policy"
"""Space name of candidates that are policies; only their budget is a knob."""
EXACT = "schedule"
"""Space name of candidates that hold a schedule as it is, off any lattice; never searched."""
KEEP = "keep_"


@dataclass(frozen=True)
class Configuration:
    """`ratios` of visual tokens are kept, ranked by `pruner`, by the model that `plan` describes.

    float64 [layers], or [samples, layers] where an adaptive `policy` decided for each sample of the
    split. `variant` names what of the plan changes the model: equal ones are run together.
    """

    pruner: Pruner
    ratios: NDArray[np.float64]
    policy: Policy | None = None
    plan: Plan = field(default_factory=Plan)
    variant: str = ""

    @property
    def key(self) -> str:
        """Equal for configurations that compute the same.

        A schedule that keeps all tokens or none ranks nothing, so its pruner plays no part.
        """
        return f"{self._tokens_key} {self.variant}" if self.variant else self._tokens_key

    @property
    def _tokens_key(self) -> str:
        if self.policy is not None:
            return f"{self.pruner.label} policy {self.policy.key}"
        kept = tuple(self.ratios.tolist())
        ranks = any(0 < ratio < 1 for ratio in kept)
        return f"{self.pruner.label if ranks else ''} {kept}"

    @property
    def schedule(self) -> KeepSchedule:
        """The ratios as a schedule; an adaptive policy's mean over the samples."""
        return KeepSchedule.from_ratios(np.atleast_2d(self.ratios).mean(0))


def exact_candidate(schedule: KeepSchedule, pruner: Pruner | None = None) -> Candidate:
    """A candidate that stands for exactly this schedule, on or off any lattice.

    `pruner` ranks, with its settings; without one, the problem's own.
    """
    return Candidate(
        EXACT, _named(pruner) | {f"{KEEP}{i}": r for i, r in enumerate(schedule.ratios)}
    )


def policy_candidate(policy: Policy, pruner: Pruner | None = None) -> Candidate:
    """A candidate that is a policy; `pruner` ranks, without one, the problem's own."""
    values: dict[str, Value] = {} if policy.budget is None else {BUDGET: policy.budget}
    return Candidate(POLICY, values | _named(pruner), policy=policy)


def _named(pruner: Pruner | None) -> dict[str, Value]:
    if pruner is None:
        return {}
    settings = {f"{pruner.name}.{name}": value for name, value in pruner.settings.items()}
    return {PRUNER: pruner.name, **settings}


def exact_ratios(candidate: Candidate) -> KeepSchedule:
    """The schedule that an exact candidate holds."""
    layers = sum(name.startswith(KEEP) for name in candidate.values)
    return KeepSchedule.from_ratios([float(candidate.values[f"{KEEP}{i}"]) for i in range(layers)])
