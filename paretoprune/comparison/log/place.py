"""Where the log of a results folder lies: in the folder, or in a database that it names.

Many folders may share a database, so each one's studies carry the folder's own name there.
`log.json` holds it, and the database's address without its password.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from pydantic import Field
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from paretoprune.errors import BrokenFileError, InvalidValueError, brief, not_installed
from paretoprune.files import StoredModel, read_stored, write_stored

LOG_NAME = "study.db"
PLACE_NAME = "log.json"
DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""SQLAlchemy's driver for each allowed scheme."""
WRITTEN = "a storage is written as sqlite:///FILE or postgresql://USER@HOST/DATABASE"
SEPARATOR = "/"


class StoredPlace(StoredModel):
    """Content of `log.json`: the database, and the prefix of the folder's studies there."""

    format: Literal["paretoprune-log/1"] = "paretoprune-log/1"
    storage: Annotated[str, Field(max_length=1000)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9.=_-]{1,100}$")]


@dataclass(frozen=True)
class Place:
    """The database of a log, and the name of its folder there; none in a folder's own file."""

    url: URL
    name: str | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def shown(self) -> str:
        """The address for people: without driver and password."""
        return without_password(self.url)

    @property
    def prefix(self) -> str:
        """Prefix of the names of this folder's studies."""
        return "" if self.name is None else self.name + SEPARATOR


def parse_storage(text: str) -> URL:
    """Read a storage's address; raises `InvalidValueError`, without showing a password.

    `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`. Where the address has no password, the
    PostgreSQL client takes it from PGPASSWORD or `~/.pgpass`.
    """
    url = _read_url(text)
    if url.get_backend_name() == "postgresql":
        _require_driver()
    return url.set(drivername=DRIVERS[url.drivername])


def _read_url(text: str) -> URL:
    if not isinstance(text, str):
        raise InvalidValueError(f"{WRITTEN}, got {brief(text)}")
    begins = f"got one that begins with {text.partition(':')[0][:40]!r}"
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InvalidValueError(f"{WRITTEN}, {begins}") from error
    except ValueError:  # not its cause: it may show a part of the password
        raise InvalidValueError(
            f"{WRITTEN}, {begins} and whose port is no number (special characters of a password "
            "are written as %40 for @)"
        ) from None
    if url.drivername not in DRIVERS or not url.database or not text.isprintable():
        raise InvalidValueError(f"{WRITTEN}, {begins}")
    try:
        (url.host or "").encode("idna")
    except UnicodeError:  # too long a part, or an empty one
        raise InvalidValueError(f"{WRITTEN}, got one whose HOST is no host's name") from None
    if url.port is not None and not 0 < url.port < 65536:
        raise InvalidValueError(f"the port of a storage is a number in 1..65535, got {url.port}")
    if url.get_backend_name() == "sqlite" and (url.host or url.query or ":" in url.database[:1]):
        raise InvalidValueError(
            "a storage in a file is written as sqlite:///FILE, with three slashes and no options, "
            f"got {without_password(url)!r}"
        )
    return url


def without_password(url: URL | str) -> str:
    """An address as it may be shown and stored; raises `InvalidValueError` for other texts."""
    url = _read_url(url) if isinstance(url, str) else url
    query = {key: value for key, value in url.query.items() if key != "password"}
    plain = url.set(drivername=url.get_backend_name(), query=query)
    return plain._replace(password=None).render_as_string()


def own_place(folder: Path) -> Place:
    """The file in the folder itself."""
    return Place(URL.create("sqlite", database=str(folder / LOG_NAME)))


def resolve_place(folder: Path, storage: str | None) -> Place:
    """Where the log of a results folder lies; `save_place` it once it could be opened.

    Raises `InvalidValueError` where the folder has a log in another place, so that nothing starts
    anew by accident.
    """
    stored = read_place(folder)
    if storage is None:
        if stored is not None:
            raise InvalidValueError(
                f"the log of {folder} is in {stored.storage}: name that storage, too"
            )
        return own_place(folder)
    if stored is None and (folder / LOG_NAME).exists():
        raise InvalidValueError(
            f"{folder} has its log in {LOG_NAME}: go on without a storage, or name another folder"
        )
    url = parse_storage(storage)
    shown = without_password(url)
    if stored is None:
        slug = re.sub(r"[^A-Za-z0-9.=_-]+", "-", folder.resolve().name)[:60] or "results"
        return Place(url, f"{slug}-{secrets.token_hex(4)}")
    # a database may move, with all that is in it
    if stored.storage != shown and not study_names(Place(url, stored.name)):
        raise InvalidValueError(
            f"{shown} holds no studies of {folder}, whose log is in {stored.storage}"
        )
    return Place(url, stored.name)


def save_place(folder: Path, place: Place) -> None:
    """Write `log.json`, for a log that is not in the folder itself."""
    if place.name is None:
        return
    now = StoredPlace(storage=place.shown, name=place.name)
    if read_place(folder) != now:
        write_stored(folder / PLACE_NAME, now)


def place_to_read(folder: Path, storage: str | None) -> Place:
    """Where to read a log; raises `BrokenFileError` where there is none or it must be named."""
    stored = read_place(folder)
    if stored is not None and storage is not None:
        return Place(parse_storage(storage), stored.name)
    if stored is not None:
        raise BrokenFileError(f"the log of {folder} is in {stored.storage}: name that storage")
    if storage is not None:
        return Place(parse_storage(storage))
    if not (folder / LOG_NAME).exists():
        raise BrokenFileError(f"{folder} has no study log: {LOG_NAME} is missing")
    return own_place(folder)


def read_place(folder: Path) -> StoredPlace | None:
    """Content of `log.json`; None where the log is in the folder itself."""
    file = folder / PLACE_NAME
    return read_stored(file, "log file", StoredPlace) if file.exists() else None


@contextmanager
def open_to_read(place: Place) -> Iterator[RDBStorage]:
    """The storage as any Optuna tool opens it, closed again at the end."""
    opened = RDBStorage(place.url.render_as_string(hide_password=False))
    try:
        yield opened
    finally:
        opened.remove_session()
        opened.engine.dispose()


def study_names(place: Place) -> list[str]:
    """Names of the folder's studies in a database; raises `BrokenFileError`."""
    try:
        with open_to_read(place) as opened:
            names = optuna.get_all_study_names(opened)
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        raise cannot_use(place, error) from error
    return [name for name in names if name.startswith(place.prefix)]


def cannot_use(place: Place, error: BaseException) -> BrokenFileError:
    """One sentence for an exception of a database's client."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    lines = str(getattr(cause, "orig", None) or cause or error).strip().splitlines()
    where = place.url.database if place.is_sqlite else place.shown
    reason = " ".join(lines[0].split())[:300] if lines else type(error).__name__
    return BrokenFileError(f"cannot use study log {where}: {reason}; what was written stays valid")


def _require_driver() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise not_installed("a log in PostgreSQL needs psycopg", "'psycopg[binary]'") from error
