"""Draws docs/images/gradient/*.png: the soft mask, and the curves and gap of a real run.

paretoprune search gradient --budget 120 --reference grid:coarse --out run
python docs/make_gradients.py run
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from paretoprune.comparison.gradients import GradientStudy, read_gradients
from paretoprune.pruning.soft import soft_mask
from paretoprune.report.gradient_plots import drawn_budgets, gap_figure
from paretoprune.report.palette import COLOURS

FOLDER = Path(__file__).resolve().parent / "images" / "gradient"
TOKENS = 48
DPI = 110


def masks() -> Figure:
    """Soft masks over ranks at three widths, and what one more token adds to each."""
    figure = Figure(figsize=(9.0, 3.0), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    ranks = np.arange(TOKENS)
    for tau, colour in zip((0.5, 2.0, 4.0), COLOURS, strict=False):
        count = torch.tensor(15.3, dtype=torch.float64, requires_grad=True)
        mask = soft_mask(count, TOKENS, tau)
        slope = [
            float(torch.autograd.grad(mask[j], count, retain_graph=True)[0]) for j in range(TOKENS)
        ]
        left.plot(ranks, mask.detach(), ".-", color=colour, label=f"tau = {tau:g}")
        right.plot(ranks, slope, ".-", color=colour)
    left.axvline(14.8, color="0.6", linewidth=1, linestyle=":")
    left.set(xlabel="rank of the token", ylabel="mask at n = 15.3")
    right.set(xlabel="rank of the token", ylabel="derivative in n")
    left.legend(frameon=False)
    return figure


def curves(study: GradientStudy) -> Figure:
    """Loss, constraint, multiplier and kept tokens over search cost, one line per budget."""
    figure = Figure(figsize=(9.0, 5.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    cost = [r.spent for r in study.rounds]
    panels[0, 0].plot(cost, [r.divergence for r in study.rounds], ".-", color=COLOURS[0])
    panels[0, 0].set_ylabel("KL to dense, nats")
    for panel, name, title in (
        (panels[0, 1], "constraint", "constraint u - b"),
        (panels[1, 0], "multiplier", "multiplier"),
        (panels[1, 1], "kept", "mean keep ratio"),
    ):
        for place, colour in zip(drawn_budgets(len(study.budgets)), COLOURS, strict=False):
            values = [getattr(r, name)[place] for r in study.rounds]
            panel.plot(cost, values, ".-", color=colour, label=f"budget {study.budgets[place]:.2f}")
        panel.set_ylabel(title)
    panels[0, 1].axhline(0, color="0.6", linewidth=1)
    for panel in panels[1]:
        panel.set_xlabel("search cost, dense-pass equivalents")
    handles, labels = panels[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def main() -> None:
    """Draw all pictures from the results folder that is named."""
    found = read_gradients(Path(sys.argv[1]))
    if found is None:
        raise SystemExit(f"{sys.argv[1]} holds no gradients.json")
    FOLDER.mkdir(parents=True, exist_ok=True)
    masks().savefig(FOLDER / "mask.png")
    curves(found.studies[0]).savefig(FOLDER / "curves.png")
    gap_figure(found).savefig(FOLDER / "gap.png", dpi=DPI)


if __name__ == "__main__":
    main()
