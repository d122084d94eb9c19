"""AutoPrune (arXiv 2509.23931) as a strategy: its policy, over token budgets."""

from __future__ import annotations

from typing import ClassVar

from paretoprune.core.capabilities import policies_of
from paretoprune.core.problem import Candidate, Problem
from paretoprune.core.strategy import SearchContext
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.policies.base import Policy
from paretoprune.search.per_layer import Numbers, RecipeStrategy, targets_of

NAME = "autoprune"
SPACE = "policy"


class AutoPruneSearch(RecipeStrategy):
    """One policy per token budget: each sample gets its own curve, all of them the same mean.

    Looking at the attention costs each evaluation what the policy states. `targets` is a number of
    evenly spaced ones, or the targets themselves, between the fewest tokens that the policy can
    keep (0) and all of them (1); of a number, as many are asked as the budget reaches. The other
    options are those of `policies.autoprune.AutoPrune`.
    """

    only_space: ClassVar[str | None] = SPACE

    def __init__(
        self,
        targets: int | Numbers = 24,
        layer: int = 2,
        centre: float = 14.9,
        slope: float = 0.4,
        sensitivity: float = 0.2,
    ) -> None:
        self.targets = targets_of(targets)
        self._targets_given = targets
        self.settings = {
            "layer": layer, "centre": centre, "slope": slope, "sensitivity": sensitivity,
        }  # fmt: skip

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem that takes policies; the budget must reach one evaluation."""
        super().start(problem, context)
        # a problem without policies, or with too few layers, says so now
        self._policies = policies_of(problem, NAME)
        whole = self._policies.policy_candidate(NAME, tokens=1.0, **self.settings).policy
        assert isinstance(whole, Policy)
        self._lowest = whole.layer / whole.layers

    def _choose_space(self, problem: Problem, asked: str | None) -> str:
        if asked not in (None, SPACE):
            problem.space(asked)
            raise UnsupportedError(
                f"strategy {self.called} proposes policies only and searches no space; "
                f"leave out space={asked}"
            )
        return SPACE

    def candidates(self) -> list[Candidate]:
        """The policies of all targets, or of fewer where the budget ends before."""
        found = self.affordable(self._targets_given, self._candidate)
        price = self.problem.checked_price(found[0])
        if isinstance(self._targets_given, int) and not self.context.affords(price):
            raise InvalidValueError(
                f"strategy {self.called} needs a budget of at least {price:.2f} dense "
                f"passes, got {self.context.budget:g}"
            )
        return found

    def _candidate(self, target: float) -> Candidate:
        """The policy whose mean share of tokens lies `target` of the way to all of them."""
        tokens = self._lowest + target * (1.0 - self._lowest)
        return self._policies.policy_candidate(NAME, tokens=tokens, **self.settings)
