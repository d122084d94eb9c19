"""A log in PostgreSQL: one connection, and whoever has it has the folder's studies to itself.

The lock is an advisory one of the server's (its documentation, "Explicit Locking"), taken by every
new connection. It ends with the connection, so a process that dies leaves none behind, and one that
was cut off cannot write any more once another process has taken over.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from paretoprune.comparison.log.place import Place

CONNECT_SECONDS = 10
GRACE_SECONDS = 5.0
"""How long a new process waits for the lock of one that has just been killed."""
LET_GO_SECONDS = 120.0
"""How long one waits for its own old connection: longer than the server takes to drop it."""
KEEPALIVES = {"idle": 60, "interval": 10, "count": 3}
"""Seconds, seconds, probes: how server and client notice that the other machine has vanished."""
AWAY = ("08", "57", "40", "53300")
"""SQLSTATE classes and codes of a server that stops, starts, is full or broke off a transaction."""
SETTING_UP = 0x7061726574
"""Advisory lock of creating Optuna's tables, which two processes must not do at once."""


class LockedElsewhere(Exception):
    """Another connection has the lock."""


def open_storage(place: Place) -> RDBStorage:
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
            tables = RDBStorage(url, engine_kwargs={"connect_args": arguments})
            tables.remove_session()
            tables.engine.dispose()
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
    storage.remove_session()
    storage.engine.dispose()  # reconnect with the lock
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


def comes_back(error: DBAPIError) -> bool:
    """Whether the server is out of reach, or stops or starts, so that it may work again."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    if state is None:  # never reached, or lost on the way
        return isinstance(error, OperationalError | InterfaceError)
    return state.startswith(AWAY)


def _locking(place: Place) -> Any:
    digest = hashlib.sha256(f"paretoprune {place.prefix}".encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)

    def lock(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (key,))
            (mine,) = cursor.fetchone()
        connection.commit()
        if not mine:
            connection.close()
            raise LockedElsewhere

    return lock
