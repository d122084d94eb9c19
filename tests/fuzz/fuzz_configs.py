"""Checkpoint folders of strangers: any of the JSON files that say what a model is."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from target import Target, a_folder

MODELS = ("mini-llava", "mini-qwen2.5-vl", "mini-internvl")
FILES = ("config.json", "preprocessor_config.json", "tokenizer_config.json")


@cache
def _folder(model: str) -> Path:
    from paretoprune.zoo.catalogue import checkpoint_directory

    found = checkpoint_directory(model)
    assert found is not None
    return Path(found)


def _seeds() -> dict[str, str]:
    return {
        f"{model}!{name}": (_folder(model) / name).read_text(encoding="utf-8")
        for model in MODELS
        for name in FILES
        if (_folder(model) / name).exists()
    } | {f"{m}!paretoprune.json": BESIDE for m in MODELS[:1]}


BESIDE = '{"format": "paretoprune-schedule/1", "pruner": "fastv", "keep": [1,1,1,0.5,0.5,0.5,0,0]}'


def _run(name: str, content: bytes) -> None:
    import numpy as np

    from paretoprune.deploy.views import load

    model, _, file = name.rpartition("!")
    name = file.removesuffix(".json") + ".json"
    with a_folder() as folder:
        for one in _folder(model).iterdir():
            if one.name != name:
                shutil.copy(one, folder / one.name)
        (folder / name).write_bytes(content)
        found = load(str(folder))
        if found.adapter.spec.layers <= 16:
            found.answer([np.zeros((24, 24, 3), np.uint8)], ["is there"], max_new_tokens=1)


TARGET = Target(_seeds, _run)
