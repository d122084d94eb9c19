"""MLflow: one run per study, all of one comparison in one experiment."""

from __future__ import annotations

from typing import Any

from paretoprune.comparison.trackers.base import Tracker
from paretoprune.errors import ParetopruneError, not_installed

EXPERIMENT = "paretoprune"


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
