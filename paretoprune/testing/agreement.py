"""Agreement of results that differ in batch, population, threads, cache or kernel.

A floating-point sum depends on the order of its terms, and the order on the shape of the batch, the
number of threads and the processor. So values agree within a tolerance. Where two tokens, or two
answers, score almost alike, a last bit decides between them: a few samples may then have another
outcome. In float64 such a tie does not occur: there `flipped` is 0.

A call that is repeated with the same batch is equal exactly, and so is what is read back from a
file: such tests need nothing of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paretoprune.comparison.log import differences
from paretoprune.core.problem import Evaluation

TOLERANCE = {"float64": 1e-6, "float32": 1e-4, "bfloat16": 0.1}
"""Largest difference by dtype, as a share of the largest value. The norms of transformers round to
float32 in a float64 model, too."""
FLIPPED = 0.02
"""Largest sample fraction, rounded up, whose outcome may be another one."""
OUTCOME = 1e-3
"""Difference in a sample's outcome, or in what it retains of the dense model, that counts."""
SCALE = 4.0
"""A score rises at most this many times as fast as the mean outcome."""


def assert_close(one: Any, other: Any, tolerance: float | None = None) -> None:
    """Assert that tensors or arrays agree within the tolerance of the coarser of their dtypes.

    `tolerance` is the largest difference as a share of `other`'s largest value.
    """
    names = [str(x.dtype).removeprefix("torch.") for x in (one, other)]
    if tolerance is None:
        tolerance = max(TOLERANCE[name] for name in names)
    assert one.shape == other.shape, f"shapes {tuple(one.shape)} and {tuple(other.shape)}"
    if "bfloat16" in names:
        one, other = one.float(), other.float()
    a, b = (np.asarray(x.detach() if hasattr(x, "detach") else x) for x in (one, other))
    infinite = ~np.isfinite(b)
    assert np.array_equal(a[infinite], b[infinite]), "values that are not finite differ"
    a, b = a[~infinite], b[~infinite]
    difference = np.abs(a - b).max(initial=0.0) / max(float(np.abs(b).max(initial=0.0)), 1e-9)
    assert difference <= tolerance, f"a difference of {difference:.2g}, over {tolerance:.2g}"


def assert_same_samples(one: ArrayLike, other: ArrayLike, flipped: float = FLIPPED) -> float:
    """Assert that per-sample values agree by index in all samples but a few; returns their share.

    `one` and `other` are `[samples]`, or `[candidates, samples]` with the samples counted together.
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    assert a.shape == b.shape, f"samples {a.shape} and {b.shape}"
    apart = np.abs(a - b) > OUTCOME
    assert apart.sum() <= np.ceil(flipped * a.size), (
        f"{int(apart.sum())} of {a.size} samples differ, first {np.argwhere(apart)[:5].tolist()}"
    )
    return float(apart.mean()) if a.size else 0.0


def assert_same(one: Evaluation, other: Evaluation, flipped: float = FLIPPED) -> None:
    """Assert that evaluations of one configuration found the same, sample by sample.

    Objectives, standard errors and cost may differ by as much as the flipped samples explain.
    Metrics are not compared: some of them are measured.
    """
    assert one.failure == other.failure
    share = 0.0
    for name in ("outcomes", "retained"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), f"only one of the evaluations has {name}"
        if a is not None:
            share = max(share, assert_same_samples(a, b, flipped))
    relative = TOLERANCE["float32"] + SCALE * share
    absolute = 1e-9 if one.outcomes is None else relative
    _assert_figures("objective", one.objectives, other.objectives, relative, absolute)
    _assert_figures("error of", one.standard_errors, other.standard_errors, relative, absolute)
    _assert_figures("search", {"cost": one.cost}, {"cost": other.cost}, 1e-9 + SCALE * share, 0.0)


def assert_same_logs(one: Mapping[str, Any], other: Mapping[str, Any], samples: int) -> None:
    """Assert that two projections of logs agree up to the first evaluation in which samples flip.

    Later asks of a strategy may depend on it. `samples` is the number of samples of an evaluation.
    """
    assert list(one) == list(other)
    for name in one:
        for a, b in zip(one[name]["trials"], other[name]["trials"], strict=False):
            if not differences(a, b):
                continue
            figures = dict.fromkeys(("objectives", "outcomes"))
            assert not differences({**a, **figures}, {**b, **figures}), name
            within = SCALE * np.ceil(FLIPPED * samples) / samples
            assert np.allclose(a["objectives"], b["objectives"], rtol=within, atol=within), name
            break
        else:
            assert not differences(one[name], other[name])


def _assert_figures(
    kind: str,
    one: Mapping[str, float],
    other: Mapping[str, float],
    relative: float,
    absolute: float,
) -> None:
    assert list(one) == list(other), f"{kind}: {list(one)} and {list(other)}"
    for name, value in one.items():
        close = np.isclose(value, other[name], rtol=relative, atol=absolute, equal_nan=True)
        assert close, f"{kind} {name}: {value} and {other[name]}"
