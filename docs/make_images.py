"""Draws the example pictures of docs/minivqa.md: one per question family, held-out split.

Usage: `python docs/make_images.py`.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from paretoprune.tasks.base import Sample
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.tasks.minivqa.questions import FAMILIES

FOLDER = Path(__file__).resolve().parent / "images" / "minivqa"


def examples() -> list[Sample]:
    """The first sample of every family: families take turns, so these are the first eight."""
    return load_split("heldout", len(FAMILIES))


def main() -> None:
    """Write one PNG per family, at the size the model sees, and print question and answer."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for sample in examples():
        Image.fromarray(sample.image).save(FOLDER / f"{sample.family}.png", optimize=True)
        print(f"{sample.family:10} {sample.prompt}  ->  {sample.answer}")


if __name__ == "__main__":
    main()
