"""Opens tables of questions: on the Hugging Face hub, in a folder, or in one file.

Parquet, JSON, JSON lines, CSV and saved data sets go through the `datasets` library; VLMEvalKit's
TSV files, whose pictures are base64, through pandas. Pictures are read row by row, when asked for.
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
from paretoprune.tasks.rows import BASE64_FROM, Row

FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv"}
TSV = ".tsv"
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
    if path.suffix.lower() == TSV and path.is_file():
        return _tsv(path)
    if path.is_dir() and not list(path.glob("*.parquet")):
        inside = sorted(path.glob(f"*{TSV}"))
        if len(inside) == 1:
            return _tsv(inside[0])
    if not path.exists() and (not HUB_NAME.fullmatch(data) or data.startswith(".")):
        raise BrokenFileError(
            f"data {data!r} is no file or folder, and no name owner/name on the Hugging Face hub"
        )
    parts = _load(data, path, config)
    return _table(data, path, parts, split, usual)


def _load(data: str, path: Path, config: str | None) -> Any:
    """The data set, or its splits by name."""
    datasets = _datasets()
    try:
        if path.is_file():
            kind = FORMATS.get(path.suffix.lower())
            if kind is None:
                raise InvalidValueError(
                    f"data file {path} has the suffix {path.suffix!r}; allowed: "
                    f"{', '.join([*FORMATS, TSV])}"
                )
            return datasets.load_dataset(kind, data_files={path.stem: str(path)})[path.stem]
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
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
    ) as error:  # what the library raises for other people's files
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
        raise InvalidValueError(f"data {data!r} has no splits, but split={split} was asked for")
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


def _tsv(file: Path) -> Table:
    """VLMEvalKit's: `image` is base64, a list of them, or the `index` of the row that has it."""
    _datasets()
    import pandas

    try:
        frame = pandas.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BrokenFileError(f"cannot read data {str(file)!r}: {reason}") from error
    if not len(frame):
        raise BrokenFileError(f"data {str(file)!r} has no rows")
    rows: list[dict[str, Any]] = frame.to_dict("records")
    held = {row.get("index"): row["image"] for row in rows if len(row.get("image", "")) > 64}
    for row in rows:
        image = row.get("image", "")
        if image and len(image) < BASE64_FROM:
            row["image"] = held.get(image, image)
        if row.get("image", "").startswith("["):
            row["image"] = Row(str(file), 0, row).texts("image")
        if not row.get("image") and row.get("image_path"):
            row["image"] = row["image_path"]
    return Table(str(file), tuple(map(str, frame.columns)), Records(rows), file.parent)
