"""A log in a file: SQLite with a write-ahead log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import URL, event
from sqlalchemy.exc import DBAPIError, OperationalError

ASK_SECONDS = 20.0
"""How long SQLite itself waits before it says that the file is locked."""


def open_storage(url: URL, patience: float) -> RDBStorage:
    """Open the file; a new one appears with all of its tables and indices, or not at all."""
    file = Path(str(url.database))
    if not file.exists():
        _create(url, file)
    storage = RDBStorage(
        url.render_as_string(),
        engine_kwargs={"connect_args": {"timeout": min(ASK_SECONDS, patience)}},
    )
    event.listen(storage.engine, "connect", _write_ahead)
    storage.engine.dispose()  # reconnect with the settings above
    return storage


def _create(url: URL, file: Path) -> None:
    """Make the tables beside `file` and move them there.

    SQLite commits each statement of a schema by itself. Where a process died between the table of
    studies and its index, a resumed one would find the table, make no index, and then add the study
    once more instead of finding it.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        made = RDBStorage(url.set(database=str(partial)).render_as_string())
        made.remove_session()
        made.engine.dispose()
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def comes_back(error: DBAPIError) -> bool:
    """Whether the file is locked, so that it may work again."""
    told = str(error.orig)
    return isinstance(error, OperationalError) and ("locked" in told or "busy" in told)


def _write_ahead(connection: Any, _: object) -> None:
    """SQLite's write-ahead log: a finished ask costs one append, and readers never wait."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
