"""Every registered pruner passes the shipped contract suite."""

from paretoprune.pruning.base import Pruner
from paretoprune.pruning.pruners.aim import AIM
from paretoprune.pruning.pruners.cdpruner import CDPruner
from paretoprune.pruning.pruners.centre import Centre
from paretoprune.pruning.pruners.dart import DART
from paretoprune.pruning.pruners.divprune import DivPrune
from paretoprune.pruning.pruners.fastervlm import FasterVLM
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.pruning.pruners.fitprune import FitPrune
from paretoprune.pruning.pruners.pyramiddrop import PyramidDrop
from paretoprune.pruning.pruners.random import RandomPruner
from paretoprune.pruning.pruners.sparsevlm import SparseVLM
from paretoprune.pruning.pruners.tome import ToMe
from paretoprune.pruning.pruners.topv import TopV
from paretoprune.pruning.pruners.uniform import Uniform
from paretoprune.pruning.pruners.visionzip import VisionZip
from paretoprune.pruning.pruners.vispruner import VisPruner
from paretoprune.pruning.pruners.vtw import VTW
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


class TestFitPrune(PrunerContract):
    def make(self) -> Pruner:
        return FitPrune()


class TestSparseVLM(PrunerContract):
    def make(self) -> Pruner:
        return SparseVLM()


class TestDART(PrunerContract):
    def make(self) -> Pruner:
        return DART()


class TestDivPrune(PrunerContract):
    def make(self) -> Pruner:
        return DivPrune()


class TestCDPruner(PrunerContract):
    def make(self) -> Pruner:
        return CDPruner()


class TestFasterVLM(PrunerContract):
    def make(self) -> Pruner:
        return FasterVLM()


class TestVisPruner(PrunerContract):
    def make(self) -> Pruner:
        return VisPruner()


class TestVisionZip(PrunerContract):
    def make(self) -> Pruner:
        return VisionZip()


class TestToMe(PrunerContract):
    def make(self) -> Pruner:
        return ToMe()


class TestAIM(PrunerContract):
    def make(self) -> Pruner:
        return AIM()


class TestTopV(PrunerContract):
    def make(self) -> Pruner:
        return TopV()


class TestTopVRecovering(PrunerContract):
    def make(self) -> Pruner:
        return TopV(recovered=0.3)


class TestVTW(PrunerContract):
    def make(self) -> Pruner:
        return VTW()


class TestUniform(PrunerContract):
    def make(self) -> Pruner:
        return Uniform()


class TestCentre(PrunerContract):
    def make(self) -> Pruner:
        return Centre()


def test_every_registered_pruner_is_tested_here() -> None:
    tested = {type(suite().make()) for suite in PrunerContract.__subclasses__()}
    assert {pruners.load(name) for name in pruners.names()} <= tested
