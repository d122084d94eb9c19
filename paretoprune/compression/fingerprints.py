"""SHA-256 of what a rerun has to find unchanged beside the settings: samples and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from paretoprune.tasks.base import Sample, Video, shown

FIRST = 256
"""Values per tensor that are looked at: a whole 7B model would take a minute."""


def data_fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 of all samples, in order: pixels, frame rates and texts."""
    found = hashlib.sha256()
    for sample in samples:
        for item in shown(sample.image):
            video = isinstance(item, Video)
            pixels = np.ascontiguousarray(item.frames if video else item)
            found.update(repr((pixels.shape, pixels.dtype.str, video and item.fps)).encode())
            found.update(pixels.tobytes())
        texts = (sample.id, sample.prompt, sample.answer, sample.family)
        found.update(repr(texts).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def model_fingerprint(model: nn.Module) -> str:
    """SHA-256 of every tensor's name, shape, dtype and first values."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        values = tensor.detach().reshape(-1)[:FIRST].to("cpu", torch.float64)
        found.update(values.numpy().tobytes())
    return found.hexdigest()
