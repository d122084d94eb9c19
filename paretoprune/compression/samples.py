"""Properties of a split's samples without a model: order, families, digests."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from paretoprune.tasks.base import Measured, Sample, Video, shown

FINGERPRINT_VALUES = 256
"""Values per tensor that are looked at: a whole 7B model would take a minute."""


def stratified_order(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Sample numbers in an order whose every prefix holds the families in proportion: `[samples]`.

    Within a family the order is random but fixed: it depends on the number of samples alone.
    """
    rng = np.random.default_rng(len(samples))
    families: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        families.setdefault(sample.family, []).append(number)
    place = np.empty(len(samples))
    for members in families.values():
        # spread each family evenly over 0..1, so that prefixes are proportional
        shuffled = rng.permutation(members)
        place[shuffled] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")


def chosen_samples(order: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """The samples of a fraction `share` in 0..1, at least two: bool `[samples]`.

    They are the first of the order, so larger fractions contain smaller ones.
    """
    count = min(len(order), max(2, math.ceil(share * len(order) - 1e-9)))
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order[:count]] = True
    return chosen


def family_scores(samples: Sequence[Sample], outcomes: NDArray[np.float32]) -> Mapping[str, float]:
    """Mean outcome per question family; `outcomes` is float32 `[samples]`."""
    outcomes_of: dict[str, list[float]] = {}
    for sample, outcome in zip(samples, outcomes, strict=True):
        outcomes_of.setdefault(sample.family, []).append(float(outcome))
    return {family: float(np.mean(values)) for family, values in outcomes_of.items()}


def task_metrics(
    task: Measured | None, samples: Sequence[Sample], outcomes: NDArray[np.float32]
) -> dict[str, float]:
    """The task's own figures, such as accuracy+ or F1, of outcomes float32 `[samples]`."""
    return {} if task is None else dict(task.metrics(samples, outcomes))


def typical_sample(samples: Sequence[Sample], lengths: NDArray[np.int64]) -> Sample:
    """The sample of median length."""
    return samples[int(np.argsort(lengths, kind="stable")[len(lengths) // 2])]


def data_fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 of all samples, in order: pixels, frame rates and texts."""
    digest = hashlib.sha256()
    for sample in samples:
        for item in shown(sample.image):
            video = isinstance(item, Video)
            pixels = np.ascontiguousarray(item.frames if video else item)
            digest.update(repr((pixels.shape, pixels.dtype.str, video and item.fps)).encode())
            digest.update(pixels.tobytes())
        texts = (sample.id, sample.prompt, sample.answer, sample.family)
        digest.update(repr(texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def model_fingerprint(model: nn.Module) -> str:
    """SHA-256 of every tensor's name, shape, dtype and first values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        values = tensor.detach().reshape(-1)[:FINGERPRINT_VALUES].to("cpu", torch.float64)
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()
