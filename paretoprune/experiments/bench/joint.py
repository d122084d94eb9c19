"""Does searching tokens, weights and cache together pay? The joint front against the separate ones.

One problem, four spaces: keep schedules alone, weight bits alone, KV-cache bits alone, and all
three. The same strategy searches each at the same search cost; the cache alone has so few points
that it is searched exhaustively. Everything is logged: each model's results folder holds
`study.db`, from which the fronts can be recomputed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from paretoprune.comparison.compare import Progress as Reached
from paretoprune.comparison.compare import compare
from paretoprune.comparison.log import StudyLog
from paretoprune.comparison.results import Standing, Summary, write_results
from paretoprune.compression.load import load_problem
from paretoprune.errors import InvalidValueError
from paretoprune.experiments.bench.versions import machine, told
from paretoprune.zoo.catalogue import names

STRATEGY = "nsga2"
SPACES = ("joint", "tokens", "weights", "cache")
BUDGET = 20.0
SEARCH_SIZE = 64
WITHIN = (0.3, 0.4, 0.5, 0.7)
"""Shares of the dense memory at which the best configurations are compared."""


def run(
    console: Console,
    *,
    model: str = "mini-llava",
    search_size: int | None = None,
    heldout_size: int = 256,
    repeats: int = 3,
    device: str = "cpu",
    out: Path | None = None,
    budget: float = BUDGET,
    **_: Any,
) -> dict[str, Any]:
    """Search the four spaces of each model with `repeats` seeds; print and return the figures.

    `model` may be several with commas, or `all` embedded ones. Results folders are written beside
    `out`, named as it with the model's name.
    """
    chosen = names() if model == "all" else [name.strip() for name in model.split(",")]
    found = machine(device)
    console.print(told(found))
    figures = {}
    for name in chosen:
        folder = _folder(out, name)
        with console.status(f"loading {name}"):
            problem = load_problem(
                name, compress="tokens,weight_bits,kv_bits", device=device,
                search_size=search_size or SEARCH_SIZE, heldout_size=heldout_size,
            )  # fmt: skip
        strategies = [
            f"{STRATEGY if space != 'cache' else 'grid'}:space={space}" for space in SPACES
        ]
        with StudyLog(folder) as log, Progress(console=console, transient=True) as bar:
            line = bar.add_task(name, total=None)

            def observe(reached: Reached, bar: Progress = bar, line: TaskID = line) -> None:
                done = reached.done + min(1.0, reached.spent / reached.budget)
                bar.update(
                    line, completed=done, total=reached.total,
                    description=f"{reached.label} seed {reached.seed} ({reached.phase})",
                )  # fmt: skip

            summary = compare(
                problem, strategies, budget=budget, seeds=list(range(repeats)), log=log,
                observe=observe, settings={"problem": "joint", "model": name},
            ).summary  # fmt: skip
        write_results(folder, summary)
        figures[name] = figures_of(summary)
        _print(console, name, summary, figures[name], folder)
    result = {"machine": found, "budget": budget, "models": figures}
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _folder(out: Path | None, model: str) -> Path:
    folder = Path("paretoprune-joint") if out is None else out.with_suffix("")
    folder = folder.with_name(f"{folder.name}-{model.replace('/', '_')}")
    if folder.exists():
        raise InvalidValueError(f"results folder {folder} exists; name another --out")
    return folder


def figures_of(summary: Summary) -> dict[str, Any]:
    """Per space: held-out area with its interval, hypervolume, held-out score within bounds.

    A bound is a share of the dense memory; the configuration is the one that the search split
    picks within it, of the seed with the best hypervolume.
    """
    memory = next(o for o in summary.objectives if o.name == "memory_bytes")
    found: dict[str, Any] = {"dense_bytes": memory.reference, "least_bytes": memory.best}
    for row in summary.standings:
        found[row.space] = {
            "heldout_area": row.heldout_area,
            "interval": [row.area_low, row.area_high],
            "hypervolume": row.hypervolume,
            "evaluations": row.evaluations,
            "separated_from_best": row.separated,
            "score_within": {
                f"{share:g}": _within(summary, row, share * memory.reference) for share in WITHIN
            },
        }
    return found


def _within(summary: Summary, row: Standing, most: float) -> float | None:
    """Held-out score of what the search split picks within `most` bytes; None for nothing."""
    studies = [s for s in summary.studies if s.label == row.label]
    best = max(studies, key=lambda s: s.hypervolume)
    points = [
        p
        for p in summary.front
        if (p.label, p.seed) == (best.label, best.seed) and p.search["memory_bytes"] <= most
    ]
    if not points:
        return None
    pick = max(points, key=lambda p: (p.search["score"], -p.search["memory_bytes"]))
    return None if pick.heldout is None else pick.heldout["score"]


def _print(
    console: Console, name: str, summary: Summary, figures: dict[str, Any], folder: Path
) -> None:
    table = Table(title=f"{name}: {figures['dense_bytes'] / 1e6:.2f} MB dense in 16 bits")
    table.add_column("searched")
    table.add_column("held-out area [95 %]", justify="right")
    table.add_column("HV", justify="right")
    for share in WITHIN:
        table.add_column(f"q ≤ {share:.0%}", justify="right")
    for row in summary.standings:
        one = figures[row.space]
        low, high = one["interval"]
        area = "-" if low is None else f"{one['heldout_area']:.3f} [{low:.3f}, {high:.3f}]"
        scores = (one["score_within"][f"{share:g}"] for share in WITHIN)
        table.add_row(
            row.space, area, f"{one['hypervolume']:.3f}",
            *("-" if score is None else f"{score:.3f}" for score in scores),
        )  # fmt: skip
    console.print(table)
    console.print(
        "q: held-out score of the best configuration within that share of the dense memory. "
        f"Everything is in {folder}."
    )
