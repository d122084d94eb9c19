"""The log of a results folder: Optuna's storage, locked, and patient with a busy one."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from paretoprune.comparison.log import postgresql, sqlite
from paretoprune.comparison.log.lock import lock_folder
from paretoprune.comparison.log.outcomes import OUTCOMES
from paretoprune.comparison.log.place import LOG_NAME, cannot_use, remember, settle
from paretoprune.comparison.log.studies import LoggedStudy
from paretoprune.core.problem import Problem
from paretoprune.core.quiet import without_info
from paretoprune.errors import BrokenFileError, InUseError, InvalidValueError

__all__ = ["LOG_NAME", "StudyLog"]

PATIENCE_SECONDS = 600.0
"""How long a transaction waits for a storage that is locked or out of reach."""
TOLD_AFTER_SECONDS = 5.0
"""How long it waits before it says so."""
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
            raise BrokenFileError(
                f"cannot write results folder {folder}: {error.strerror}"
            ) from error
        self._lock = lock_folder(folder)
        try:
            self.place = settle(folder, storage)
            self.storage = self._open()
            remember(folder, self.place)
        except BaseException:
            self._lock.release()
            raise
        self._sessions = sessionmaker(self.storage.engine, expire_on_commit=False)

    def _open(self) -> RDBStorage:
        try:
            if self.place.is_sqlite:
                return sqlite.open_storage(self.place.url, self.patience)
            return postgresql.open_storage(self.place)
        except postgresql.LockedElsewhere as error:
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
        self, work: Callable[[Session], T], again: Callable[[Session], T] | None = None
    ) -> T:
        """Run `work` on the storage, all of it or nothing; waits while the storage cannot be used.

        A connection that breaks while a transaction ends leaves open whether it was written, so
        `again` (default: `work`) is what runs after that: it must do for both. Raises
        `BrokenFileError` where the storage stays away.
        """
        tries = iter([work])

        def run() -> T:
            now = next(tries, again or work)
            with self._sessions.begin() as session:
                return now(session)

        return self.patiently(run)

    def patiently(self, work: Callable[[], T]) -> T:
        """Call `work`, again and again while the storage is locked or out of reach.

        Raises `BrokenFileError` where that does not end, or cannot, and `InUseError` where another
        process took over meanwhile.
        """
        started = time.monotonic()
        pause, told = 0.05, False
        while True:
            try:
                return work()
            except postgresql.LockedElsewhere as error:
                waited = time.monotonic() - started
                if waited > min(self.patience, postgresql.LET_GO_SECONDS):
                    raise self._in_use() from error
                reason: Exception = error
            except (DBAPIError, StorageInternalError) as error:
                waited = time.monotonic() - started
                if not self._comes_back(error) or waited > self.patience:
                    raise cannot_use(self.place, error) from error
                reason = error
            except SQLAlchemyError as error:
                raise cannot_use(self.place, error) from error
            if waited > TOLD_AFTER_SECONDS and not told:
                told = True
                why = str(cannot_use(self.place, reason)).rpartition(";")[0]
                warnings.warn(f"{why}; waiting for it", stacklevel=2)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _comes_back(self, error: Exception) -> bool:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        if not isinstance(cause, DBAPIError):
            return False
        if self.place.is_sqlite:
            return sqlite.comes_back(cause)
        return postgresql.comes_back(cause)

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
