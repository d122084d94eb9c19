"""A search strategy of your own, compared with built-in ones on the embedded model.

    python examples/custom_strategy.py

The command line takes the class from this file, too:

    paretoprune compare -s examples/custom_strategy.py:Jitter:step=0.3,random

`Jitter` moves points of the front found so far. The documentation's page "Write a strategy" goes
through it line by line and shows the contract suite that checks it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from paretoprune import (
    Candidate,
    Evaluation,
    Problem,
    SearchContext,
    SearchStrategy,
    compare,
    load_problem,
)
from paretoprune.frontier import front_of
from paretoprune.registry import Entry, strategies


class Jitter(SearchStrategy):
    """Moves points of the front by a normal step of width `step` in the unit cube."""

    def __init__(self, step: float = 0.1) -> None:
        self.step = step

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind, and forget everything."""
        super().start(problem, context)
        self.found: list[Evaluation] = []

    def ask(self, n: int) -> list[Candidate]:
        """Propose `n` points: random ones first, then neighbours of the front."""
        rng = self.context.rng()  # depends on the seed and the number of this ask only
        space = self.problem.space(self.space_name)
        if not self.found:
            return [self.point(space.sample(rng)) for _ in range(n)]
        front = [self.found[i] for i in front_of(self.found, self.problem.objectives)]
        asked = []
        for place in rng.integers(len(front), size=n):
            unit = space.encode(front[place].candidate.values)
            asked.append(self.point(space.decode(unit + rng.normal(0, self.step, len(space)))))
        return asked

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember what succeeded."""
        self.found += [e for e in evaluations if e.failure is None]


def main() -> None:
    """Register the strategy under a name, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--search-size", type=int, default=32, help="samples to search on")
    parser.add_argument("--heldout-size", type=int, default=32, help="samples to judge on")
    parser.add_argument("--budget", type=float, default=6.0, help="dense passes per study")
    parser.add_argument("--seeds", type=int, default=2, help="seeds per strategy")
    args = parser.parse_args()

    strategies.register(Entry("jitter", f"{__name__}:Jitter", "jitters points of the front"))
    problem = load_problem(search_size=args.search_size, heldout_size=args.heldout_size)
    comparison = compare(
        problem,
        ["jitter", "jitter:step=0.3", "random", "tpe"],
        budget=args.budget,
        seeds=list(range(args.seeds)),
    )
    for line in comparison.summary.standings:
        print(
            f"{line.rank}. {line.label:15} held-out area {line.heldout_area:.3f}  "
            f"hypervolume {line.hypervolume:.3f}  evaluations {line.evaluations:.0f}"
        )


if __name__ == "__main__":
    main()
