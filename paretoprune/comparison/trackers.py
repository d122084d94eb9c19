"""Experiment trackers as observers of a comparison: `compare(..., observe=tracker)`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from paretoprune.comparison.compare import Progress
from paretoprune.comparison.results import Summary
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    not_installed,
)

EXPERIMENT = "paretoprune"
"""Name of the MLflow experiment."""


class Tracker(ABC):
    """Follows a comparison: called with its progress, then given its summary, then closed.

    Each study is one run, named as in the study log: `tpe seed=0`. While it runs, `hypervolume` (on
    the search split) and `search_cost` are logged at each number of evaluations; `finish` adds what
    only the end knows.
    """

    @abstractmethod
    def log(self, run: str, figures: dict[str, float], step: int) -> None:
        """Log figures of a run by name; `step` is the number of evaluations."""

    def __call__(self, progress: Progress) -> None:
        """Log how far the search of a study is."""
        if progress.phase == "search":
            figures = {"hypervolume": progress.hypervolume, "search_cost": progress.spent}
            run = f"{progress.label} seed={progress.seed}"
            self.log(run, figures, progress.evaluations)

    def finish(self, summary: Summary) -> None:
        """Log the final figures of every study."""
        for study in summary.studies:
            figures = {
                "final_hypervolume": study.hypervolume,
                "igd_plus": study.igd_plus,
                "front_size": float(study.front_size),
                "seconds": study.seconds,
            }
            if study.heldout_area is not None:
                figures["heldout_area"] = study.heldout_area
            self.log(f"{study.label} seed={study.seed}", figures, study.evaluations)

    @abstractmethod
    def close(self) -> None:
        """Write pending values and close."""

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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
        """Write scalars; a run's folder is its name without characters that file systems refuse."""
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


class MlflowTracker(Tracker):
    """Logs to the MLflow store at `uri`: a server, or a database such as `sqlite:///runs.db`.

    It keeps a client of its own, so runs that are active elsewhere in the process are untouched.
    Raises `MissingDependencyError` without the package and `ParetopruneError` where the store
    cannot be reached.
    """

    def __init__(self, uri: str, *, experiment: str = EXPERIMENT) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise not_installed("--track mlflow needs MLflow", "mlflow-skinny") from error
        self._runs: dict[str, str] = {}
        try:
            self._client: Any = MlflowClient(tracking_uri=uri)
            known = self._client.get_experiment_by_name(experiment)
            self._experiment = (
                self._client.create_experiment(experiment) if known is None else known.experiment_id
            )
        except (MlflowException, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ParetopruneError(f"cannot use the MLflow store {uri}: {reason}") from error

    def log(self, run: str, figures: dict[str, float], step: int) -> None:
        """Log metrics of a run, which starts with the first."""
        if run not in self._runs:
            created = self._client.create_run(self._experiment, run_name=run)
            self._runs[run] = created.info.run_id
            label, _, seed = run.rpartition(" seed=")
            self._client.log_param(self._runs[run], "strategy", label)
            self._client.log_param(self._runs[run], "seed", seed)
        for key, value in figures.items():
            self._client.log_metric(self._runs[run], key, value, step=step)

    def close(self) -> None:
        """Mark all runs as finished."""
        for run in self._runs.values():
            self._client.set_terminated(run)
        self._runs = {}


class Trackers(Tracker):
    """Several trackers as one, or none."""

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = list(trackers)

    @classmethod
    def named(cls, names: Sequence[str]) -> Trackers:
        """A tracker of each name, from `make_tracker`; raises as it does."""
        return cls([make_tracker(name) for name in names])

    def after(self, observe: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """An observer that tells `observe` first, then the trackers."""

        def both(progress: Progress) -> None:
            observe(progress)
            self(progress)

        return both

    def log(self, run: str, figures: dict[str, float], step: int) -> None:
        """Log to all of them."""
        for tracker in self._trackers:
            tracker.log(run, figures, step)

    def close(self) -> None:
        """Close all of them."""
        for tracker in self._trackers:
            tracker.close()


def make_tracker(text: str) -> Tracker:
    """A tracker written as `tensorboard:FOLDER` or `mlflow:URI`.

    Raises `UnknownNameError` or `InvalidValueError`, and `MissingDependencyError` where its package
    is not installed.
    """
    name, _, target = text.partition(":")
    if name not in ("tensorboard", "mlflow"):
        raise UnknownNameError("tracker", name, ("tensorboard", "mlflow"))
    if not target:
        raise InvalidValueError(
            f"--track {text}: write tensorboard:FOLDER or mlflow:URI, "
            "such as mlflow:sqlite:///runs.db"
        )
    return TensorBoardTracker(target) if name == "tensorboard" else MlflowTracker(target)
