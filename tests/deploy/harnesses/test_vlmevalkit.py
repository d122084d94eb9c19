"""The model class for VLMEvalKit, behind a stand-in for that package's base class.

VLMEvalKit is on no package index under its own name, and needs a torchvision that fits torch to be
imported. The stand-in is what a model meets of it: `generate` hands messages of typed parts to
`generate_inner`, and `set_dump_image` is called before the first.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from paretoprune.deploy.harnesses.answering import load_answering
from paretoprune.errors import BrokenFileError
from paretoprune.tasks.minivqa.dataset import load_split

KEEP = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.0, 0.0]
SAMPLES = load_split("heldout", 4)


class BaseModel:
    INTERLEAVE = False
    allowed_types = ["text", "image", "video"]

    def __init__(self) -> None:
        self.dump_image_func = None

    def set_dump_image(self, dump: Any) -> None:
        self.dump_image_func = dump

    def generate(self, message: Any, dataset: str | None = None) -> str:
        parts = [{"type": "text", "value": message}] if isinstance(message, str) else message
        assert all(part["type"] in self.allowed_types for part in parts)
        return self.generate_inner(parts, dataset)


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    modules = {name: types.ModuleType(name) for name in ("vlmeval", "vlmeval.vlm")}
    modules["vlmeval.vlm.base"] = types.ModuleType("vlmeval.vlm.base")
    modules["vlmeval.vlm.base"].BaseModel = BaseModel
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    ours = "paretoprune.deploy.harnesses.vlmevalkit"
    monkeypatch.delitem(sys.modules, ours, raising=False)
    yield importlib.import_module(ours).Paretoprune
    sys.modules.pop(ours, None)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "best.json"
    path.write_text(
        json.dumps({"format": "paretoprune-schedule/1", "pruner": "fastv", "keep": KEEP})
    )
    return str(path)


def asked(folder: Path, number: int) -> list[dict[str, str]]:
    path = folder / f"{number}.png"
    Image.fromarray(SAMPLES[number].image).save(path)
    return [
        {"type": "image", "value": str(path)},
        {"type": "text", "value": SAMPLES[number].prompt},
    ]


def test_a_registered_model_answers_as_the_pruned_one(kind: Any, file: str, tmp_path: Path) -> None:
    supported = {"mini-pruned": partial(kind, "mini-llava", file, max_new_tokens=4)}
    model = supported["mini-pruned"]()
    model.set_dump_image(None)
    said = [model.generate(asked(tmp_path, n), dataset="mini") for n in range(4)]
    answering = load_answering("mini-llava", schedule=file)
    ours = answering.generate(
        [[s.image] for s in SAMPLES], [s.prompt for s in SAMPLES], new_tokens=4
    )
    assert said == ours


def test_text_around_a_picture_is_one_prompt(kind: Any, tmp_path: Path) -> None:
    model = kind("mini-llava", max_new_tokens=2)
    picture, text = asked(tmp_path, 0)
    words = text["value"].split(" ", 1)
    parts = [{"type": "text", "value": words[0]}, picture, {"type": "text", "value": words[1]}]
    whole = [picture, {"type": "text", "value": "\n".join(words)}]
    assert model.generate(parts) == model.generate(whole)


def test_a_broken_picture_is_said(kind: Any, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no picture")
    model = kind("mini-llava", max_new_tokens=2)
    with pytest.raises(BrokenFileError, match=r"no\.png"):
        model.generate([{"type": "image", "value": str(tmp_path / "no.png")}])
