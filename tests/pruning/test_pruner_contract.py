"""Every registered pruner passes the shipped contract suite."""

from typing import ClassVar

from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import Operators
from paretoprune.registry import pruners
from paretoprune.testing.pruners import PrunerContract


class BuiltIn(PrunerContract):
    """The suite for a pruner as it is written, with its settings."""

    written: ClassVar[str]

    def make(self) -> Pruner:
        return Operators.of(self.written).single


class TestFastV(BuiltIn):
    written = "fastv"


class TestPyramidDrop(BuiltIn):
    written = "pyramiddrop"


class TestRandom(BuiltIn):
    written = "random"


class TestFitPrune(BuiltIn):
    written = "fitprune"


class TestSparseVLM(BuiltIn):
    written = "sparsevlm"


class TestDART(BuiltIn):
    written = "dart"


class TestDivPrune(BuiltIn):
    written = "divprune"


class TestCDPruner(BuiltIn):
    written = "cdpruner"


class TestFasterVLM(BuiltIn):
    written = "fastervlm"


class TestVisPruner(BuiltIn):
    written = "vispruner"


class TestVisionZip(BuiltIn):
    written = "visionzip"


class TestToMe(BuiltIn):
    written = "tome"


class TestAIM(BuiltIn):
    written = "aim"


class TestTopV(BuiltIn):
    written = "topv"


class TestTopVRecovering(BuiltIn):
    written = "topv:recovered=0.3"


class TestVTW(BuiltIn):
    written = "vtw"


class TestUniform(BuiltIn):
    written = "uniform"


class TestCentre(BuiltIn):
    written = "centre"


def test_every_registered_pruner_is_tested_here() -> None:
    tested = {suite().make().name for suite in BuiltIn.__subclasses__()}
    assert set(pruners.names()) <= tested
