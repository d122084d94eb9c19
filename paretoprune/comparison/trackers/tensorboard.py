"""TensorBoard: one folder per study."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from paretoprune.comparison.trackers.base import Tracker
from paretoprune.errors import BrokenFileError, not_installed


class TensorBoardTracker(Tracker):
    """Writes event files that `tensorboard --logdir FOLDER` shows.

    Raises `MissingDependencyError` without the package and `BrokenFileError` where the folder
    cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise not_installed("--track tensorboard needs TensorBoard", "tensorboard") from error
        self.folder = Path(folder)
        self._make: Any = SummaryWriter
        self._writers: dict[str, Any] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokenFileError(f"cannot write {self.folder}: {error.strerror}") from error

    def log(self, run: str, figures: dict[str, float], step: int) -> None:
        """Write scalars; a run's folder is its name without what file systems dislike."""
        if run not in self._writers:
            name = re.sub(r"[^\w=,.+-]+", "_", run)
            self._writers[run] = self._make(log_dir=str(self.folder / name))
        for key, value in figures.items():
            self._writers[run].add_scalar(key, value, step)

    def close(self) -> None:
        """Flush and close all event files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
