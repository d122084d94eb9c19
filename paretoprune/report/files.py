"""The files that the report's pages are made of, and how pages are written."""

from __future__ import annotations

from importlib.resources import files

from paretoprune.files import write_whole

__all__ = ["resource", "write_whole"]


def resource(name: str) -> str:
    """Text of a file in this directory, such as `style.css`."""
    return files("paretoprune.report").joinpath(name).read_text(encoding="utf-8")
