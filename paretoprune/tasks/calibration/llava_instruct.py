"""Conversations about pictures in the JSON of LLaVA-Instruct (arXiv 2304.08485)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretoprune.errors import BrokenFileError, brief
from paretoprune.files import read_json
from paretoprune.tasks.calibration.base import Calibration, Record
from paretoprune.tasks.rows import inside

PLACEHOLDER = "<image>"


class LLaVAInstruct(Calibration):
    """The first question and answer of each conversation about one picture.

    `data` is the JSON file; pictures lie in the folder `images`, by default the file's own, and may
    not leave it. Conversations without a picture are left out.
    """

    name = "llava-instruct"

    def __init__(self, data: str, *, images: str | None = None, **options: Any) -> None:
        self._images = images
        super().__init__(data, **options)

    def read(self, path: Path) -> list[Record]:
        """Records of all conversations with a picture."""
        if path.is_dir():
            raise BrokenFileError(f"{self.label}: needs the JSON file, not the folder it lies in")
        rows = read_json(path, "conversations", None)
        if not isinstance(rows, list):
            raise BrokenFileError(f"{path} holds a {type(rows).__name__}; allowed: a list")
        folder = path.parent if self._images is None else Path(self._images).expanduser()
        if not folder.is_dir():
            raise BrokenFileError(f"{self.label}: folder of pictures {folder} does not exist")
        records = [self._record(row, number, folder) for number, row in enumerate(rows, start=1)]
        return [record for record in records if record is not None]

    def _record(self, row: Any, number: int, folder: Path) -> Record | None:
        where = f"{self.label}, entry {number}"
        if not isinstance(row, dict):
            raise BrokenFileError(f"{where} is {brief(row)}; allowed: an object")
        if row.get("image") is None:
            return None
        name = row["image"]
        if not isinstance(name, str):
            raise BrokenFileError(f"{where}: 'image' is {brief(name)}; allowed: a file name")
        turns = row.get("conversations")
        if not isinstance(turns, list) or not all(
            isinstance(t, dict) and isinstance(t.get("value"), str) for t in turns
        ):
            raise BrokenFileError(
                f"{where}: 'conversations' must be a list of objects with 'from' and 'value'"
            )
        sides = [turn.get("from") for turn in turns[:2]]
        if sides not in (["human", "gpt"], ["human"]):
            raise BrokenFileError(
                f"{where}: a conversation begins with 'human' and then 'gpt', got {brief(sides)}"
            )
        question = turns[0]["value"].replace(PLACEHOLDER, "").strip()
        if not question:
            raise BrokenFileError(f"{where}: the first question is empty")
        answer = turns[1]["value"].strip() if len(turns) > 1 else ""
        file = inside(folder, name, where)
        return Record(
            name=f"{row.get('id', number)}-{number}",
            picture=file.relative_to(folder.resolve()).as_posix(),
            file=file,
            question=question,
            answer=answer or None,
        )
