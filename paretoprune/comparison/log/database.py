"""Opening a log's database: SQLite with a write-ahead log, or PostgreSQL with a lock of its own.

In PostgreSQL there is one connection, and whoever has it has the folder's studies to itself. The
lock is an advisory one of the server's (its documentation, "Explicit Locking"), taken by every new
connection. It ends with the connection, so a process that dies leaves none behind, and one that was
cut off cannot write any more once another process has taken over.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from paretoprune.comparison.log.place import Place
from paretoprune.files import replacing

SQLITE_SECONDS = 20.0
"""Seconds that SQLite itself waits before it reports a locked file."""
CONNECT_SECONDS = 10
GRACE_SECONDS = 5.0
"""Seconds that a new process waits for the lock of one that has just been killed."""
LET_GO_SECONDS = 120.0
"""Seconds to wait for one's own old connection: longer than the server takes to drop it."""
KEEPALIVES = {"idle": 60, "interval": 10, "count": 3}
"""Seconds, seconds, probes: how server and client notice that the other machine has vanished."""
AWAY = ("08", "57", "40", "53300")
"""SQLSTATE classes and codes of a server that stops, starts, is full or broke off a transaction."""
SETTING_UP = 0x7061726574
"""Advisory lock of creating Optuna's tables, which two processes must not do at once."""


class LockedElsewhere(Exception):
    """Another connection has the lock."""


def open_storage(place: Place, patience: float) -> RDBStorage:
    """Open a log's database, with all tables; raises `LockedElsewhere` where another has it."""
    return _open_sqlite(place, patience) if place.is_sqlite else _open_postgresql(place)


def may_recover(place: Place, error: Exception) -> bool:
    """Whether the database is locked, out of reach, or stops or starts: it may work again."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, DBAPIError):
        return False
    if place.is_sqlite:
        message = str(cause.orig)
        return isinstance(cause, OperationalError) and ("locked" in message or "busy" in message)
    state: str | None = getattr(cause.orig, "sqlstate", None)
    if state is None:  # never reached, or disconnected
        return isinstance(cause, OperationalError | InterfaceError)
    return state.startswith(AWAY)


def _open_sqlite(place: Place, patience: float) -> RDBStorage:
    """Open the file; a new one appears with all of its tables and indices, or not at all."""
    file = Path(str(place.url.database))
    if not file.exists():
        _create_sqlite(place, file)
    storage = RDBStorage(
        place.url.render_as_string(),
        engine_kwargs={"connect_args": {"timeout": min(SQLITE_SECONDS, patience)}},
    )
    event.listen(storage.engine, "connect", _write_ahead)
    storage.engine.dispose()  # reconnect with the settings above
    return storage


def _create_sqlite(place: Place, file: Path) -> None:
    """Make the tables in another file and move it to `file`.

    SQLite commits each statement of a schema by itself. Where a process died between the table of
    studies and its index, a resumed one would find the table, make no index, and then add the study
    once more instead of finding it.
    """
    with replacing(file) as partial:
        _dispose(RDBStorage(place.url.set(database=str(partial)).render_as_string()))


def _write_ahead(connection: Any, _: object) -> None:
    """SQLite's write-ahead log: a finished ask costs one append, and readers never wait."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _open_postgresql(place: Place) -> RDBStorage:
    """Connect, create the tables if there are none, and take the lock; raises `LockedElsewhere`."""
    url = place.url.render_as_string(hide_password=False)
    options = " ".join(f"-c tcp_keepalives_{key}={value}" for key, value in KEEPALIVES.items())
    arguments = {
        "connect_timeout": CONNECT_SECONDS,
        "options": options,
        **{f"keepalives_{key}": value for key, value in KEEPALIVES.items()},
    }
    setting_up = create_engine(url, connect_args=arguments)
    try:
        with setting_up.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({SETTING_UP})")
            _dispose(RDBStorage(url, engine_kwargs={"connect_args": arguments}))
    finally:
        setting_up.dispose()
    storage = RDBStorage(
        url,
        engine_kwargs={
            "connect_args": arguments,
            "pool_size": 1,  # a second connection would not get the first one's lock
            "max_overflow": 0,
            "pool_pre_ping": True,
        },
        skip_compatibility_check=True,  # has just been done; it needs two connections
        skip_table_creation=True,
    )
    event.listen(storage.engine, "connect", _locking(place))
    _dispose(storage)  # reconnect with the lock
    give_up = time.monotonic() + GRACE_SECONDS
    while True:
        try:
            storage.engine.connect().close()
        except LockedElsewhere:
            if time.monotonic() > give_up:
                storage.engine.dispose()
                raise
            time.sleep(0.05)
        else:
            return storage


def _locking(place: Place) -> Any:
    digest = hashlib.sha256(f"paretoprune {place.prefix}".encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)

    def lock(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (key,))
            (is_ours,) = cursor.fetchone()
        connection.commit()
        if not is_ours:
            connection.close()
            raise LockedElsewhere

    return lock


def _dispose(storage: RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()
