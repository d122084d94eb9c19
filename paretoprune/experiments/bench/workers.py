"""Throughput of token-pruning evaluations on Ray workers of this machine, against this process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.compression.workers import RayPlacement
from paretoprune.core.problem import Candidate

COUNTS = (1, 2)
BATCH = 8


def run(
    console: Console,
    *,
    model: str = "mini-llava",
    search_size: int | None = None,
    repeats: int = 3,
    device: str = "cpu",
    workers: int | None = None,
    out: Path | None = None,
    **_: object,
) -> dict[str, Any]:
    """Evaluate the same asks here and on 1, 2 (or up to `workers`) workers; print evaluations/s.

    The median of `repeats` asks of eight configurations counts. Raises `RuntimeError` where workers
    find anything else than this process.
    """
    options: dict[str, Any] = {
        "search_size": search_size or 128, "heldout_size": 0, "batch": 16, "device": device,
    }  # fmt: skip
    here = load_problem(model, **options)
    rng = np.random.default_rng(0)
    asks = [
        [here.candidate(here.space().sample(rng)) for _ in range(BATCH)] for _ in range(repeats + 1)
    ]
    rows = [{"where": "in process", "start_s": 0.0, **_timed(here, asks)}]
    found = [[np.asarray(e.outcomes) for e in here.evaluate(ask)] for ask in asks]
    for count in sorted({*(n for n in COUNTS if n <= (workers or 2)), workers or 2}):
        with RayPlacement(count) as placement:
            started = time.perf_counter()
            there = load_problem(model, **options, executor=placement)
            seconds = time.perf_counter() - started
            figures = _timed(there, asks)
            again = [[np.asarray(e.outcomes) for e in there.evaluate(ask)] for ask in asks]
            if not all(
                np.array_equal(a, b)
                for one, other in zip(found, again, strict=True)
                for a, b in zip(one, other, strict=True)
            ):
                raise RuntimeError("workers do not find what this process finds")
            rows.append({"where": f"{count} workers", "start_s": seconds, **figures})
    table = Table(title=f"{model}, {options['search_size']} samples, asks of {BATCH}")
    for head in ("where", "start s", "s/ask", "evaluations/s"):
        table.add_column(head, justify="left" if head == "where" else "right")
    for row in rows:
        table.add_row(
            row["where"], f"{row['start_s']:.1f}", f"{row['ask_s']:.2f}", f"{row['per_s']:.1f}"
        )
    console.print(table)
    if out is not None:
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return {"rows": rows}


def _timed(problem: Compression, asks: list[list[Candidate]]) -> dict[str, Any]:
    """Median seconds per ask; the first warms up."""
    seconds = []
    for ask in asks:
        started = time.perf_counter()
        problem.evaluate(ask)
        seconds.append(time.perf_counter() - started)
    median = float(np.median(seconds[1:]))
    return {"ask_s": median, "per_s": BATCH / median}
