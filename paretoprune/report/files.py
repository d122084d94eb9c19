"""Writes a file whole or not at all, and reads the files that the package brings."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from paretoprune.errors import BrokenFileError


def write_whole(file: Path, content: bytes) -> None:
    """Write `content` beside `file` and move it there; raises `BrokenFileError` naming the file."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(file)
    except OSError as error:
        raise BrokenFileError(f"cannot write {file}: {error.strerror}") from error


def resource(name: str) -> str:
    """Text of a file in this directory, such as `style.css`."""
    return files("paretoprune.report").joinpath(name).read_text(encoding="utf-8")
