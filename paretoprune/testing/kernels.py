"""The contract suite of kernels: subclass `KernelContract` as `TestX` and define `make`."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray

from paretoprune.errors import InvalidValueError
from paretoprune.schedules import KeepSchedule
from paretoprune.schedules.kernels import Kernel, distance
from paretoprune.testing import pytest

LAYERS, LEVELS = 8, 12
STEEP = 1e4
"""A slope at which a smooth step half a layer away is exact in float64."""


class KernelContract(ABC):
    """Contract of every kernel, for operators that act in the decoder and before it."""

    @abstractmethod
    def make(self, layers: int, levels: int, first: int) -> Kernel:
        """Build the kernel for a decoder."""

    @pytest.fixture(params=[0, 1, 3])
    def kernel(self, request: pytest.FixtureRequest) -> Kernel:
        """Build the kernel for different first layers."""
        return self.make(LAYERS, LEVELS, request.param)

    def test_every_point_is_a_valid_schedule_on_the_lattice(self, kernel: Kernel) -> None:
        """Layers before the first keep all; ratios are levels."""
        rng = np.random.default_rng(0)
        for _ in range(50):
            schedule = kernel.schedule(kernel.space.validate(kernel.space.sample(rng)))
            assert schedule.layers == LAYERS
            assert schedule.ratios[: kernel.first] == (1.0,) * kernel.first
            assert np.allclose(np.mod(np.array(schedule.ratios) * LEVELS + 0.5, 1), 0.5)

    def test_the_space_reaches_low_compute(self, kernel: Kernel) -> None:
        """Some point keeps less than half of the tokens in most layers it may prune."""
        rng = np.random.default_rng(0)
        means = [np.mean(kernel.schedule(kernel.space.sample(rng)).ratios) for _ in range(500)]
        assert min(means) < (kernel.first + 0.5 * (LAYERS - kernel.first)) / LAYERS

    def test_the_smooth_form_rounds_to_the_exact_one(self, kernel: Kernel) -> None:
        """In the limit of steep steps the two differ by less than half a level."""
        rng = np.random.default_rng(1)
        for _ in range(50):
            values = kernel.space.validate(kernel.space.sample(rng))
            row = torch.tensor([float(values[n]) for n in kernel.space.names], dtype=torch.float64)
            smooth = kernel.ratios(row, slope=STEEP).numpy()
            assert np.abs(smooth - kernel.schedule(values).ratios).max() <= 0.5 / LEVELS + 1e-8

    def test_smooth_ratios_are_schedules(self, kernel: Kernel) -> None:
        """At any real parameters within bounds: in 0..1, not rising, 1 before the first layer."""
        ratios = kernel.ratios(torch.from_numpy(_inside(kernel, 64))).numpy()
        assert ratios.shape == (64, LAYERS)
        assert ratios.min() >= -1e-12
        assert ratios.max() <= 1 + 1e-12
        assert np.all(np.diff(ratios, axis=1) <= 1e-9)
        assert np.all(ratios[:, : kernel.first] == 1.0)

    def test_the_gradient_agrees_with_finite_differences(self, kernel: Kernel) -> None:
        """Of every ratio in every parameter, and every parameter matters somewhere."""
        rows = torch.from_numpy(_inside(kernel, 24)).requires_grad_()
        weights = torch.from_numpy(np.random.default_rng(2).normal(size=(24, LAYERS)))
        (gradient,) = torch.autograd.grad((weights * kernel.ratios(rows)).sum(), rows)
        step = 1e-6
        for knob in range(rows.shape[1]):
            moved = torch.zeros(rows.shape[1], dtype=torch.float64)
            moved[knob] = step
            with torch.no_grad():
                gap = kernel.ratios(rows + moved) - kernel.ratios(rows - moved)
            difference = (weights * gap / (2 * step)).sum(1)
            assert torch.allclose(gradient[:, knob], difference, atol=1e-5, rtol=1e-4)
            assert float(gradient[:, knob].abs().max()) > 1e-3

    def test_the_slope_can_be_learned(self, kernel: Kernel) -> None:
        """A slope per row is taken as a tensor and equals the same number for all."""
        rows = torch.from_numpy(_inside(kernel, 8))
        slope = torch.full((8,), 3.0, dtype=torch.float64)
        assert torch.equal(kernel.ratios(rows, slope=slope), kernel.ratios(rows, slope=3.0))

    def test_fit_finds_its_own_schedules(self, kernel: Kernel) -> None:
        """The distance to a member of the kernel is zero."""
        rng = np.random.default_rng(3)
        for _ in range(12):
            wanted = kernel.schedule(kernel.space.sample(rng))
            fit = kernel.fit(wanted)
            assert fit.distance == pytest.approx(0.0, abs=1e-9)
            assert distance(fit.schedule, wanted) == pytest.approx(0.0, abs=1e-9)
            assert kernel.schedule(kernel.space.validate(fit.values)) == fit.schedule

    def test_nothing_is_closer_than_the_fit(self, kernel: Kernel) -> None:
        """Not one of many points of the space, and fitting again finds the same."""
        rng = np.random.default_rng(4)
        for _ in range(6):
            ratios = np.sort(rng.random(LAYERS))[::-1].copy()
            ratios[: kernel.first] = 1.0
            wanted = KeepSchedule.from_ratios(ratios)
            fit = kernel.fit(wanted)
            assert kernel.fit(wanted) == fit
            assert fit.distance == pytest.approx(distance(wanted, fit.schedule))
            for _ in range(200):
                other = kernel.schedule(kernel.space.sample(rng))
                assert fit.distance <= distance(wanted, other) + 1e-9

    def test_fit_refuses_other_depths(self, kernel: Kernel) -> None:
        """A schedule for another number of layers is named."""
        with pytest.raises(InvalidValueError, match=f"for {LAYERS} layers, the schedule has 3"):
            kernel.fit(KeepSchedule((1.0, 0.5, 0.5)))

    def test_the_canonical_order_changes_no_schedule(self, kernel: Kernel) -> None:
        """And is its own canonical order."""
        rows = torch.from_numpy(_inside(kernel, 32))
        fixed = kernel.canonical(rows)
        assert torch.allclose(kernel.ratios(fixed), kernel.ratios(rows))
        assert torch.equal(kernel.canonical(fixed), fixed)

    def test_real_parameters_round_to_valid_knobs(self, kernel: Kernel) -> None:
        """The nearest valid values, also from outside the bounds."""
        low, high = kernel.bounds
        assert kernel.space.validate(kernel.values(low - 1.0)) == kernel.values(low)
        assert kernel.space.validate(kernel.values(high + 1.0)) == kernel.values(high)

    def test_fits_small_decoders_or_says_why_not(self) -> None:
        """Two layers: a valid space, or one sentence that names both numbers."""
        try:
            kernel = self.make(2, 4, 1)
        except InvalidValueError as error:
            if "2 layers" not in str(error):
                pytest.fail(f"the number of layers is not named: {error}")
            return
        kernel.schedule(kernel.space.sample(np.random.default_rng(0)))


def _inside(kernel: Kernel, rows: int) -> NDArray[np.float64]:
    """Real parameters well within the bounds, float64 `[rows, knobs]`."""
    low, high = kernel.bounds
    unit = np.random.default_rng(5).uniform(0.02, 0.98, (rows, len(low)))
    return np.asarray(low + unit * (high - low))
