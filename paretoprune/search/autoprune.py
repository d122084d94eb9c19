"""AutoPrune (arXiv 2509.23931) as a strategy: its policy, over token budgets."""

from __future__ import annotations

from typing import ClassVar

from paretoprune.core.capabilities import policies_of
from paretoprune.core.problem import Candidate, Problem
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.policies.base import Policy
from paretoprune.search.per_layer import Numbers, targets_of

NAME = "autoprune"
SPACE = "policy"


class AutoPruneSearch(SearchStrategy):
    """One policy per token budget: each sample gets its own curve, all of them the same mean.

    Looking at the attention costs each evaluation what the policy states. `targets` is a number of
    evenly spaced ones, or the targets themselves, between the fewest tokens that the policy can
    keep (0) and all of them (1); of a number, as many are asked as the budget reaches. The other
    options are those of `policies.autoprune.AutoPrune`.
    """

    depends_on_seed: ClassVar[bool] = False
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
        self._count_given = isinstance(targets, int)
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
        self._least = whole.layer / whole.layers
        self._pending: list[Candidate] | None = None

    def _choose_space(self, problem: Problem, asked: str | None) -> str:
        if asked not in (None, SPACE):
            problem.space(asked)
            raise UnsupportedError(
                f"strategy {self.called} proposes policies only and searches no space; "
                f"leave out space={asked}"
            )
        return SPACE

    def ask(self, n: int) -> list[Candidate]:
        """Up to `n` of the policies."""
        if self._pending is None:
            self._pending = self._affordable()
        asked, self._pending = self._pending[:n], self._pending[n:]
        return asked

    @property
    def finished(self) -> bool:
        """Whether every policy has been asked."""
        return self._pending is not None and not self._pending

    def _candidate(self, target: float) -> Candidate:
        """The policy whose mean share of tokens lies `target` of the way to all of them."""
        tokens = self._least + target * (1.0 - self._least)
        return self._policies.policy_candidate(NAME, tokens=tokens, **self.settings)

    def _affordable(self) -> list[Candidate]:
        counts = range(len(self.targets), 0, -1) if self._count_given else [len(self.targets)]
        for count in counts:
            targets = targets_of(count) if self._count_given else self.targets
            found = [self._candidate(target) for target in targets]
            prices = [self.problem.checked_price(candidate) for candidate in found]
            if self.context.affords(sum(prices)):
                return found
        if self._count_given:
            raise InvalidValueError(
                f"strategy {self.called} needs a budget of at least {prices[0]:.2f} dense "
                f"passes, got {self.context.budget:g}"
            )
        return found
