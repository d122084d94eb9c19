"""Outcomes of schedules that were run before: many searches of one problem repeat each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import BrokenFileError

Row = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Score and divergence from dense of one schedule on every sample, `[samples]` each."""


class KnownOutcomes:
    """Scores and divergences of fixed schedules on a whole split, by the configuration's key.

    A search that asks for a known schedule is charged as if it were run: only the work is saved.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> Row | None:
        """What is known of a configuration."""
        return self._rows.get(key)

    def keep(self, key: str, score: NDArray[np.float32], divergence: NDArray[np.float32]) -> None:
        """Remember a configuration's outcomes on all samples."""
        self._rows[key] = score.copy(), divergence.copy()

    def save(self, file: Path) -> None:
        """Write everything to an npz file, whole or not at all."""
        partial = file.with_suffix(".partial.npz")
        keys = list(self._rows)
        np.savez_compressed(
            partial,
            keys=np.array(keys),
            score=np.stack([self._rows[k][0] for k in keys]),
            divergence=np.stack([self._rows[k][1] for k in keys]),
        )
        partial.replace(file)

    def load(self, file: Path, samples: int) -> None:
        """Add what `save` wrote; raises `BrokenFileError` for another file or number of samples."""
        try:
            with np.load(file, allow_pickle=False) as stored:
                keys, score, divergence = (stored[n] for n in ("keys", "score", "divergence"))
        except Exception as error:  # numpy raises whatever zipfile and zlib do
            raise BrokenFileError(f"cannot read outcomes from {file}: {error}") from error
        if score.shape != (len(keys), samples) or divergence.shape != score.shape:
            raise BrokenFileError(
                f"{file} holds outcomes of shape {score.shape}, not of {samples} samples"
            )
        for key, one, other in zip(keys.tolist(), score, divergence, strict=True):
            self.keep(key, one, other)
