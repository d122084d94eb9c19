"""The log of a results folder: Optuna's storage, locked, and patient with a busy one."""

from __future__ import annotations

import json
import sqlite3
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.log.lock import lock_folder
from paretoprune.log.outcomes import OUTCOMES
from paretoprune.log.studies import LoggedStudy
from paretoprune.problem import Problem
from paretoprune.quiet import without_info

LOG_NAME = "study.db"
PATIENCE_SECONDS = 600.0
"""How long a transaction waits for a storage that another process holds."""
ASK_SECONDS = 20.0
"""How long SQLite itself waits before it says that the file is locked."""
T = TypeVar("T")


class StudyLog:
    """The log of one results folder; use as a context manager or call `close`.

    One process at a time: a second one raises `InUseError`. `patience` is how many seconds a write
    waits for a storage that is locked by another program.
    """

    def __init__(self, folder: Path, *, patience: float = PATIENCE_SECONDS) -> None:
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
            self.storage = self._open()
        except BaseException:
            self._lock.release()
            raise
        self._sessions = sessionmaker(self.storage.engine, expire_on_commit=False)

    def _open(self) -> RDBStorage:
        try:
            storage = RDBStorage(
                f"sqlite:///{self.folder / LOG_NAME}",
                engine_kwargs={"connect_args": {"timeout": min(ASK_SECONDS, self.patience)}},
            )
            event.listen(storage.engine, "connect", _write_ahead)
            storage.engine.dispose()  # reconnect with the settings above
        except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
            raise self._broken(error) from error
        return storage

    def study(
        self, name: str, problem: Problem, settings: Mapping[str, Any], *, resume: bool = False
    ) -> LoggedStudy:
        """The recorder of a new study in this log; with `resume`, or of one that is there.

        Problem and `settings` (JSON-ready) become its attributes. Raises `InvalidValueError` where
        a study that is there had others, naming the difference, or is there without `resume`.
        """
        attributes = {"problem": problem.describe(), "settings": dict(settings)}
        try:
            with without_info("optuna.storages._rdb.storage"), without_info("optuna.study.study"):
                study = optuna.create_study(
                    storage=self.storage,
                    study_name=name,
                    directions=[
                        "maximize" if o.direction == "max" else "minimize"
                        for o in problem.objectives
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
        except DuplicatedStudyError as error:
            raise InvalidValueError(
                f"{self.folder} has a study {name!r} already; resume it, or name another folder"
            ) from error
        except (SQLAlchemyError, StorageInternalError) as error:
            raise self._broken(error) from error

    def _check_unchanged(self, study: str, part: str, known: Any, now: Any) -> None:
        now = json.loads(json.dumps(now))
        for key in dict.fromkeys([*known, *now]):
            if known.get(key) != now.get(key):
                raise InvalidValueError(
                    f"cannot resume study {study!r} in {self.folder}: its {part} had {key} "
                    f"{known.get(key)!r}, now it is {now.get(key)!r}"
                )

    def transaction(self, work: Callable[[Session], T]) -> T:
        """Run `work` on the storage, all of it or nothing; waits while another program holds it.

        Raises `BrokenFileError` where the storage cannot be written: then nothing of `work` is.
        """
        started = time.monotonic()
        pause = 0.05
        while True:
            try:
                with self._sessions.begin() as session:
                    return work(session)
            except OperationalError as error:
                if not _busy(error) or time.monotonic() - started > self.patience:
                    raise self._broken(error) from error
            except DatabaseError as error:
                raise self._broken(error) from error
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _broken(self, error: Exception) -> BrokenFileError:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = str(getattr(cause, "orig", None) or cause or error).splitlines()[0]
        return BrokenFileError(
            f"cannot use study log {self.folder / LOG_NAME}: {reason}; what was written stays valid"
        )

    def close(self) -> None:
        """Release the file and the lock."""
        self.storage.remove_session()
        self.storage.engine.dispose()
        self._lock.release()

    def __enter__(self) -> StudyLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _busy(error: OperationalError) -> bool:
    """Whether the storage is locked or out of reach, so that it may work again."""
    if isinstance(error.orig, sqlite3.Error):
        return any(word in str(error.orig) for word in ("locked", "busy"))
    return bool(error.connection_invalidated)


def _write_ahead(connection: Any, _: object) -> None:
    """SQLite's write-ahead log: a finished ask costs one append, and readers never wait."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
