"""Which mini-models are embedded, and where their checkpoint directories lie."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


def names() -> list[str]:
    """Names of the embedded mini-models."""
    return sorted(p.parent.name for p in WEIGHTS.glob("*/model.safetensors"))


def checkpoint_directory(name: str) -> Path | None:
    """Checkpoint directory of an embedded mini-model; None for any other name."""
    return WEIGHTS / name if name in names() else None
