"""Every reader of a user's text file: the file's name, a valid one, and what reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_configs import BESIDE, _folder
from targets import TARGETS

Reader = tuple[str, Callable[[], str], Callable[[Path], Any]]
ROW = {
    "question": "What?", "image": "a.png", "answer": "yes", "file_name": "a.png",
    "conversations": [{"from": "human", "value": "What?"}],
}  # fmt: skip
CELLS = "question,image,answer,file_name\nWhat?,a.png,yes,a.png\n"


def _task(name: str, of: Callable[[Path], Path]) -> Callable[[Path], Any]:
    def read(file: Path) -> Any:
        from PIL import Image

        from paretoprune.tasks.load import load_task

        if not (file.parent / "a.png").exists():
            Image.new("RGB", (4, 4)).save(file.parent / "a.png")
        task: Any = load_task(name, str(of(file)))
        return task

    return read


def _file(file: Path) -> Path:
    return file


def _parent(file: Path) -> Path:
    return file.parent


def _schedule(file: Path) -> Any:
    from paretoprune.schedules.files import read_schedule

    return read_schedule(file)


def _policy(file: Path) -> Any:
    from paretoprune.pruning.policies.files import read_policy

    return read_policy(file)


def _study(file: Path) -> Any:
    from paretoprune.comparison.configuration import read_study

    return read_study(file)


def _beside(file: Path) -> Any:
    from paretoprune.deploy.views import as_file

    return as_file(file)


def _text(file: Path) -> Any:
    from paretoprune.compression.text import read_windows

    return read_windows(file, lambda text, **_: {"input_ids": [0] * (16 + len(text))}, window=1)


def _config(file: Path) -> Any:
    import shutil

    from paretoprune.zoo.load import load_adapter

    for one in _folder("mini-llava").iterdir():
        if not (file.parent / one.name).exists():
            shutil.copy(one, file.parent / one.name)
    return load_adapter(str(file.parent))


def _summary(file: Path) -> Any:
    from paretoprune.comparison.results import read_summary

    return read_summary(file.parent)


def _matrix(file: Path) -> Any:
    from paretoprune.comparison.sweep import read_matrix

    return read_matrix(file.parent)


def _seed(target: str, name: str) -> Callable[[], str]:
    return lambda: TARGETS[target].seeds()[name]


def _text_of(content: Any) -> Callable[[], str]:
    return lambda: content if isinstance(content, str) else json.dumps(content)


READERS: dict[str, Reader] = {
    "schedule": ("schedule.json", _seed("schedule", "schedule.json"), _schedule),
    "policy": ("policy.json", _seed("schedule", "policy.json"), _policy),
    "beside a model": ("paretoprune.json", _text_of(BESIDE), _beside),
    "study": ("study.toml", _seed("study", "few.toml"), _study),
    "results": ("comparison.json", _seed("results", "comparison.json"), _summary),
    "matrix": ("matrix.json", _seed("results", "matrix.json"), _matrix),
    "list of pictures": ("metadata.jsonl", _text_of(ROW), _task("pictures", _parent)),
    "table of pictures": ("metadata.csv", _text_of(CELLS), _task("pictures", _parent)),
    "question beside a picture": ("a.txt", _text_of("What?"), _task("pictures", _parent)),
    "conversations": ("x.json", _text_of([ROW]), _task("llava-instruct", _file)),
    "rows in JSON": ("rows.json", _text_of([ROW]), _task("chartqa", _file)),
    "rows in JSON lines": ("rows.jsonl", _text_of(ROW), _task("chartqa", _file)),
    "rows in CSV": ("rows.csv", _text_of(CELLS), _task("chartqa", _file)),
    "rows in TSV": ("rows.tsv", _text_of(CELLS.replace(",", "\t")), _task("chartqa", _file)),
    "rows in a folder": ("rows.jsonl", _text_of(ROW), _task("chartqa", _parent)),
    "text": ("text.txt", _text_of("word " * 20), _text),
    "configuration": ("config.json", _seed("configs", "mini-llava!config.json"), _config),
}
"""By name: the file's name, a valid text, and the reader."""
