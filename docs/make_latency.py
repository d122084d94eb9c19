"""Draws docs/images/latency.png and writes its table, from what a run of the benchmark found.

paretoprune bench latency --out docs/images/latency.json && python docs/make_latency.py
"""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

IMAGES = Path(__file__).resolve().parent / "images"


def main() -> None:
    """Read the JSON file, write the picture and the table."""
    found = json.loads((IMAGES / "latency.json").read_text(encoding="utf-8"))
    flops, times = found["flop_ratio"], found["prefill_ms"]
    spread, predicted = found["spread_ms"], found["predicted_ms"]
    dense = times[0]
    figure = Figure(figsize=(6.4, 4.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="time = FLOPs")
    axes.errorbar(
        flops, [t / dense for t in times], yerr=[s / dense for s in spread], fmt="o", capsize=3,
        color="#3b5bdb", label="measured (median, spread)",
    )  # fmt: skip
    axes.plot(flops, [p / dense for p in predicted], "x", color="#e8590c", label="latency model")
    axes.set(
        xlabel="FLOPs of the decoder's prefill, relative to dense",
        ylabel="prefill latency, relative to dense",
        xlim=(0, 1.05),
        ylim=(0, None),
    )
    axes.legend(loc="lower right")
    figure.savefig(IMAGES / "latency.png")
    model = found["latency_model"]
    rows = [
        f"| {f:.0%} | {t:.2f} ± {s:.2f} | {t / dense:.0%} | {p:.2f} |"
        for f, t, s, p in zip(flops, times, spread, predicted, strict=True)
    ]
    head = ["| FLOPs | prefill, ms | of dense | latency model, ms |", "|---:|---:|---:|---:|"]
    machine = found["machine"]
    note = (
        f"Medians and half the distance between quartiles; {machine['device']}, torch "
        f"{machine['torch']}, transformers {machine['transformers']}. The model was fitted from "
        f"{model['points']} points; cross-validated error {model['layer_error']:.1%} per layer, "
        f"{model['prefill_error']:.1%} per prefill."
    )
    table = "\n".join([*head, *rows, "", note, ""])
    (IMAGES / "latency-table.txt").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
