"""What the tutorials end with does what it should, beyond running."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory):
    """Names that two files of "Plug in a new VLM" define: a tiny model, and its adapter."""
    spec = importlib.util.spec_from_file_location("tutorial_outputs", ROOT / "docs/make_outputs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    files = module.files((ROOT / "docs/tutorials/plug-in-a-vlm.md").read_text(encoding="utf-8"))
    names: dict = {"__name__": "tutorial"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("tutorial"))
        for file in ("tiny_mistral.py", "mistral3_adapter.py"):
            exec(compile(files[file], file, "exec"), names)
    return names


def test_the_adapter_of_the_tutorial_is_short(tutorial):
    page = (ROOT / "docs/tutorials/plug-in-a-vlm.md").read_text(encoding="utf-8")
    start = page.index("class Mistral3Adapter")
    lines = page[start : page.index("```", start)].strip().splitlines()
    assert len(lines) < 60


def test_the_adapter_of_the_tutorial_writes_pixtrals_lines(tutorial):
    """As PixtralProcessor: a break behind every line but the last, which ends the picture."""
    adapter = tutorial["Mistral3Adapter"](*tutorial["tiny_mistral"]())
    import numpy as np

    picture = np.zeros((48, 32, 3), np.uint8)
    (text,) = adapter.process([picture], [1]).texts
    line = "[IMG]" * 2
    assert text == f"{line}[IMG_BREAK]{line}[IMG_BREAK]{line}[IMG_END]"
