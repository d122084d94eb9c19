"""Per-sample outcomes: one file each, named by its content, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import BrokenFileError
from paretoprune.files import require_regular

OUTCOMES = "outcomes"
PER_SAMPLE = ("outcomes", "retained")
"""Fields of an evaluation that are kept as files, each named in the attribute of its name."""


def read_outcomes(folder: Path, name: str) -> NDArray[np.float32]:
    """Per-sample outcomes, float32 `[samples]`, by the name that a trial's `outcomes` holds.

    `folder` is the results folder. Raises `BrokenFileError` where the file is missing or is not
    what its name says.
    """
    if not (len(name) == 64 and set(name) <= set("0123456789abcdef")):
        raise BrokenFileError(f"{name!r} is not the name of an outcomes file")
    file = folder / OUTCOMES / f"{name}.npy"
    require_regular(file, "outcomes")
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != name:
            raise ValueError("its content is not what its name says")
        stored: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BrokenFileError(f"cannot read outcomes {name} in {folder}: {error}") from error
    return stored


def write_outcomes(folder: Path, outcomes: NDArray[np.float32]) -> str:
    """Write outcomes to the results folder, unless they are there; returns their name."""
    buffer = io.BytesIO()
    np.save(buffer, outcomes.astype(np.float32), allow_pickle=False)
    name = hashlib.sha256(buffer.getvalue()).hexdigest()
    file = folder / OUTCOMES / f"{name}.npy"
    try:
        if not file.exists() or file.stat().st_size != len(buffer.getvalue()):
            partial = file.with_suffix(".partial")
            partial.write_bytes(buffer.getvalue())
            partial.replace(file)
    except OSError as error:
        raise BrokenFileError(f"cannot write outcomes to {folder}: {error.strerror}") from error
    return name
