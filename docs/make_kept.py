"""Draws the picture of docs/howto/see-what-a-schedule-keeps.md, by the command shown there.

Usage: `python docs/make_kept.py`.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from paretoprune import cli

FILE = Path(__file__).resolve().parent / "images" / "kept.png"
WORDS = (
    "show", "2x1,2x0.5,4x0.125", "--model", "mini-qwen2.5-vl", "--sample", "11",
    "--pruner", "fastv", "--pruner", "tome", "--pruner", "uniform",
)  # fmt: skip


def main() -> None:
    """Run the command, and store the picture with fewer colours: it is half as large."""
    cli.app([*WORDS, "--out", str(FILE)], standalone_mode=False)
    Image.open(FILE).convert("RGB").quantize(256).save(FILE, optimize=True)


if __name__ == "__main__":
    main()
