"""Timing by closed forms and order of calls; nothing here depends on how fast the machine is."""

import numpy as np
import pytest

from paretoprune.cost.latency import LatencyModel, LayerPoint
from paretoprune.cost.timing import Timing, interleaved, why_not_reported
from paretoprune.errors import InvalidValueError


def test_runs_take_turns_back_and_forth():
    calls = []
    runs = [lambda i=i: calls.append(i) for i in range(3)]
    timings = interleaved(runs, repeats=3, warmup=1)
    assert calls == [0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0]
    assert [t.repeats for t in timings] == [3, 3, 3]


def test_a_timing_is_median_and_half_the_quartiles_distance():
    assert Timing.of([0.001, 0.002, 0.003, 0.004, 0.005]) == Timing(3.0, 1.0, 5)


def test_too_few_repeats_are_refused():
    with pytest.raises(InvalidValueError, match="at least 3 repeats, got 2"):
        interleaved([], repeats=2)


def test_spread_larger_than_differences_is_refused():
    noisy = [Timing(10.0, 1.0, 9), Timing(10.2, 1.0, 9), Timing(10.1, 1.0, 9)]
    assert "spread of repeated runs, 1 ms, is larger" in why_not_reported(noisy)
    assert why_not_reported([Timing(10.0, 0.1, 9), Timing(12.0, 0.1, 9)]) is None
    assert why_not_reported([Timing(10.0, 5.0, 9)]) is None


def line(n):
    return 0.5 + 0.01 * n


def test_the_model_recovers_a_line_and_adds_layers():
    counts = np.arange(8, 152, 12)
    points = [LayerPoint(int(n), layer, line(n)) for n in counts for layer in (0, 3, 7)]
    model = LatencyModel(points)
    assert model.error < 1e-9  # linear between the points
    tokens = np.array([[14, 20, 50], [140, 140, 8]])
    assert np.allclose(model.layers_ms(tokens), line(tokens))
    drops = np.array([1, 3])
    measured = line(tokens).sum(1) + 0.2 * drops + 0.7
    tokens3, drops3 = np.vstack([tokens, tokens[:1]]), np.array([1, 3, 2])
    measured = np.append(measured, line(tokens[0]).sum() + 0.2 * 2 + 0.7)
    assert model.calibrate(tokens3, drops3, measured) == pytest.approx(0.0, abs=1e-9)
    assert model.predict_ms(tokens, drops) == pytest.approx(measured[:2])


def test_more_tokens_are_never_predicted_faster():
    rng = np.random.default_rng(0)
    points = [LayerPoint(int(n), 0, line(n) + rng.normal(0, 0.3)) for n in range(0, 160, 10)]
    predicted = LatencyModel(points).layers_ms(np.arange(0, 200))
    assert (np.diff(predicted) >= 0).all()


def test_few_token_counts_are_refused():
    with pytest.raises(InvalidValueError, match="8 or more different token counts, got 1"):
        LatencyModel([LayerPoint(8, layer, 1.0) for layer in range(30)])
