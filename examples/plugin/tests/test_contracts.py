"""The plug-in's classes keep the contracts that Paretoprune's own keep."""

from paretoprune_example.hill_climb import HillClimb
from paretoprune_example.unusual import Unusual

from paretoprune.core.strategy import SearchStrategy

# --8<-- [start:contracts]
from paretoprune.pruning.base import Pruner
from paretoprune.testing.pruners import PrunerContract
from paretoprune.testing.strategies import StrategyContract


class TestHillClimb(StrategyContract):
    def make(self) -> SearchStrategy:
        return HillClimb()


class TestUnusual(PrunerContract):
    def make(self) -> Pruner:
        return Unusual()


# --8<-- [end:contracts]
