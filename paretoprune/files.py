"""Files: ours written whole or not at all; anyone's read, or refused in one sentence."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import math
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from paretoprune.errors import BrokenFileError, ParetopruneError, brief, plain

MAX_FILE_BYTES = 1_000_000_000
"""No file of ours is larger: a larger one is not ours. Data may be."""

Stored = TypeVar("Stored", bound=BaseModel)


class StoredModel(BaseModel):
    """Base of files that Paretoprune writes: no further fields, and frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `file` in the end, or not at all.

    Raises `BrokenFileError` naming the file where it cannot be written.
    """
    # a name of its own: two processes, or threads, that write the same file do not mix
    partial = file.parent / f"{file.name}.{os.getpid()}-{threading.get_ident()}.partial"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(file)
    except BaseException as error:
        with contextlib.suppress(OSError, ValueError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError | ValueError):  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or error
            raise BrokenFileError(f"cannot write {file}: {reason}") from error
        raise


def write_whole(file: Path, content: bytes) -> None:
    """Write `content` whole or not at all; raises `BrokenFileError` naming the file."""
    with replacing(file) as partial:
        partial.write_bytes(content)


def write_json(file: Path, content: Any) -> None:
    """Write JSON whole or not at all; raises `BrokenFileError` naming the file."""
    write_whole(file, (json.dumps(content, indent=1) + "\n").encode("utf-8"))


def write_stored(file: Path, content: BaseModel, indent: int | None = 1) -> None:
    """Write a file for `read_stored`; raises `BrokenFileError` naming the file."""
    write_whole(file, (content.model_dump_json(indent=indent) + "\n").encode("utf-8"))


def require_regular(file: Path, kind: str, max_bytes: int | None = None) -> None:
    """Raise `BrokenFileError` unless it is a file of at most `max_bytes`, before it is opened.

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
    if max_bytes is not None and found.st_size > max_bytes:
        raise BrokenFileError(f"{kind} {plain(str(file))} is larger than {max_bytes:,} bytes")


def read_text(file: Path, kind: str, max_bytes: int | None = MAX_FILE_BYTES) -> str:
    """Text of a `kind` of file, such as `study file`; raises `BrokenFileError` naming the file.

    A byte order mark in front, which editors on Windows write, is no part of it.
    """
    require_regular(file, kind, max_bytes)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{kind} {plain(str(file))} is not UTF-8 text") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise BrokenFileError(f"cannot read {kind} {plain(str(file))}: {reason}") from error


def parse_json(text: str, what: str) -> Any:
    """JSON by the letter: no NaN, no key twice, no number that is infinite, no depth without end.

    Raises `BrokenFileError`, in which `what` stands for the text.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_each_once, parse_constant=_refused, parse_float=_finite
        )
    except RecursionError as error:
        raise BrokenFileError(f"{what} is nested too deeply") from error
    except ValueError as error:  # of too long a number, too
        reason = plain(str(error).partition("; use sys.")[0])
        raise BrokenFileError(f"{what} is not JSON: {reason}") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {brief(twice)} is there twice")
    return found


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{brief(text)[1:-1]} is too large a number")
    return value


def read_json(file: Path, kind: str, max_bytes: int | None = MAX_FILE_BYTES) -> Any:
    """Content of a JSON file; raises `BrokenFileError` naming the file."""
    return parse_json(read_text(file, kind, max_bytes), f"{kind} {plain(str(file))}")


SEPARATORS = {".csv": ",", ".tsv": "\t"}
ROWS = (*SEPARATORS, ".json", ".jsonl")
"""Files of rows as text."""
MAX_FIELD_CHARACTERS = 2**31 - 1
"""Limit of one cell, which may be a picture in base64."""


def read_rows(file: Path, kind: str) -> list[dict[str, Any]]:
    """Rows by column of a CSV, TSV, JSON (a list of objects) or JSON-lines file, of any size.

    Raises `BrokenFileError` naming the file and the row, from 1 without the header.
    """
    text = read_text(file, kind, None)
    where = plain(str(file))
    separator = SEPARATORS.get(file.suffix.lower())
    if separator is not None:
        return _cells(text, separator, where)
    if file.suffix.lower() == ".json" and text.lstrip().startswith("["):
        found = parse_json(text, f"{kind} {where}")
        rows = list(enumerate(found, start=1))
    else:
        lines = (line for line in text.split("\n") if line.strip())
        rows = [(n, parse_json(x, f"{where}, row {n}")) for n, x in enumerate(lines, start=1)]
    for number, row in rows:
        if not isinstance(row, dict):
            raise BrokenFileError(f"{where}, row {number} is {brief(row)}; allowed: an object")
    return [row for _, row in rows]


def _cells(text: str, separator: str, where: str) -> list[dict[str, Any]]:
    usual = csv.field_size_limit(MAX_FIELD_CHARACTERS)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header, *rows = [line for line in lines if line] or [[]]
    except csv.Error as error:
        raise BrokenFileError(f"{where} cannot be read as a table: {error}") from error
    finally:
        csv.field_size_limit(usual)
    for name in header:
        if header.count(name) > 1:
            raise BrokenFileError(f"{where} has the column {brief(name)} twice")
    for number, row in enumerate(rows, start=1):
        if len(row) > len(header):
            raise BrokenFileError(
                f"{where}, row {number} has {len(row)} cells, the header {len(header)}"
            )
    return [dict(itertools.zip_longest(header, row)) for row in rows]


def read_stored(file: Path, kind: str, model: type[Stored], most: int = MAX_FILE_BYTES) -> Stored:
    """A JSON file as `model`; raises `BrokenFileError` naming file, field and reason."""
    text = read_text(file, kind, most)
    try:
        found = model.model_validate_json(text)
        if "format" in model.model_fields and "format" not in found.model_fields_set:
            known = model.model_fields["format"].default
            raise BrokenFileError(f"{kind} {file}: format: it must be {known!r}, but is missing")
        strange = _not_finite(found.model_dump())
        if strange is not None:
            raise BrokenFileError(f"{kind} {file}: {plain(strange)} is not a finite number")
        parse_json(text, f"{kind} {file}")  # a key that is there twice
        return found
    except BrokenFileError:
        raise
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200] or "the file"
        reason = first["msg"][:500]
        if first["type"] == "literal_error":
            reason = f"it must be {first['ctx']['expected']}, got {brief(first['input'])}"
        raise BrokenFileError(f"{kind} {file}: {plain(where)}: {plain(reason)}") from error
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
