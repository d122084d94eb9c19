"""Outcomes of schedules that were run before: many searches of one problem repeat each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import BrokenFileError
from paretoprune.files import replacing

Row = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""Of one schedule on every sample, `[samples]` each: score, divergence from dense, and pictures
that are left without any visual token."""
NAMES = ("score", "divergence", "left_out")


class KnownOutcomes:
    """Outcomes of fixed schedules on a whole split, by the configuration's key.

    A search that asks for a known schedule is charged as if it were run: only the work is saved.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> Row | None:
        """What is known of a configuration."""
        return self._rows.get(key)

    def keep(self, key: str, row: Row) -> None:
        """Remember a configuration's outcomes on all samples."""
        score, divergence, left_out = row
        self._rows[key] = score.copy(), divergence.copy(), left_out.copy()

    def save(self, file: Path) -> None:
        """Write everything to an npz file, whole or not at all."""
        keys = list(self._rows)
        with replacing(file) as partial, partial.open("wb") as stream:
            np.savez_compressed(
                stream,
                keys=np.array(keys),
                score=np.stack([self._rows[k][0] for k in keys]),
                divergence=np.stack([self._rows[k][1] for k in keys]),
                left_out=np.stack([self._rows[k][2] for k in keys]),
            )

    def load(self, file: Path, samples: int) -> None:
        """Add what `save` wrote; raises `BrokenFileError` for another file or number of samples."""
        try:
            with np.load(file, allow_pickle=False) as stored:
                keys = stored["keys"]
                score, divergence, left_out = (stored[name] for name in NAMES)
        except Exception as error:  # numpy raises whatever zipfile and zlib do
            raise BrokenFileError(f"cannot read outcomes from {file}: {error}") from error
        if {x.shape for x in (score, divergence, left_out)} != {(len(keys), samples)}:
            raise BrokenFileError(
                f"{file} holds outcomes of shape {score.shape}, not of {samples} samples"
            )
        for key, *row in zip(keys.tolist(), score, divergence, left_out, strict=True):
            self.keep(key, (row[0], row[1], row[2]))
