"""Opens tables of questions: on the Hugging Face hub, in a folder, or in one file.

Parquet files, saved data sets and the hub go through the `datasets` library; JSON, JSON lines, CSV
and VLMEvalKit's TSV do not: it crashes on some. Pictures are read row by row, when asked for.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    UnknownNameError,
    not_installed,
    plain,
)
from paretoprune.files import ROWS, SEPARATORS, read_rows, require_regular
from paretoprune.tasks.rows import BASE64_FROM, Row

PARQUET = ".parquet"
SAVED = ("state.json", "dataset_dict.json")
"""Files that mark a data set saved by the `datasets` library."""
NO_SPLITS = "data {data!r} has no splits, but split={split} was asked for"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Table:
    """Rows in order. `source` gives the values of one, by number from 0; `columns` names them."""

    name: str
    columns: tuple[str, ...]
    source: Any
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.source)

    def row(self, number: int) -> Row:
        """Row `number`, from 0, with its pictures."""
        return Row(self.name, number + 1, self.source[number], self.folder)

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """All rows, with those of `columns` that there are: pictures are read only if named."""
        wanted = [column for column in columns if column in self.columns]
        for number, values in enumerate(self.source.only(wanted)):
            yield Row(self.name, number + 1, values, self.folder)

    def require(self, *alternatives: Sequence[str]) -> None:
        """Raise `BrokenFileError` where none of the columns of an alternative is there."""
        for names in alternatives:
            if not set(names) & set(self.columns):
                wanted = " or ".join(map(repr, names))
                there = plain(", ".join(self.columns))
                raise BrokenFileError(f"{self.name} has no column {wanted}; it has {there}")


def open_table(
    data: str, *, split: str | None = None, config: str | None = None, usual: Sequence[str] = ()
) -> Table:
    """The table that `data` names: a file, a folder, or a hub name `owner/name`.

    Only a hub name reaches the network. Of several splits, the one called `split` is read, or the
    first of the `usual` ones that is there; `config` names a part of a hub data set.
    """
    path = Path(data).expanduser()
    file = _text_file(path)
    if file is not None:
        if split is not None:
            raise InvalidValueError(NO_SPLITS.format(data=data, split=split))
        return _text_table(file)
    if not path.exists() and (not HUB_NAME.fullmatch(data) or data.startswith(".")):
        raise BrokenFileError(
            f"data {data!r} is no file or folder, and no name owner/name on the Hugging Face hub"
        )
    parts = _load(data, path, config)
    return _table(data, path, parts, split, usual)


def _text_file(path: Path) -> Path | None:
    """The file of rows that a path is, or that lies in it alone; None for other data."""
    if not path.is_dir():
        if path.exists():
            require_regular(path, "data")
        return path if path.exists() and path.suffix.lower() in ROWS else None
    if any(path.glob(f"*{PARQUET}")) or any((path / name).exists() for name in SAVED):
        return None
    inside = sorted(file for file in path.iterdir() if file.suffix.lower() in ROWS)
    if len(inside) > 1:
        names = plain(", ".join(file.name for file in inside))
        raise InvalidValueError(f"data {str(path)!r} holds {names}; name one of these files")
    return inside[0] if inside else None


def _load(data: str, path: Path, config: str | None) -> Any:
    """The data set, or its splits by name."""
    datasets = _datasets()
    try:
        if path.is_file():
            if path.suffix.lower() != PARQUET:
                raise InvalidValueError(
                    f"data file {path} has the suffix {path.suffix!r}; allowed: "
                    f"{', '.join([PARQUET, *ROWS])}"
                )
            return datasets.load_dataset("parquet", data_files={path.stem: str(path)})[path.stem]
        if any((path / name).exists() for name in SAVED):
            return datasets.load_from_disk(str(path))
        return datasets.load_dataset(str(path) if path.is_dir() else data, config)
    except InvalidValueError:
        raise
    except (
        OSError,
        ValueError,
        RuntimeError,
        ImportError,
        LookupError,
        TypeError,
        AttributeError,
        datasets.exceptions.DatasetsError,
    ) as error:  # the library's exceptions for other people's files
        cause = error.__cause__ or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise BrokenFileError(f"cannot read data {data!r}: {reason}") from error


def _datasets() -> Any:
    try:
        import datasets
        import datasets.exceptions
    except ImportError as error:
        raise not_installed("benchmark data need the datasets library", "datasets") from error
    return datasets


def _table(data: str, path: Path, parts: Any, split: str | None, usual: Sequence[str]) -> Table:
    if isinstance(parts, dict):
        name = split or next((s for s in usual if s in parts), None)
        if name is None and len(parts) == 1:
            name = next(iter(parts))
        if name is None:
            raise InvalidValueError(
                f"data {data!r} has the splits {', '.join(parts)}; choose one with split=NAME"
            )
        if name not in parts:
            raise UnknownNameError(f"split of {data!r}", name, parts)
        parts = parts[name]
    elif split is not None:
        raise InvalidValueError(NO_SPLITS.format(data=data, split=split))
    if not len(parts):
        raise BrokenFileError(f"data {data!r} has no rows")
    folder = path.parent if path.is_file() else path if path.is_dir() else None
    return Table(data, tuple(parts.column_names), _Undecoded(_as_files(parts)), folder)


class _Undecoded:
    """A data set of the `datasets` library whose pictures stay the files that they are."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self._data[number]
        return found

    def only(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        if not columns:
            return itertools.repeat({}, len(self._data))
        found: Iterator[dict[str, Any]] = iter(self._data.select_columns(list(columns)))
        return found


def _as_files(data: Any) -> Any:
    """Pictures as bytes or paths: they are decoded by `tasks.picture`, which trusts no file."""
    datasets = _datasets()
    for name, feature in data.features.items():
        inner = getattr(feature, "feature", None)
        if isinstance(feature, datasets.Image):
            data = data.cast_column(name, datasets.Image(decode=False))
        elif isinstance(inner, datasets.Image):
            data = data.cast_column(name, datasets.List(datasets.Image(decode=False)))
    return data


class Records:
    """Rows as dictionaries, which hold the values of their columns."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self._rows[number]

    def only(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows, of these columns alone."""
        return ({column: row.get(column) for column in columns} for row in self._rows)


def _text_table(file: Path) -> Table:
    """VLMEvalKit's `image` is base64, a list of them, or the `index` of the row that has it."""
    rows = read_rows(file, "data")
    if not rows:
        raise BrokenFileError(f"data {str(file)!r} has no rows")
    if file.suffix.lower() in SEPARATORS:
        held = {r.get("index"): r["image"] for r in rows if len(r.get("image") or "") > 64}
        for row in rows:
            image = row.get("image") or ""
            if image and len(image) < BASE64_FROM:
                row["image"] = held.get(image, image)
            if (row.get("image") or "").startswith("["):
                row["image"] = Row(str(file), 0, row).texts("image")
            if not row.get("image") and row.get("image_path"):
                row["image"] = row["image_path"]
    columns = dict.fromkeys(column for row in rows for column in row)
    return Table(str(file), tuple(columns), Records(rows), file.parent)
