"""What a study's bookkeeping costs: time per tell over ten thousand evaluations, and its share.

The evaluations are free, so that nothing but ask, tell and log is timed.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from paretoprune.comparison.log import StudyLog
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.core.space import Float, SearchSpace
from paretoprune.core.study import DEFAULT_BATCH

EVALUATIONS = 10_000
BLOCK = 500
ALLOWED = 2.0
"""Most that the slowest block may take over the fastest one's time."""


class Free(Problem):
    """Costs nothing to evaluate, and has per-sample outcomes to store."""

    name = "free"

    def __init__(self, samples: int = 160) -> None:
        knobs = [Float(f"keep_{i}", 0.0, 1.0, step=1 / 18) for i in range(7)]
        self.spaces = {"free": SearchSpace(tuple(knobs))}
        self.objectives = (
            Objective("score", "max", "", reference=0.0, best=1.0),
            Objective("compute", "min", "", reference=1.0, best=0.0),
        )
        self._samples = samples

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Outcomes drawn from the candidate alone."""
        return [self._one(c) for c in candidates]

    def _one(self, candidate: Candidate) -> Evaluation:
        unit = self.space().encode(candidate.values)
        rng = np.random.default_rng((unit * 1e6).astype(np.uint64))
        outcomes = (rng.random(self._samples) < unit.mean()).astype(np.float32)
        values = {"score": float(outcomes.mean()), "compute": float(unit.mean())}
        return Evaluation(candidate, values, cost=1.0, outcomes=outcomes)


def run(
    console: Console,
    *,
    out: Path | None = None,
    evaluations: int = EVALUATIONS,
    **_: object,
) -> dict[str, Any]:
    """Log `evaluations` evaluations, print the time of each block, and return all figures."""
    problem = Free()
    rng = np.random.default_rng(0)
    space = problem.space()
    blocks: list[float] = []
    with tempfile.TemporaryDirectory() as folder, StudyLog(Path(folder)) as log:
        recorder = log.study("overhead", problem, {})
        for start in track(range(0, evaluations, BLOCK), description="logging", console=console):
            count = min(BLOCK, evaluations - start)
            batch = problem.evaluate([problem.candidate(space.sample(rng)) for _ in range(count)])
            started = time.perf_counter()
            for i in range(0, count, DEFAULT_BATCH):
                part = batch[i : i + DEFAULT_BATCH]
                asked = [evaluation.candidate for evaluation in part]
                recorder.asked(asked, ask=(start + i) // DEFAULT_BATCH, spent=float(start + i))
                recorder.told(part, seconds=0.0, evaluating=0.0)
            blocks.append((time.perf_counter() - started) / count * 1e3)
    edge = max(1, len(blocks) // 5)
    growth = float(np.median(blocks[-edge:]) / np.median(blocks[:edge]))
    result = {"evaluations": evaluations, "ms_per_tell": blocks, "growth": growth}
    table = Table(title=f"Study log, {evaluations} evaluations in blocks of {BLOCK}")
    table.add_column("evaluations", justify="right")
    table.add_column("ms per tell", justify="right")
    for i in np.unique(np.linspace(0, len(blocks) - 1, 6).astype(int)):
        table.add_row(f"{i * BLOCK} to {min(evaluations, (i + 1) * BLOCK)}", f"{blocks[i]:.2f}")
    console.print(table)
    verdict = "within" if growth <= ALLOWED else "above"
    console.print(f"last fifth over first: {growth:.2f}, {verdict} the {ALLOWED:g} that is allowed")
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result
