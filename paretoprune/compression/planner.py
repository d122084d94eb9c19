"""Turns candidates into configurations, by the techniques of a problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.compression.configuration import Configuration, exact_ratios
from paretoprune.core.options import listed
from paretoprune.core.problem import Candidate
from paretoprune.core.space import SearchSpace, Values
from paretoprune.errors import InvalidValueError, UnsupportedError, brief
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.decide import check_layers
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.static import Static
from paretoprune.techniques.base import Plan, Technique, named_knobs, own_values
from paretoprune.techniques.tokens import Tokens

JOINT = "joint"
"""Space of all techniques together, where there are several."""


class Planner:
    """Applies techniques, in their order, to an empty plan; techniques not searched are dense.

    `tokens` is among the techniques, or keeps all visual tokens. `decide` asks a policy with a
    pruner what to keep of every sample, float64 `[samples, layers]`; it is asked once of each.
    """

    def __init__(
        self,
        techniques: Sequence[Technique],
        tokens: Tokens,
        decide: Callable[[Policy, Pruner], NDArray[np.float64]],
    ) -> None:
        self._techniques = tuple(techniques)
        self._tokens = tokens
        self._decide = decide
        self._decisions: dict[str, NDArray[np.float64]] = {}

    def spaces(self) -> dict[str, SearchSpace]:
        """The technique's own spaces; of several, one of all together and one of each."""
        if len(self._techniques) == 1:
            return dict(self._techniques[0].knobs())
        knobs = {technique.space_name: named_knobs(technique) for technique in self._techniques}
        joint = SearchSpace(tuple(knob for own in knobs.values() for knob in own))
        return {JOINT: joint, **{name: SearchSpace(tuple(own)) for name, own in knobs.items()}}

    def dense(self) -> Configuration:
        """Nothing compressed."""
        return self._configuration(self._dense_plan())

    def smallest(self) -> Configuration:
        """Everything compressed as far as it goes."""
        plan = self._dense_plan()
        for technique in self._techniques:
            plan = technique.smallest(plan)
        return self._configuration(plan)

    def of_point(self, space: str, values: Values) -> Configuration:
        """A valid point of one of the spaces."""
        if len(self._techniques) == 1:
            return self._configuration(self._techniques[0].apply(self._dense_plan(), space, values))
        plan = self._dense_plan()
        for technique in self._techniques:
            if space in (JOINT, technique.space_name):
                own = own_values(technique, values)
                plan = technique.apply(plan, technique.own_space(), own)
        return self._configuration(plan)

    def exact(self, candidate: Candidate) -> Configuration:
        """A candidate that holds a schedule as it is, all else dense."""
        pruner = self._tokens.chosen(candidate.values)
        keep = exact_ratios(candidate).ratios
        return self._configuration(self._tokens.planned(self._dense_plan(), pruner, keep), pruner)

    def of_policy(self, candidate: Candidate) -> Configuration:
        """A candidate that is a policy; raises `UnsupportedError` with further techniques."""
        policy = candidate.policy
        if self._techniques != (self._tokens,) or not isinstance(policy, Policy):
            names = ", ".join(technique.name for technique in self._techniques)
            raise UnsupportedError(f"with {names} this problem evaluates points, not policies")
        pruner = self._tokens.chosen(candidate.values)
        check_layers(policy, self._tokens.layers)
        if isinstance(policy, Static):
            plan = self._tokens.planned(Plan(), pruner, policy.schedule.ratios)
            return self._configuration(plan, pruner)
        name = f"{pruner.label} {policy.key}"
        if name not in self._decisions:
            self._decisions[name] = self._decide(policy, pruner)
        return Configuration(pruner, self._decisions[name], policy)

    def _dense_plan(self) -> Plan:
        plan = self._tokens.dense(Plan())
        for technique in self._techniques:
            plan = technique.dense(plan)
        return plan

    def _configuration(self, plan: Plan, pruner: Pruner | None = None) -> Configuration:
        variant = " ".join(filter(None, (t.variant(plan) for t in self._techniques)))
        ranking = pruner or self._tokens.pruner_of(plan)
        return Configuration(ranking, np.asarray(plan.keep), plan=plan, variant=variant)


def checked_techniques(given: Technique | Sequence[Technique]) -> tuple[Technique, ...]:
    """One technique or more, each of its own name; raises `InvalidValueError` for others."""
    found = (given,) if isinstance(given, Technique) else tuple(listed("techniques", given))
    for strange in (t for t in found if not isinstance(t, Technique)):
        raise InvalidValueError(
            "a technique is an instance of Technique, such as Tokens('fastv'), got "
            f"{brief(strange)}"
        )
    names = [technique.name for technique in found]
    if not names:
        raise InvalidValueError("name at least one technique, such as Tokens('fastv')")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InvalidValueError(f"technique {twice[0]!r} is named twice")
    return found
