"""Every registered kernel passes the shipped contract suite, which catches what it should."""

import numpy as np
import pytest

from paretoprune.registry import kernels
from paretoprune.schedules.kernels import (
    Cosine,
    Exponential,
    FourStep,
    Free,
    Linear,
    MultiStep,
    Sigmoid,
    SingleStep,
    ThreeStep,
    Withdrawal,
)
from paretoprune.testing.kernels import KernelContract


class TestSingleStep(KernelContract):
    def make(self, layers, levels, first):
        return SingleStep(layers, levels, first)


class TestWithdrawal(KernelContract):
    def make(self, layers, levels, first):
        return Withdrawal(layers, levels, first)


class TestMultiStep(KernelContract):
    def make(self, layers, levels, first):
        return MultiStep(layers, levels, first)


class TestThreeStep(KernelContract):
    def make(self, layers, levels, first):
        return ThreeStep(layers, levels, first)


class TestFourStep(KernelContract):
    def make(self, layers, levels, first):
        return FourStep(layers, levels, first)


class TestLinear(KernelContract):
    def make(self, layers, levels, first):
        return Linear(layers, levels, first)


class TestCosine(KernelContract):
    def make(self, layers, levels, first):
        return Cosine(layers, levels, first)


class TestSigmoid(KernelContract):
    def make(self, layers, levels, first):
        return Sigmoid(layers, levels, first)


class TestExponential(KernelContract):
    def make(self, layers, levels, first):
        return Exponential(layers, levels, first)


class TestFree(KernelContract):
    def make(self, layers, levels, first):
        return Free(layers, levels, first)


def test_no_registered_kernel_is_left_out():
    tested = {suite.__name__.removeprefix("Test") for suite in KernelContract.__subclasses__()}
    assert {kernels.load(name).__name__ for name in kernels.names()} <= tested


class Rising(SingleStep):
    def curve(self, parameters, slope):
        return 2 - super().curve(parameters, slope)


class Rounded(SingleStep):
    def curve(self, parameters, slope):
        rows = parameters.detach().round() + 0 * parameters
        return super().curve(rows, slope)


class Lazy(SingleStep):
    def fit(self, schedule):
        return self._fitted(schedule, {"layer": self.first, "keep": 0.5})


class Shallow(SingleStep):
    """Its smooth steps do not get steep."""

    def gate(self, shape, slope):
        return super().gate(shape, slope if slope == np.inf else 1.0)


@pytest.mark.parametrize(
    ("kernel", "test"),
    [
        (Rising, "test_smooth_ratios_are_schedules"),
        (Rounded, "test_the_gradient_agrees_with_finite_differences"),
        (Lazy, "test_nothing_is_closer_than_the_fit"),
        (Lazy, "test_fit_finds_its_own_schedules"),
        (Shallow, "test_the_smooth_form_rounds_to_the_exact_one"),
    ],
)
def test_the_suite_catches(kernel, test):
    class Suite(KernelContract):
        def make(self, layers, levels, first):
            return kernel(layers, levels, first)

    with pytest.raises(AssertionError):
        getattr(Suite(), test)(kernel(8, 12, 1))
