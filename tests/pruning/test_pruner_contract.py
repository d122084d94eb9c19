"""Every registered pruner passes the shipped contract suite."""

from paretoprune.pruning.base import Pruner
from paretoprune.pruning.fastv import FastV
from paretoprune.pruning.pyramiddrop import PyramidDrop
from paretoprune.pruning.random import RandomPruner
from paretoprune.registry import pruners
from paretoprune.testing.pruners import PrunerContract


class TestFastV(PrunerContract):
    def make(self) -> Pruner:
        return FastV()


class TestPyramidDrop(PrunerContract):
    def make(self) -> Pruner:
        return PyramidDrop()


class TestRandom(PrunerContract):
    def make(self) -> Pruner:
        return RandomPruner()


def test_every_registered_pruner_is_tested_here() -> None:
    tested = {type(suite().make()) for suite in PrunerContract.__subclasses__()}
    assert {pruners.load(name) for name in pruners.names()} <= tested
