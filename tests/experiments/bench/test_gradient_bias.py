"""The bias benchmark: exact where the answer is known, and it runs at small sizes."""

import json
import sys

import numpy as np
import pytest
from rich.console import Console

from paretoprune.experiments.bench import gradient_bias


def test_the_true_gradient_has_no_bias():
    true = np.random.default_rng(0).normal([1.0, -2.0, 0.5], 0.1, size=(40, 3))
    found = gradient_bias.compare("s", "e", 2.0, true, true)
    assert found.cosine == pytest.approx(1)
    assert found.scale == pytest.approx(1)
    assert found.relative_bias == pytest.approx(0)
    assert found.signs == 1


def test_half_of_it_is_half_the_size_in_the_same_direction():
    true = np.random.default_rng(0).normal([1.0, -2.0, 0.5], 0.1, size=(40, 3))
    found = gradient_bias.compare("s", "e", 2.0, 0.5 * true, true)
    assert found.cosine == pytest.approx(1)
    assert found.scale == pytest.approx(0.5)
    assert found.relative_bias == pytest.approx(0.5)


def test_noise_widens_the_interval_and_a_right_angle_is_one():
    rng = np.random.default_rng(0)
    true = rng.normal([1.0, 0.0], 0.01, size=(40, 2))
    found = gradient_bias.compare("s", "e", 2.0, rng.normal([0.0, 1.0], 0.01, (40, 2)), true)
    assert abs(found.cosine) < 0.02
    noisy = gradient_bias.compare("s", "e", 2.0, rng.normal([1.0, 0.0], 5.0, (40, 2)), true)
    assert noisy.cosine_high - noisy.cosine_low > found.cosine_high - found.cosine_low


@pytest.mark.slow
def test_it_runs_and_the_soft_gradient_is_its_own(tmp_path):
    console = Console(width=140, record=True, file=sys.stderr)
    found = gradient_bias.run(console, search_size=8, quick=True, out=tmp_path / "b.json")
    assert len(found["figures"]) == len(gradient_bias.SCHEDULES) * len(gradient_bias.ESTIMATORS)
    assert min(check["agree"] for check in found["checks"]) > 0.6
    assert json.loads((tmp_path / "b.json").read_text()) == found
    assert "is its own finite difference" in console.export_text()
