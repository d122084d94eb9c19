"""What a fuzz target is, and how one case of it is run."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paretoprune.errors import ParetopruneError


@dataclass(frozen=True)
class Target:
    """`seeds` are valid inputs by name; `run` takes what became of one, and its name."""

    seeds: Callable[[], dict[str, str]]
    run: Callable[[str, bytes], None]


def check(target: Target, name: str, content: bytes) -> str | None:
    """Run one case; returns the sentence it was refused with, None where it was taken.

    Raises whatever else happens.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target.run(name, content)
        except ParetopruneError as error:
            said = str(error)
            assert said.strip(), "an error without a message"
            assert "\n" not in said, said
            assert len(said) < 5000, f"a message of {len(said)} characters"
            return said
    return None


@contextmanager
def a_folder() -> Iterator[Path]:
    """An empty folder in an empty folder, which stays as empty; no half-written file stays."""
    with tempfile.TemporaryDirectory(prefix="paretoprune-fuzz-") as outer:
        inner = Path(outer) / "inner"
        inner.mkdir()
        try:
            yield inner
        finally:
            assert [p.name for p in Path(outer).iterdir()] == ["inner"], "a file left its folder"
            left = [p.name for p in inner.rglob("*.partial")]
            assert not left, f"half-written: {left}"
