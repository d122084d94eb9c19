"""The log of a results folder, and the recorder of each of its studies."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from paretoprune.comparison.log import database
from paretoprune.comparison.log.files import (
    OUTCOMES,
    PER_SAMPLE,
    checkpoint_file,
    read_checkpoint,
    store_policy,
    write_checkpoint,
    write_outcomes,
)
from paretoprune.comparison.log.place import cannot_use, resolve_place, save_place
from paretoprune.comparison.log.trials import (
    RESULT,
    Asked,
    Finished,
    RecordedAsk,
    candidate_of,
    evaluation_of,
    finish,
    insert_running,
    policy_key,
    recorded_asks,
    reopen,
)
from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.quiet import without_info
from paretoprune.core.study import Checkpoint, Recorded, Recorder, StudyResult
from paretoprune.errors import BrokenFileError, InUseError, InvalidValueError

LOCK_NAME = ".lock"
PATIENCE_SECONDS = 600.0
"""Seconds that a transaction waits for a storage that is locked or out of reach."""
SILENT_SECONDS = 5.0
"""Seconds that it waits before it prints a message."""
T = TypeVar("T")


class StudyLog:
    """The log of one results folder; use as a context manager or call `close`.

    It lies in the folder's `study.db`, or in `storage`, such as `postgresql://user@host/database`;
    per-sample outcomes, policies and checkpoints lie in the folder either way. One process at a
    time: a second one raises `InUseError`. `patience` is how many seconds a write waits for a
    storage that another program has locked, or that is gone for a while.
    """

    def __init__(
        self, folder: Path, *, storage: str | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        self.folder = folder
        self.patience = patience
        try:
            (folder / OUTCOMES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(folder, error) from error
        self._lock = _lock_folder(folder)
        try:
            self.place = resolve_place(folder, storage)
            self.storage = self._open()
            save_place(folder, self.place)
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> RDBStorage:
        try:
            return database.open_storage(self.place, self.patience)
        except database.LockedElsewhere as error:
            raise self._in_use() from error
        except (SQLAlchemyError, StorageInternalError, RuntimeError, OSError) as error:
            raise cannot_use(self.place, error) from error

    def study(
        self, name: str, problem: Problem, settings: Mapping[str, Any], *, resume: bool = False
    ) -> LoggedStudy:
        """The recorder of a new study in this log; with `resume`, or of one that is there.

        Problem and `settings` (JSON-ready) become its attributes. Raises `InvalidValueError` where
        a study that is there had others, naming the difference, or is there without `resume`.
        """
        try:
            return self.patiently(lambda: self._study(name, problem, settings, resume))
        except DuplicatedStudyError as error:
            raise InvalidValueError(
                f"{self.folder} has a study {name!r} already; resume it, or name another folder"
            ) from error

    def _study(
        self, name: str, problem: Problem, settings: Mapping[str, Any], resume: bool
    ) -> LoggedStudy:
        attributes = {"problem": problem.describe(), "settings": dict(settings)}
        with without_info("optuna.storages._rdb.storage"), without_info("optuna.study.study"):
            study = optuna.create_study(
                storage=self.storage,
                study_name=self.place.prefix + name,
                directions=[
                    "maximize" if o.direction == "max" else "minimize" for o in problem.objectives
                ],
                load_if_exists=resume,
            )
        for key, value in attributes.items():
            known = study.user_attrs.get(key)
            if known is None:
                study.set_user_attr(key, value)
            else:
                self._check_unchanged(name, key, known, value)
        if study.metric_names is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names([o.name for o in problem.objectives])
        return LoggedStudy(self, study, problem)

    def _check_unchanged(self, study: str, part: str, known: Any, now: Any) -> None:
        now = json.loads(json.dumps(now))
        for key in dict.fromkeys([*known, *now]):
            if known.get(key) != now.get(key):
                raise InvalidValueError(
                    f"cannot resume study {study!r} in {self.folder}: its {part} had {key} "
                    f"{known.get(key)!r}, now it is {now.get(key)!r}"
                )

    def transaction(
        self, work: Callable[[Connection], T], again: Callable[[Connection], T] | None = None
    ) -> T:
        """Run `work` on the database, all of it or nothing; waits while it cannot be used.

        A connection that breaks while a transaction ends leaves open whether it was written, so
        `again` (default: `work`) is what runs after that: it must do for both. Raises
        `BrokenFileError` where the database stays away.
        """
        tries = iter([work])

        def run() -> T:
            now = next(tries, again or work)
            with self.storage.engine.begin() as connection:
                return now(connection)

        return self.patiently(run)

    def patiently(self, work: Callable[[], T]) -> T:
        """Call `work`, again and again while the storage is locked or out of reach.

        Raises `BrokenFileError` where that does not end, or cannot, and `InUseError` where another
        process took over meanwhile.
        """
        started = time.monotonic()
        pause, warned = 0.05, False
        while True:
            try:
                return work()
            except database.LockedElsewhere as error:
                waited = time.monotonic() - started
                if waited > min(self.patience, database.LET_GO_SECONDS):
                    raise self._in_use() from error
                reason: Exception = error
            except (DBAPIError, StorageInternalError) as error:
                waited = time.monotonic() - started
                if not database.may_recover(self.place, error) or waited > self.patience:
                    raise cannot_use(self.place, error) from error
                reason = error
            except SQLAlchemyError as error:
                raise cannot_use(self.place, error) from error
            if waited > SILENT_SECONDS and not warned:
                warned = True
                why = str(cannot_use(self.place, reason)).rpartition(";")[0]
                warnings.warn(f"{why}; waiting for it", stacklevel=2)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _in_use(self) -> InUseError:
        return InUseError(
            f"another process is working on the study log of {self.folder} in {self.place.shown}; "
            "wait until it has ended, or end it (one whose machine vanished is let go within two "
            "minutes)"
        )

    def close(self) -> None:
        """Release the storage and the lock."""
        self.storage.remove_session()
        self.storage.engine.dispose()
        self._lock.release()

    def __enter__(self) -> StudyLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock_folder(folder: Path) -> FileLock:
    """Lock a results folder until `release`, or until this process ends, however it does.

    Raises `InUseError` where another process has it.
    """
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InUseError(
            f"another process is working on {folder}; wait until it has ended, or end it"
        ) from error
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return lock


def _cannot_write(folder: Path, error: OSError) -> BrokenFileError:
    return BrokenFileError(f"cannot write results folder {folder}: {error.strerror}")


class LoggedStudy(Recorder):
    """The recorder of one study.

    An ask is two transactions: its candidates as running trials before they are evaluated, and all
    that was found of them. So an ask is in the log as a whole or, after a crash, still running.
    """

    def __init__(self, log: StudyLog, study: optuna.Study, problem: Problem) -> None:
        self._log = log
        self._study = study
        self._problem = problem
        self._id = log.storage.get_study_id_from_name(study.study_name)
        self._file = checkpoint_file(log.folder, study.study_name)
        trials = study.get_trials(deepcopy=False)
        self._count = len(trials)
        self._recorded = recorded_asks(trials)
        self._numbers: Sequence[int] = ()
        self._running: list[Row[Any]] = []

    # --- the state of an earlier run

    def finished(self) -> StudyResult | None:
        """The result, where an earlier run came to the end and evaluated no policy."""
        known = self._log.patiently(lambda: self._study.user_attrs)
        stored: dict[str, Any] | None = known.get(RESULT)
        trials = [trial for ask in self._recorded.values() for trial in ask.trials]
        if stored is None or any("policy" in trial.user_attrs for trial in trials):
            return None
        try:
            result = self._until(stored["asks"])
        except BrokenFileError:
            return None  # outcomes are missing: the asks tell which, and are evaluated again
        result.spent, result.stopped = stored["spent"], stored["stopped"]
        result.seconds, result.evaluating = stored["seconds"], stored["evaluating"]
        return result

    def checkpoint(self) -> Checkpoint | None:
        """The last checkpoint of an earlier run."""
        try:
            return read_checkpoint(self._file, self._until)
        except BrokenFileError:
            return None

    def _until(self, last: int) -> StudyResult:
        """All evaluations of asks up to number `last`."""
        settings = self._log.patiently(lambda: self._study.user_attrs)["settings"]
        result = StudyResult(seed=int(settings.get("seed", 0)))
        for ask in self._recorded.values():
            if ask.number <= last and ask.is_finished:
                candidates = [candidate_of(trial) for trial in ask.trials]
                result.take(self._evaluations(ask, candidates), ask=ask.number, spent=ask.spent)
        return result

    def _evaluations(self, ask: RecordedAsk, candidates: Sequence[Candidate]) -> list[Evaluation]:
        return [
            evaluation_of(trial, self._problem.objectives, self._log.folder, candidate)
            for trial, candidate in zip(ask.trials, candidates, strict=True)
        ]

    # --- the recording of this run

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint instead of the one before."""
        write_checkpoint(self._file, checkpoint)

    def on_ask(self, candidates: Sequence[Candidate], *, ask: int, spent: float) -> Recorded | None:
        """Write down the candidates of an ask, or return their recorded evaluations.

        Raises `BrokenFileError` where something else is recorded.
        """
        recorded = self._recorded.get(ask)
        if recorded is not None:
            return self._recall(recorded, candidates)
        rows = [self._asked(candidate, ask, spent) for candidate in candidates]
        self._numbers = range(self._count, self._count + len(rows))

        def write(connection: Connection) -> list[Row[Any]]:
            return insert_running(connection, self._id, self._numbers, rows)

        def write_once(connection: Connection) -> list[Row[Any]]:
            return self._reopen(connection) or write(connection)

        self._running = self._log.transaction(write, write_once)
        self._count += len(rows)
        return None

    def _recall(self, ask: RecordedAsk, candidates: Sequence[Candidate]) -> Recorded | None:
        """The record of an ask; an unfinished one, or one without outcomes, is reopened."""
        if not ask.asks_for(candidates):
            raise BrokenFileError(
                f"cannot resume study {self._study.study_name!r} in {self._log.folder}: ask "
                f"{ask.number} is not the recorded one; was it recorded by another version or on "
                "another machine?"
            )
        if ask.is_finished:
            try:
                found = self._evaluations(ask, candidates)
                return Recorded(found, ask.last("study_seconds"), ask.last("study_evaluating"))
            except BrokenFileError:
                pass  # evaluated again
        self._numbers = [trial.number for trial in ask.trials]
        self._running = self._log.transaction(self._reopen)
        return None

    def _reopen(self, connection: Connection) -> list[Row[Any]]:
        return reopen(connection, self._id, self._numbers)

    def on_tell(
        self, evaluations: Sequence[Evaluation], *, seconds: float, evaluating: float
    ) -> None:
        """Write down the evaluations of the last ask's candidates, in their order."""
        figures = {"study_seconds": seconds, "study_evaluating": evaluating}
        rows = [self._finished_trial(evaluation, figures) for evaluation in evaluations]
        self._log.transaction(
            lambda connection: finish(connection, self._running, rows),
            lambda connection: finish(connection, self._reopen(connection), rows),
        )

    def on_end(self, result: StudyResult) -> None:
        """Write down that the study came to its end."""
        ended = {
            "stopped": result.stopped, "spent": result.spent, "seconds": result.seconds,
            "evaluating": result.evaluating, "asks": max(result.asks, default=0),
        }  # fmt: skip
        self._log.patiently(lambda: self._study.set_user_attr(RESULT, ended))

    def _asked(self, candidate: Candidate, ask: int, spent: float) -> Asked:
        space = self._problem.spaces.get(candidate.space)
        attributes: dict[str, Any] = {"space": candidate.space, "ask": ask, "spent": spent}
        if candidate.relaxed is not None:
            attributes["relaxed"] = dict(candidate.relaxed)
        if candidate.share < 1:
            attributes["share"] = candidate.share
        if candidate.policy is not None:
            attributes["policy"] = policy_key(candidate)
        if space is None:  # what is no point of a space, such as a policy with its budget
            return Asked({}, [], attributes | {"values": dict(candidate.values)})
        knobs = [knob for knob in space.knobs if knob.name in candidate.values]
        return Asked(candidate.values, knobs, attributes)

    def _finished_trial(self, evaluation: Evaluation, figures: dict[str, float]) -> Finished:
        attributes: dict[str, Any] = {
            "cost": evaluation.cost,
            "executed": evaluation.executed,
            "seconds": evaluation.seconds,
            "standard_errors": dict(evaluation.standard_errors),
            "metrics": dict(evaluation.metrics),
            "detail": dict(evaluation.detail),
            **figures,
        }
        store_policy(self._log.folder, self._problem, evaluation)
        for name in PER_SAMPLE:
            values = getattr(evaluation, name)
            if values is not None:
                attributes[name] = write_outcomes(self._log.folder, values)
        if evaluation.failure is not None:
            return Finished(TrialState.FAIL, None, attributes | {"failure": evaluation.failure})
        if not evaluation.complete:
            # seen on part of the samples only: Optuna calls that a pruned trial, off its fronts
            attributes["objectives"] = dict(evaluation.objectives)
            return Finished(TrialState.PRUNED, None, attributes)
        values = [evaluation.objectives[o.name] for o in self._problem.objectives]
        return Finished(TrialState.COMPLETE, values, attributes)
