"""Rows of strangers' data sets: typed ones, as Parquet and JSON hold them, and VLMEvalKit's TSV."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from target import Target, a_folder

COMMON = {
    "mme": {"question_id": "{n}.png", "answer": "Yes", "category": "existence"},
    "pope": {"question_id": "{n}", "answer": "no", "category": "random", "image_source": "C{n}"},
    "mmbench": {"index": 7, "hint": "nan", "answer": "B", "A": "cat", "B": "dog", "C": "fish",
                "D": "nan", "category": "object", "split": "dev"},
    "seedbench": {"answer": "C", "choice_a": "1", "choice_b": "2", "choice_c": "3",
                  "choice_d": "4", "data_id": "pic{n}", "data_type": "image",
                  "question_id": "{n}", "question_type_id": 5},
    "ocrbench": {"dataset": "IIIT5K", "question_type": "Regular Text Recognition",
                 "answer": ["STOP", "Halt"]},
    "chartqa": {"type": "human_test", "answer": "12%"},
    "aokvqa": {"question_id": "q{n}", "choices": ["hat", "car"], "correct_choice_idx": 1,
               "direct_answers": "['car', 'auto']", "difficult_direct_answer": False},
    "textvqa": {"image_id": "im{n}", "question_id": 3, "answers": ["Stop"] * 6 + ["go"] * 4,
                "ocr_tokens": ["STOP"]},
    "vizwiz": {"question_id": "VizWiz_val_{n}.jpg", "answers": ["unanswerable"] * 8 + ["red"] * 2,
               "category": "unanswerable"},
}  # fmt: skip
TEXTS = ("", "yes", "No.", "B", "12 %", "unanswerable", "\x00", "9" * 400, "-", "1e999")


def _picture() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(stream, "PNG")
    return stream.getvalue()


def _rows(name: str, image: Any) -> list[dict[str, Any]]:
    rows = []
    for n in range(3):
        row = {"question": f"What is {n}?", "image": image, **COMMON[name]}
        rows.append({k: v.format(n=n) if isinstance(v, str) else v for k, v in row.items()})
    return rows


def _seeds() -> dict[str, str]:
    import pandas

    found = {}
    in_base64 = base64.b64encode(_picture()).decode()
    as_bytes = {"bytes": _picture().decode("latin-1"), "path": "x.png"}
    for name in COMMON:
        image = [as_bytes] if name == "seedbench" else as_bytes
        found[f"{name}.json"] = json.dumps(_rows(name, image))
        stream = io.StringIO()
        pandas.DataFrame(_rows(name, in_base64)).to_csv(stream, sep="\t", index=False)
        found[f"{name}.tsv"] = stream.getvalue()
    return found


def _run(name: str, content: bytes) -> None:
    import numpy as np

    from paretoprune.registry import tasks
    from paretoprune.tasks.scoring import Generation
    from paretoprune.tasks.tables import Records, Table

    kind = tasks.load(Path(name).stem)
    with a_folder() as folder:
        if name.endswith(".json"):
            rows = _decoded(content)
            if rows is None:
                return
            columns = tuple(dict.fromkeys(key for row in rows for key in row))
            task = kind(Table("data", columns, Records(rows), folder))
        else:
            (folder / name).write_bytes(content)
            task = kind(str(folder / name))
        judged = kind(task.table, scoring="generation")
        for one in (task, judged):
            for part in ("search", "heldout"):
                samples = _part(one, part)
                for sample in samples:
                    if isinstance(sample.scoring, Generation):
                        for text in (*TEXTS, sample.answer or ""):
                            assert 0 <= sample.scoring.judge(text) <= 1
                if samples:
                    figures = one.metrics(samples, np.ones(len(samples), dtype=np.float32))
                    assert all(np.isfinite(list(figures.values())))


def _part(task: Any, part: str) -> list[Any]:
    """All samples of a part; none where the data have none of it."""
    there = task.available(part)
    found: list[Any] = task(part, there) if there else []
    return found


def _decoded(content: bytes) -> list[dict[str, Any]] | None:
    """Rows, their pictures as bytes; None for what no reader of JSON or Parquet hands on."""
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(rows, list) or not rows:
        return None
    rows = [row for row in rows if isinstance(row, dict)]
    return [_with_bytes(row) for row in rows] or None


def _with_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: one.encode("latin-1", "replace")
        if key == "bytes" and isinstance(one, str)
        else _with_bytes(one)
        for key, one in value.items()
    }


TARGET = Target(_seeds, _run)
