"""Messages between driver and workers: arrays as safetensors, the rest as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

HEADER = "message"


def encode(said: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """One message; `said` is JSON-ready, and equal content gives equal bytes."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(whole, metadata={HEADER: json.dumps(said, sort_keys=True)})


def decode(message: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The message's JSON part, and its arrays."""
    length = int.from_bytes(message[:8], "little")
    header = json.loads(message[8 : 8 + length])
    return json.loads(header["__metadata__"][HEADER]), load(message)
