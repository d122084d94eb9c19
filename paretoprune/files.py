"""Files of ours: written whole or not at all, read with a limit, one sentence where that fails."""

from __future__ import annotations

import contextlib
import math
import os
import stat
import threading
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from paretoprune.errors import BrokenFileError, ParetopruneError, plain

MOST_BYTES = 1_000_000_000
"""No file of ours is larger: a larger one is not ours."""

Stored = TypeVar("Stored", bound=BaseModel)


def write_whole(file: Path, content: bytes) -> None:
    """Write `content` beside `file` and move it there; raises `BrokenFileError` naming the file."""
    # a name of its own: two processes, or threads, that write the same file do not mix
    partial = file.parent / f"{file.name}.{os.getpid()}-{threading.get_ident()}.partial"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(file)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        with contextlib.suppress(OSError, ValueError):
            partial.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise BrokenFileError(f"cannot write {file}: {reason}") from error


def require_regular(file: Path, kind: str, most_bytes: int | None = None) -> None:
    """Raise `BrokenFileError` for what is no file of at most `most_bytes`, before it is opened.

    To open a pipe waits for its writer, and a device may never end.
    """
    try:
        found = file.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise BrokenFileError(f"cannot read {kind} {plain(str(file))}: {reason}") from error
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or device"
        raise BrokenFileError(f"{kind} {plain(str(file))} is {what}; allowed: a file")
    if most_bytes is not None and found.st_size > most_bytes:
        raise BrokenFileError(f"{kind} {plain(str(file))} is larger than {most_bytes:,} bytes")


def read_text(file: Path, kind: str, most_bytes: int = MOST_BYTES) -> str:
    """Text of a `kind` of file, such as `study file`; raises `BrokenFileError` naming the file."""
    try:
        if file.stat().st_size > most_bytes:
            raise BrokenFileError(f"{kind} {file} is larger than {most_bytes:,} bytes")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{kind} {file} is not UTF-8 text") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise BrokenFileError(f"cannot read {kind} {file}: {reason}") from error


def read_stored(file: Path, kind: str, model: type[Stored], most: int = MOST_BYTES) -> Stored:
    """A JSON file as `model`; raises `BrokenFileError` naming file, field and reason."""
    text = read_text(file, kind, most)
    try:
        found = model.model_validate_json(text)
        strange = _not_finite(found.model_dump())
        if strange is not None:
            raise BrokenFileError(f"{kind} {file}: {plain(strange)} is not a finite number")
        return found
    except BrokenFileError:
        raise
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200] or "the file"
        raise BrokenFileError(
            f"{kind} {file}: {plain(where)}: {plain(first['msg'][:500])}"
        ) from error
    except ParetopruneError as error:
        raise BrokenFileError(f"{kind} {file}: {error}") from error
    except RecursionError as error:
        raise BrokenFileError(f"{kind} {file} is nested too deeply") from error


def _not_finite(value: Any, where: str = "the file") -> str | None:
    """The place of a number that is NaN or infinite: JSON has none, readers of it take them."""
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    else:
        return None
    for name, part in parts:
        found = _not_finite(part, str(name) if where == "the file" else f"{where}.{name}")
        if found is not None:
            return found
    return None
