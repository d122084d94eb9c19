"""What a tracker is, and trackers by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType

from paretoprune.comparison.compare import Progress
from paretoprune.comparison.results import Summary
from paretoprune.errors import InvalidValueError, UnknownNameError


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
        """Write what is pending and let go."""

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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
    if name == "tensorboard":
        from paretoprune.comparison.trackers.tensorboard import TensorBoardTracker

        return TensorBoardTracker(target)
    from paretoprune.comparison.trackers.mlflow import MlflowTracker

    return MlflowTracker(target)


class Trackers(Tracker):
    """Several trackers as one, or none."""

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = list(trackers)

    @classmethod
    def named(cls, names: Sequence[str]) -> Trackers:
        """Those that `make_tracker` makes of each name; raises as it does."""
        return cls([make_tracker(name) for name in names])

    def beside(self, observe: Callable[[Progress], None]) -> Callable[[Progress], None]:
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
