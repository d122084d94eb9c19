"""Recovered share and mean deviation: closed forms and invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretoprune.errors import InvalidValueError
from paretoprune.frontier import mean_deviation, recovered_share

costs = st.integers(1, 6).flatmap(
    lambda n: arrays(np.float64, (n, 2), elements=st.floats(0, 1, width=16))
)


def test_by_hand():
    reference = [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    front = [[0.0, 0.9], [0.6, 0.5]]
    assert recovered_share(front, reference, 0.0) == pytest.approx(1 / 3)
    assert recovered_share(front, reference, 0.1) == pytest.approx(2 / 3)
    assert recovered_share(front, reference, 0.9) == 1.0
    # nearest: (0, .9), (.6, .5), (.6, .5)
    assert mean_deviation(front, reference) == pytest.approx([0.5 / 3, 0.6 / 3])


@settings(max_examples=50, deadline=None)
@given(costs, costs)
def test_invariants(front, reference):
    assert recovered_share(reference, reference, 0.0) == 1.0
    assert mean_deviation(reference, reference).tolist() == [0.0, 0.0]
    shares = [recovered_share(front, reference, t) for t in (0.0, 0.1, 0.5, 1.0)]
    assert shares == sorted(shares) and shares[-1] == 1.0
    better = np.vstack([front, reference])
    assert recovered_share(better, reference, 0.0) == 1.0


@pytest.mark.parametrize(
    ("front", "reference", "tolerance"),
    [([], [[0.0, 1.0]], 0.1), ([[0.0, 1.0]], [[0.0, 1.0, 2.0]], 0.1), ([[0.0, 1.0]], [[0, 1]], -1)],
)
def test_errors(front, reference, tolerance):
    with pytest.raises(InvalidValueError):
        recovered_share(front, reference, tolerance)
