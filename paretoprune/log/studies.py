"""The studies of one results folder, and the recorder of each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from paretoprune.errors import BrokenFileError
from paretoprune.log.outcomes import OUTCOMES, write_outcomes
from paretoprune.log.policies import store_policy
from paretoprune.log.rows import Asked, Told, finish, insert_running
from paretoprune.problem import Candidate, Evaluation, Problem
from paretoprune.quiet import without_info

LOG_NAME = "study.db"
T = TypeVar("T")


class StudyLog:
    """The log of one results folder; use as a context manager or call `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            (folder / OUTCOMES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokenFileError(
                f"cannot write results folder {folder}: {error.strerror}"
            ) from error
        self.storage = RDBStorage(f"sqlite:///{folder / LOG_NAME}")
        event.listen(self.storage.engine, "connect", _write_ahead)
        self.storage.engine.dispose()  # reconnect with the settings above
        self._sessions = sessionmaker(self.storage.engine, expire_on_commit=False)

    def study(self, name: str, problem: Problem, settings: Mapping[str, Any]) -> LoggedStudy:
        """A new study in this log; `settings` (JSON-ready) become its attributes."""
        with without_info("optuna.storages._rdb.storage"), without_info("optuna.study.study"):
            study = optuna.create_study(
                storage=self.storage,
                study_name=name,
                directions=[
                    "maximize" if o.direction == "max" else "minimize" for o in problem.objectives
                ],
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([o.name for o in problem.objectives])
        study.set_user_attr("problem", problem.describe())
        study.set_user_attr("settings", dict(settings))
        return LoggedStudy(self, name, problem)

    def transaction(self, work: Callable[[Session], T]) -> T:
        """Run `work` on the storage, all of it or nothing."""
        with self._sessions.begin() as session:
            return work(session)

    def close(self) -> None:
        """Release the file."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def __enter__(self) -> StudyLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LoggedStudy:
    """The recorder of one study (see `study.Recorder`).

    An ask is two transactions: its candidates as running trials before they are evaluated, and all
    that was found of them. So an ask is in the log as a whole or, after a crash, still running.
    """

    def __init__(self, log: StudyLog, name: str, problem: Problem) -> None:
        self._log = log
        self._problem = problem
        self._id = log.storage.get_study_id_from_name(name)
        self._count = 0
        self._running: list[Any] = []

    def asked(self, candidates: Sequence[Candidate], *, ask: int, spent: float) -> None:
        """Write down what is about to be evaluated."""
        rows = [self._asked(candidate, ask, spent) for candidate in candidates]
        first = self._count
        self._running = self._log.transaction(
            lambda session: insert_running(session, self._id, first, rows)
        )
        self._count += len(rows)

    def told(self, evaluations: Sequence[Evaluation]) -> None:
        """Write down what was found of the last ask's candidates, in their order."""
        rows = [self._told(evaluation) for evaluation in evaluations]
        trials, self._running = self._running, []
        self._log.transaction(lambda session: finish(session, trials, rows))

    def _asked(self, candidate: Candidate, ask: int, spent: float) -> Asked:
        space = self._problem.spaces.get(candidate.space)
        attributes: dict[str, Any] = {"space": candidate.space, "ask": ask, "spent": spent}
        if candidate.relaxed is not None:
            attributes["relaxed"] = dict(candidate.relaxed)
        if candidate.share < 1:
            attributes["share"] = candidate.share
        if space is None:  # what is no point of a space, such as a policy with its budget
            return Asked({}, [], attributes | {"values": dict(candidate.values)})
        knobs = [knob for knob in space.knobs if knob.name in candidate.values]
        return Asked(candidate.values, knobs, attributes)

    def _told(self, evaluation: Evaluation) -> Told:
        attributes: dict[str, Any] = {
            "cost": evaluation.cost,
            "executed": evaluation.executed,
            "seconds": evaluation.seconds,
            "standard_errors": dict(evaluation.standard_errors),
            "metrics": dict(evaluation.metrics),
            "detail": dict(evaluation.detail),
        }
        store_policy(self._log.folder, self._problem, evaluation)
        if evaluation.outcomes is not None:
            attributes["outcomes"] = write_outcomes(self._log.folder, evaluation.outcomes)
        if evaluation.failure is not None:
            return Told(TrialState.FAIL, None, attributes | {"failure": evaluation.failure})
        if not evaluation.complete:
            # seen on part of the samples only: Optuna calls that a pruned trial, off its fronts
            attributes["objectives"] = dict(evaluation.objectives)
            return Told(TrialState.PRUNED, None, attributes)
        values = [evaluation.objectives[o.name] for o in self._problem.objectives]
        return Told(TrialState.COMPLETE, values, attributes)


def _write_ahead(connection: Any, _: object) -> None:
    """SQLite's write-ahead log: a finished ask costs one append, and readers never wait."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
