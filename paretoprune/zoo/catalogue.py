"""The embedded mini-models: names, paths and accuracies."""

from __future__ import annotations

import json
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
ACCURACIES = "accuracies.json"
DEFAULT_TASK = "minivqa"


def names() -> list[str]:
    """Names of the embedded mini-models."""
    return sorted(p.parent.name for p in WEIGHTS.glob("*/model.safetensors"))


def checkpoint_directory(name: str) -> Path | None:
    """Checkpoint directory of an embedded mini-model; None for any other name."""
    return WEIGHTS / name if name in names() else None


def task_of(model: str) -> str | None:
    """The task that an embedded mini-model was trained on; None for any other name."""
    folder = checkpoint_directory(model)
    if folder is None or not (folder / ACCURACIES).exists():
        return None
    accuracies = json.loads((folder / ACCURACIES).read_text(encoding="utf-8"))
    return str(accuracies.get("task", DEFAULT_TASK))


def default_task(model: str) -> str:
    """The task of an embedded mini-model, and MiniVQA for any other."""
    return task_of(model) or DEFAULT_TASK


def describe() -> list[str]:
    """One line per mini-model: name, size on disk, held-out exact match overall and at worst."""
    lines = []
    for name in names():
        folder = WEIGHTS / name
        size = (folder / "model.safetensors").stat().st_size / 1e6
        line = f"{name}  {size:.1f} MB"
        if (folder / ACCURACIES).exists():
            accuracies = json.loads((folder / ACCURACIES).read_text(encoding="utf-8"))
            worst = min(accuracies["families"], key=accuracies["families"].get)
            line += (
                f"  held-out exact match {accuracies['overall']:.3f} on "
                f"{accuracies['samples']} samples (lowest: {worst} "
                f"{accuracies['families'][worst]:.3f})"
            )
        lines.append(line)
    return lines
