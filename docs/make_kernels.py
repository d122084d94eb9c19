"""Draws docs/images/kernels/NAME.png: a few schedules of every built-in kernel.

Usage: `python docs/make_kernels.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from paretoprune.registry import kernels
from paretoprune.report.palette import COLOURS
from paretoprune.schedules.kernels import Kernel

FOLDER = Path(__file__).resolve().parent / "images" / "kernels"
LAYERS, LEVELS, FIRST = 16, 18, 1
EXAMPLES: dict[str, list[list[float]]] = {
    "single-step": [[3, 0.5], [6, 0.22], [10, 0.06]],
    "multi-step": [[3, 8, 0.6, 0.2], [2, 5, 0.4, 0.1], [6, 12, 0.8, 0.0]],
    "three-step": [[4, 8, 12, 0.5, 0.25, 0.125], [2, 4, 7, 0.7, 0.35, 0.05]],
    "four-step": [[3, 6, 9, 12, 0.8, 0.6, 0.4, 0.2], [2, 4, 6, 8, 0.5, 0.25, 0.125, 0.0]],
    "linear": [[1, 15, 0.3], [4, 8, 0.1], [2, 12, 0.6]],
    "cosine": [[1, 15, 0.3], [4, 8, 0.1], [2, 12, 0.6]],
    "sigmoid": [[4, 1.0, 0.2], [8, 4.0, 0.2], [8, 12.0, 0.0]],
    "exponential": [[1, 1.0, 0.1], [3, 3.0, 0.0], [6, 0.5, 0.3]],
    "free": [[0.9, 0.9, 0.9, 0.7, 0.7, 0.7, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.0, 0.0]],
}
"""Parameters in knob order, per kernel."""


def draw(kernel: Kernel, rows: list[list[float]]) -> Figure:
    """Exact schedules as bars' tops (steps), smooth forms as lines."""
    figure = Figure(figsize=(6.4, 2.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    layer = np.arange(LAYERS)
    for row, colour in zip(rows, COLOURS, strict=False):
        exact = kernel.schedule(kernel.values(row)).ratios
        smooth = kernel.ratios(torch.tensor(row, dtype=torch.float64)).numpy()
        told = ", ".join(f"{k} {v:.2g}" for k, v in kernel.values(row).items() if len(row) < 9)
        axes.step(layer, exact, where="mid", color=colour, linewidth=2, label=told or "free")
        axes.plot(layer, smooth, "o", color=colour, markersize=4)
    axes.set(xlabel="decoder layer", ylabel="keep ratio", ylim=(-0.03, 1.05), xlim=(-0.5, 15.5))
    axes.legend(loc="upper right", fontsize=7, framealpha=0.9)
    return figure


def main() -> None:
    """Write one picture per kernel."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, rows in EXAMPLES.items():
        kernel: Kernel = kernels.load(name)(LAYERS, LEVELS, FIRST)
        draw(kernel, rows).savefig(FOLDER / f"{name}.png")
        print(f"{name}: {len(rows)} schedules")


if __name__ == "__main__":
    main()
