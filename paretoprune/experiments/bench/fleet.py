"""A search on many workers with fake model time: what the driver, the wire and the log can carry.

Everything is real but the model: the study's loop, messages, answers, the crew and the log. Workers
are threads that sleep as long as a model would take on their shard, drawn anew for each message
(log-normal, `JITTER`). One dies half-way. Threads of one process share its interpreter with the
driver, so a fleet of real machines has more to spare than this one.

The plan: an ask takes as long as its slowest shard, or as the driver needs for its own part, which
is measured first with a model that takes no time.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table as Drawn

from paretoprune.comparison.log import StudyLog
from paretoprune.compression.configuration import Configuration
from paretoprune.compression.population import tabulate
from paretoprune.compression.remote import Remote
from paretoprune.compression.workers import Crew
from paretoprune.compression.workers.messages import decode, encode
from paretoprune.compression.workers.threads import Answering, ThreadTransport
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.core.space import Float, SearchSpace
from paretoprune.core.study import run_study
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.registry import strategies

WORKERS = 100
SAMPLES = 3200
LAYERS = 32
MODEL_MS = 15.0
"""Time of one schedule on one sample: half a dense prefill of a 7B model on one GPU of today."""
BATCH = 8
ASKS = 8
JITTER = 0.05
GROUP = 16
"""Samples of a batch: what is dealt to workers."""


@dataclass(frozen=True)
class Run:
    """One simulated search.

    `planned_s` and `seconds` are per ask, `busy` the share of all workers' time that the model ran;
    bytes and rows are per evaluation, `transactions` of the log and messages per second.
    """

    strategy: str
    workers: int
    asks: int
    evaluations: int
    planned_s: float
    seconds: float
    busy: float
    sent_bytes: float
    received_bytes: float
    messages_per_s: float
    transactions_per_s: float
    rows: float
    deaths: int


class Sleeper:
    """Makes workers whose model time passes in sleep; `model_ms` 0 for none. Counts it."""

    def __init__(self, model_ms: float) -> None:
        self.model_ms = model_ms
        self.slept = 0.0
        self._made = 0
        self._lock = threading.Lock()

    def __call__(self) -> Answering:
        """Make one worker."""
        self._made += 1
        rng = np.random.default_rng(self._made)

        def answer(message: bytes) -> bytes:
            said, arrays = decode(message)
            count = sum(map(len, said["groups"]))
            if said["do"] == "measure":
                tokens = np.full(count, 600, dtype=np.int64)
                references = np.stack([np.ones(count), np.zeros(count)]).astype(np.float32)
                counts = {"visual": tokens, "text": tokens, "pictures": np.ones_like(tokens)}
                return encode({}, {**counts, "outcomes": references})
            ratios = arrays["ratios"]
            seconds = self.model_ms / 1e3 * count * len(ratios) * rng.lognormal(0.0, JITTER)
            if self.model_ms:
                time.sleep(seconds)
                with self._lock:
                    self.slept += seconds
            right = rng.random((len(ratios), count)) < ratios.mean(axis=1)[:, None]
            score = right.astype(np.float32)
            left_out = np.zeros(score.shape, dtype=np.int32)
            return encode(
                {"flops": 1.0}, {"score": score, "divergence": 1 - score, "left_out": left_out}
            )

        return answer


class Fleet(Problem):
    """Keep ratios of a deep model, scored by a crew; its schedules and answers have true sizes."""

    name = "fleet"
    works_ahead = True

    def __init__(self, crew: Crew, samples: int) -> None:
        knobs = [Float(f"keep_{i}", 0.0, 1.0, step=1 / 72) for i in range(LAYERS)]
        self.spaces = {"fleet": SearchSpace(tuple(knobs))}
        self.objectives = (
            Objective("score", "max", "", reference=0.0, best=1.0),
            Objective("compute", "min", "", reference=1.0, best=0.0),
        )
        self._pruner = FastV()
        groups = [list(range(i, min(i + GROUP, samples))) for i in range(0, samples, GROUP)]
        self._scoring = Remote(crew).split("search", groups, samples, [self._pruner])
        self._samples = samples

    def _table(self, candidates: Sequence[Candidate]) -> tuple[Any, NDArray[np.bool_]]:
        each = [
            Configuration(self._pruner, np.asarray([float(v) for v in c.values.values()]))
            for c in candidates
        ]
        return tabulate(each, self._samples), np.ones(self._samples, dtype=np.bool_)

    def begin(self, candidates: Sequence[Candidate]) -> None:
        """Send them ahead."""
        self._scoring.begin(*self._table(candidates))

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Score on all workers."""
        table, chosen = self._table(candidates)
        found = self._scoring.score(table, chosen)
        rows = found.score[table.of[:, 0]]
        return [
            Evaluation(
                candidate,
                {
                    "score": float(outcomes.mean()),
                    "compute": float(np.mean([float(v) for v in candidate.values.values()])),
                },
                cost=1.0,
                outcomes=outcomes,
            )
            for candidate, outcomes in zip(candidates, rows, strict=True)
        ]


def run(
    console: Console,
    *,
    out: Path | None = None,
    storage: str | None = None,
    workers: int | None = None,
    model_ms: float = MODEL_MS,
    samples: int = SAMPLES,
    asks: int = ASKS,
    strategy: Sequence[str] | None = None,
    **_: object,
) -> dict[str, Any]:
    """Simulate searches on `workers` workers, print plan and outcome, return all figures.

    `strategy` names strategies; by default one that works ahead (random) and one that waits for
    each ask (nsga2). `storage` is where the log lies.
    """
    size = workers or WORKERS
    names = strategy or ("random", "nsga2")
    for name in names:
        strategies.load(name)  # an unknown one is refused before anything runs
    with ExitStack() as stack:
        if storage == "postgresql":
            from paretoprune.testing.postgresql import PostgresServer

            storage = stack.enter_context(PostgresServer()).url()
        own = [
            min(
                (_simulate("nsga2", count, samples, 0.0, asks, storage, 0.0) for _ in range(3)),
                key=lambda one: one.seconds,  # the first one loads things, too
            )
            for count in sorted({max(1, size // 10), size})
        ]
        driver = own[-1].seconds
        alone = model_ms / 1e3 * samples * BATCH
        found = [_simulate(name, size, samples, model_ms, asks, storage, driver) for name in names]
    figures = {
        "workers": size,
        "samples": samples,
        "model_ms": model_ms,
        "driver_s": {run.workers: run.seconds for run in own},
        "half_busy_workers": _half_busy(driver, size, alone),
        "runs": [asdict(run) for run in found],
    }
    _print(console, found, own, figures)
    if out is not None:
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def _simulate(
    name: str,
    workers: int,
    samples: int,
    model_ms: float,
    asks: int,
    storage: str | None,
    driver: float,
) -> Run:
    sleeper = Sleeper(model_ms)
    transport = ThreadTransport(sleeper)
    with tempfile.TemporaryDirectory() as folder, Crew(transport, workers) as crew:
        problem = Fleet(crew, samples)
        crew.traffic = type(crew.traffic)()
        dying = None
        alone = model_ms / 1e3 * samples * BATCH
        if model_ms:
            victim = transport.workers[0]
            dying = threading.Timer(asks / 2 * alone / workers, transport.kill, (victim,))
            dying.start()
        with StudyLog(Path(folder), storage=storage) as log:
            recorder = log.study("fleet", problem, {})
            started = time.perf_counter()
            try:
                result = run_study(
                    problem, strategies.load(name)(), budget=float(BATCH * asks), batch=BATCH,
                    recorder=recorder,
                )  # fmt: skip
            finally:
                if dying is not None:
                    dying.cancel()
            seconds = time.perf_counter() - started
        count = len(result.evaluations)
        done = max(result.asks)
        slowest = _slowest(alone, workers) if model_ms else 0.0
        ahead = not strategies.load(name).learns
        traffic = crew.traffic
        return Run(
            strategy=name,
            workers=workers,
            asks=done,
            evaluations=count,
            planned_s=max(alone / workers, driver) if ahead else slowest + driver,
            seconds=seconds / done,
            busy=sleeper.slept / (seconds * workers),
            sent_bytes=traffic.sent / count,
            received_bytes=traffic.received / count,
            messages_per_s=2 * traffic.messages / seconds,
            transactions_per_s=2 * done / seconds,
            rows=LAYERS + 1 + 2 + 11,
            deaths=traffic.deaths,
        )


def _slowest(alone: float, workers: int) -> float:
    """Expected time of the slowest of `workers` shards of equal size."""
    draws = np.random.default_rng(0).lognormal(0.0, JITTER, size=(1000, workers))
    return float(draws.max(axis=1).mean() * alone / workers)


def _half_busy(driver: float, workers: int, alone: float) -> int:
    """Workers at which the driver's part of an ask takes as long as the model's.

    All of the driver's part is taken to grow with the workers, which is more than it does.
    """
    # alone / n = driver / workers * n
    return int(np.sqrt(alone * workers / driver))


def _print(
    console: Console, found: Sequence[Run], own: Sequence[Run], figures: dict[str, Any]
) -> None:
    table = Drawn(
        title=f"{figures['workers']} workers, {figures['samples']} samples, "
        f"{figures['model_ms']:g} ms of model per schedule and sample"
    )
    table.add_column("")
    for one in found:
        table.add_column(one.strategy, justify="right")
    rows = {
        "asks": [str(one.asks) for one in found],
        "seconds per ask, planned": [f"{one.planned_s:.2f}" for one in found],
        "seconds per ask": [f"{one.seconds:.2f}" for one in found],
        "model busy, of all workers' time": [f"{one.busy:.0%}" for one in found],
        "bytes sent per evaluation": [f"{one.sent_bytes:,.0f}" for one in found],
        "bytes back per evaluation": [f"{one.received_bytes:,.0f}" for one in found],
        "messages per second": [f"{one.messages_per_s:.0f}" for one in found],
        "log transactions per second": [f"{one.transactions_per_s:.2f}" for one in found],
        "log rows per evaluation": [str(one.rows) for one in found],
        "workers that died": [str(one.deaths) for one in found],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(table)
    for one in own:
        console.print(
            f"The driver's own part of an ask with {one.workers} workers: "
            f"{one.seconds * 1e3:.0f} ms ({one.messages_per_s:.0f} messages a second at most)."
        )
    console.print(
        "Grown in proportion, it would take as long as the model's part with "
        f"{figures['half_busy_workers']} workers."
    )
