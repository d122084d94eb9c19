"""One row of a data set, read by the types of its columns; a fault is one sentence."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from paretoprune.errors import BrokenFileError, InvalidValueError, brief, plain
from paretoprune.tasks.picture import (
    as_picture,
    read_base64_picture,
    read_picture,
    read_picture_bytes,
)

NOTHING = ("", "nan", "none")
"""Texts that stand for an empty cell in the files of other tools, in lower case."""
BASE64_FROM = 65
"""Shorter texts in a picture column name something else: a file, or a row (VLMEvalKit)."""


@dataclass(frozen=True)
class Row:
    """Row `number`, from 1, of the data called `data`; pictures by name lie in `folder`."""

    data: str
    number: int
    values: Mapping[str, Any] = field(repr=False)
    folder: Path | None = None

    def wrong(self, column: str, value: object, allowed: str) -> BrokenFileError:
        """The error for a cell: its place, its content, and the allowed content."""
        return BrokenFileError(
            f"{self.data}, row {self.number}: column {plain(column)!r} is {brief(value)}; "
            f"allowed: {plain(allowed)}"
        )

    def has(self, column: str) -> bool:
        """Whether there is such a column with something in this row."""
        value = self.values.get(column)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return False
        return not (isinstance(value, str) and value.strip().lower() in NOTHING)

    def found(self, *columns: str) -> str | None:
        """The first of these columns that holds something."""
        return next((column for column in columns if self.has(column)), None)

    def text(self, *columns: str) -> str:
        """The text of the first of these columns that is not empty, without surrounding blanks."""
        column = self.found(*columns)
        if column is None:
            raise self.wrong(columns[0], self.values.get(columns[0]), "a text that is not empty")
        value = self.values[column]
        said = said_in(value)
        if said is None:
            raise self.wrong(column, value, "a text")
        return said.strip()

    def answers(self, *columns: str) -> list[str]:
        """One or more accepted answers: a text, a number, or a list of them, each once."""
        column = self.found(*columns)
        value = None if column is None else self.values[column]
        answers = [] if column is None else accepted_answers(value)
        if not answers:
            raise self.wrong(column or columns[0], value, ANSWERS)
        return answers

    def texts(self, *columns: str) -> list[str]:
        """A list of texts, which may be written out in one cell as Python or JSON does."""
        column = self.found(*columns)
        if column is None:
            raise self.wrong(columns[0], self.values.get(columns[0]), "a list of texts")
        value = self.values[column]
        if isinstance(value, str):
            value = _written_list(value)
        if hasattr(value, "tolist"):
            value = value.tolist()
        texts = _texts_in(value) if isinstance(value, list | tuple) else []
        if not texts:
            raise self.wrong(column, value, "a list of one or more texts")
        return texts

    def one_of(self, column: str, allowed: Sequence[str]) -> str:
        """The one of `allowed` that the column says, in any case, without a full stop."""
        said = self.text(column).rstrip(".")
        for choice in allowed:
            if said.lower() == choice.lower():
                return choice
        raise self.wrong(column, self.values[column], ", ".join(allowed))

    def whole(self, column: str, upto: int) -> int:
        """A whole number from 0 to `upto`."""
        try:
            number = float(self.text(column))
        except ValueError:
            number = math.nan
        if not (number.is_integer() and 0 <= number <= upto):
            raise self.wrong(column, self.values.get(column), f"a whole number from 0 to {upto}")
        return int(number)

    def pictures(self, column: str = "image") -> list[Image.Image]:
        """The pictures of a column, one or several, RGB."""
        value = self.values.get(column)
        if value is None or (isinstance(value, list) and not value):
            raise self.wrong(column, value, "a picture")
        listed = value if isinstance(value, list) else [value]
        return [self._picture(column, one) for one in listed]

    def picture(self, column: str = "image") -> Image.Image:
        """The only picture of a column."""
        pictures = self.pictures(column)
        if len(pictures) != 1:
            raise self.wrong(column, f"{len(pictures)} pictures", "one picture")
        return pictures[0]

    def _picture(self, column: str, value: Any) -> Image.Image:
        name = f"{self.data}, row {self.number}, column {column!r}"
        if isinstance(value, Image.Image):
            try:
                return as_picture(value)  # type: ignore[no-any-return]
            except InvalidValueError as error:
                raise BrokenFileError(f"{name}: {error}") from error
        if isinstance(value, Mapping):
            content = value.get("bytes")
            value = content if isinstance(content, bytes) else value.get("path")
        if isinstance(value, bytes):
            return read_picture_bytes(value, name)
        if isinstance(value, str) and value:
            if len(value) >= BASE64_FROM and "." not in value[-8:]:
                return read_base64_picture(value, name)
            if self.folder is not None:
                return read_picture(inside(self.folder, value, name))
        raise self.wrong(column, value, "a picture, its bytes, base64, or a file next to the data")


def inside(folder: Path, name: str, what: str) -> Path:
    """The file called `name` within `folder`; raises `BrokenFileError` for one that leaves it."""
    root = folder.resolve()
    try:
        file = (root / name).resolve()
    except (OSError, ValueError) as error:  # a NUL in the name, or a loop of links
        raise BrokenFileError(f"{what}: {plain(name)!r} is no name of a file") from error
    if not file.is_relative_to(root):
        raise BrokenFileError(
            f"{what}: picture {plain(name)!r} lies outside {folder}; allowed: inside it"
        )
    return file


def said_in(value: object) -> str | None:
    """A text or number as text, whole numbers without a decimal point; None for other values."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _texts_in(values: Sequence[object]) -> list[str]:
    """A list's texts, numbers or `answer` fields, as texts; [] if one of them is missing.

    An annotator's answer may be empty, but not all.
    """
    items = [item.get("answer") if isinstance(item, Mapping) else item for item in values]
    texts = [text for text in map(said_in, items) if text is not None]
    return texts if len(texts) == len(items) and any(map(str.strip, texts)) else []


ANSWERS = "a text, a number, or a list of them that is not empty"


def accepted_answers(value: object, *, written: bool = True) -> list[str]:
    """The different answers that a value gives, one or several; [] where it is neither.

    A text that is `written` as Python or JSON writes a list of texts is that list; of numbers, it
    is a text, such as a box in a picture.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    listed = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, str) and written:
        inside = _written_list(value)
        listed = inside if all(isinstance(item, str) for item in inside) else [value]
    return list(dict.fromkeys(text.strip() for text in _texts_in(listed) if text.strip()))


def _written_list(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            items = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(items, list | tuple):
            return list(items)
    return [text]
