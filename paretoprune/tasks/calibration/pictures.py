"""A folder of pictures with questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretoprune.errors import BrokenFileError, brief
from paretoprune.files import read_rows, read_text
from paretoprune.tasks.calibration.base import Calibration, Record
from paretoprune.tasks.rows import ANSWERS, accepted_answers, inside

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
LISTS = ("metadata.csv", "metadata.jsonl")
"""Tables of the datasets library's image folders: columns `file_name`, `question`, `answer`."""


class Pictures(Calibration):
    """Questions of a folder, from the first of these that is there.

    `metadata.csv` or `metadata.jsonl` with `file_name`, `question` and, if known, `answer`; a text
    file with each picture's name; the option `question` for all.
    """

    name = "pictures"

    def __init__(self, data: str, *, question: str | None = None, **options: Any) -> None:
        self._question = question
        super().__init__(data, **options)

    def read(self, path: Path) -> list[Record]:
        """One record per line of the list, or per picture."""
        if not path.is_dir():
            raise BrokenFileError(f"{self.label}: needs a folder of pictures, not a file")
        listed = next((path / name for name in LISTS if (path / name).exists()), None)
        if listed is not None:
            rows = read_rows(listed, "list of questions")
            return [self._listed(listed, n, row) for n, row in enumerate(rows, start=1)]
        pictures = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
        return [self._with_text_file(path, file) for file in pictures]

    def _listed(self, listed: Path, number: int, row: dict[str, Any]) -> Record:
        where = f"{listed}, row {number}"
        for column in ("file_name", "question"):
            value = row.get(column)
            if column == "question" and not value:
                value = self._question
            if not isinstance(value, str) or not value.strip():
                raise BrokenFileError(
                    f"{where}: column {column!r} is {brief(row.get(column))}; allowed: a text that "
                    "is not empty"
                )
        file = inside(listed.parent, row["file_name"], where)
        return Record(
            name=str(number),
            picture=file.relative_to(listed.parent.resolve()).as_posix(),
            file=file,
            question=(row.get("question") or self._question or "").strip(),
            answer=_answer(row.get("answer"), where, written=listed.suffix == ".csv"),
        )

    def _with_text_file(self, folder: Path, file: Path) -> Record:
        name = file.relative_to(folder).as_posix()
        real = inside(folder, name, self.label)  # a link may lead out
        picture = real.relative_to(folder.resolve()).as_posix()
        text = file.with_suffix(".txt")
        question = read_text(text, "question").strip() if text.exists() else self._question
        if not question:
            raise BrokenFileError(
                f"{self.label}: picture {name!r} has no question; put one into "
                f"{text.name}, all into metadata.csv, or give question=..."
            )
        return Record(name=name, picture=picture, file=file, question=question)


def _answer(value: object, where: str, *, written: bool) -> str | None:
    """The one answer that a value gives; None for an empty one."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    answers = accepted_answers(value, written=written)
    if len(answers) != 1:
        allowed = "one answer: its tokens are what outcomes count" if answers else ANSWERS
        raise BrokenFileError(f"{where}: column 'answer' is {brief(value)}; allowed: {allowed}")
    return answers[0]
