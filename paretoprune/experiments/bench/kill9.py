"""Kills studies at random moments, over all strategies, and compares what is left with the whole.

For each strategy a study is run once, undisturbed, and once more with its process killed (SIGKILL)
at moments drawn uniformly from the undisturbed time, start of the process included; a new process
goes on with it each time. In the end both logs must have the same projection. Problems are toys:
nearly all of the time is the loop's and the log's, which is where a kill could hurt.

With a storage, the logs lie there instead of in files; `postgresql` stands for a throwaway server.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import make_url

from paretoprune.comparison.log import StudyLog, differences, projection
from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.core.study import DEFAULT_BATCH, run_study
from paretoprune.errors import BrokenFileError, UnsupportedError
from paretoprune.experiments.bench import write_figures
from paretoprune.registry import strategies

KILLS = 200
BUDGET = 32.0
PAUSE = 0.002
"""Seconds that an evaluation takes at least, so that some kills fall into one."""
STUDY = "study"
PASSED_ON = ("price", "identity", "relaxation", "probe", "probe_price", "policy_candidate")
"""Methods of its problem that a strategy may call, except evaluations."""


@dataclass(frozen=True)
class Tally:
    """One strategy: evaluations that were lost, that were run again, and differences."""

    strategy: str
    kills: int
    evaluations: int
    lost: int
    doubled: int
    differences: list[str]


class Counted(Problem):
    """A toy problem that writes a line for each finished batch, which outlives the process."""

    def __init__(self, inner: Problem, file: Path) -> None:
        self.inner = inner
        self.name = inner.name
        self.spaces = inner.spaces
        self.objectives = inner.objectives
        self.has_shares = inner.has_shares
        self._file = file
        for method in PASSED_ON:
            if hasattr(inner, method):
                setattr(self, method, getattr(inner, method))

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Evaluate, and count."""
        time.sleep(PAUSE)
        found = self.inner.evaluate(candidates)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(f"{len(candidates)}\n")
        return found

    def evaluated(self) -> int:
        """Candidates evaluated by all processes so far."""
        return sum(map(int, self._file.read_text().split())) if self._file.exists() else 0


def run(
    console: Console,
    *,
    out: Path | None = None,
    kills: int = KILLS,
    first_seed: int = 0,
    strategy: Sequence[str] | None = None,
    storage: str | None = None,
    **_: object,
) -> dict[str, Any]:
    """Kill `kills` processes, print what that did to each strategy's log, return all figures.

    `first_seed` seeds the moments; `strategy` names strategies, all are taken by default; `storage`
    is the logs' address.
    """
    with ExitStack() as stack:
        if storage == "postgresql":
            from paretoprune.testing.postgresql import PostgresServer

            storage = stack.enter_context(PostgresServer()).url()
        return _run(console, out, kills, first_seed, strategy, storage)


def _run(
    console: Console,
    out: Path | None,
    kills: int,
    first_seed: int,
    strategy: Sequence[str] | None,
    storage: str | None,
) -> dict[str, Any]:
    wanted = strategy or strategies.names()
    names = [name for name in wanted if _problem_of(name) is not None]
    rng = np.random.default_rng(first_seed)
    tallies: list[Tally] = []
    with (
        Progress(console=console, transient=True) as bar,
        tempfile.TemporaryDirectory() as folder,
    ):
        line = bar.add_task("killing", total=kills)
        for number, name in enumerate(names):
            share = kills * (number + 1) // len(names) - kills * number // len(names)
            tallies.append(_disturb(name, share, Path(folder), rng, storage))
            found = tallies[-1]
            console.print(
                f"[{number + 1}/{len(names)}] {name}: {found.kills} kills, {found.lost} lost, "
                f"{found.doubled} doubled, {len(found.differences)} differences",
                markup=False,
            )
            bar.update(line, advance=share)
    figures = {
        "storage": "files" if storage is None else make_url(storage).get_backend_name(),
        "kills": sum(t.kills for t in tallies),
        "lost": sum(t.lost for t in tallies),
        "doubled": sum(t.doubled for t in tallies),
        "differences": sum(len(t.differences) for t in tallies),
        "strategies": [asdict(t) for t in tallies],
    }
    _print(console, tallies, figures)
    write_figures(out, figures)
    return figures


def _disturb(
    name: str, kills: int, folder: Path, rng: np.random.Generator, storage: str | None
) -> Tally:
    """One strategy, left alone and killed `kills` times."""
    whole, disturbed = folder / name / "whole", folder / name / "killed"
    started = time.perf_counter()
    _finish(_start(name, whole, storage))
    seconds = time.perf_counter() - started
    expected = projection(whole, storage)[STUDY]
    lost = doubled = done = 0
    different: list[str] = []
    rounds = 0
    place = disturbed / str(rounds)
    known: dict[int, dict[str, Any]] = {}
    before = 0
    while True:
        process = _start(name, place, storage)
        if done < kills:
            process.join(float(rng.uniform(0, seconds)))
            killed = process.is_alive()
            process.kill()
            process.join()
            done += killed
        else:
            _finish(process)
            killed = False
        now = _finished_trials(place, storage)
        evaluated = _problem(name, place).evaluated()
        lost += sum(now.get(number) != trial for number, trial in known.items())
        # a batch may have been evaluated and not yet written: that one is run again
        doubled += max(0, (evaluated - before) - (len(now) - len(known)) - DEFAULT_BATCH * killed)
        known, before = now, evaluated
        if killed or (done < kills and not _over(place, storage)):
            continue
        different += differences(expected, projection(place, storage)[STUDY])
        if done == kills:
            break
        rounds += 1
        place, known, before = disturbed / str(rounds), {}, 0
    return Tally(name, done, len(expected["trials"]), lost, doubled, different)


def _start(name: str, folder: Path, storage: str | None) -> BaseProcess:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_play, args=(name, folder, storage))
    process.start()
    return process


def _finish(process: BaseProcess) -> None:
    process.join()
    if process.exitcode != 0:
        raise BrokenFileError(f"a process that was left alone ended with {process.exitcode}")


def _play(name: str, folder: Path, storage: str | None = None) -> None:
    """Run the study in this process, or go on with it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # those of the process that this one was forked from are not here
    folder.mkdir(parents=True, exist_ok=True)
    problem = _problem(name, folder)
    with StudyLog(folder, storage=storage) as log:
        recorder = log.study(STUDY, problem, {"seed": 0, "budget": BUDGET}, resume=True)
        run_study(problem, _build(name), seed=0, budget=BUDGET, recorder=recorder)


def _build(name: str) -> SearchStrategy:
    strategy: SearchStrategy = strategies.load(name)()
    return strategy


def _problem(name: str, folder: Path) -> Counted:
    inner = _problem_of(name)
    assert inner is not None
    return Counted(inner, folder / "evaluated.txt")


def _problem_of(name: str) -> Problem | None:
    """The first toy problem that a strategy can search."""
    from paretoprune.testing.layered import Layered
    from paretoprune.testing.relaxations import ToyPruning
    from paretoprune.testing.toys import STEPPED, Toy

    for problem in (Toy(STEPPED), Layered(), ToyPruning(step_cost=0.5)):
        try:
            _build(name).start(problem, SearchContext(seed=0, budget=BUDGET))
        except UnsupportedError:
            continue
        return problem
    return None


def _finished_trials(folder: Path, storage: str | None) -> dict[int, dict[str, Any]]:
    """Trials of a log that are not running, by number; none where there is no log yet."""
    try:
        trials = projection(folder, storage).get(STUDY, {"trials": []})["trials"]
    except BrokenFileError:
        return {}
    return {t["number"]: t for t in trials if t["state"] != "RUNNING"}


def _over(folder: Path, storage: str | None) -> bool:
    return projection(folder, storage).get(STUDY, {}).get("stopped") is not None


def _print(console: Console, tallies: Sequence[Tally], figures: dict[str, Any]) -> None:
    table = Table(title=f"{figures['kills']} kills at random moments, logs in {figures['storage']}")
    table.add_column("strategy")
    for head in ("kills", "evaluations", "lost", "doubled", "difference"):
        table.add_column(head, justify="right")
    for t in tallies:
        difference = "none" if not t.differences else str(len(t.differences))
        table.add_row(
            t.strategy, str(t.kills), str(t.evaluations), str(t.lost), str(t.doubled), difference
        )
    console.print(table)
    for line in [f"{t.strategy}: {line}" for t in tallies for line in t.differences][:10]:
        console.print(line)
    console.print(
        f"trials lost: {figures['lost']}; doubled: {figures['doubled']}; differences to the "
        f"undisturbed log: {figures['differences'] or 'none'}"
    )
