"""The runs of the search-cost benchmark: grids and searches, each kept in a file of its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretoprune import frontier
from paretoprune.comparison.ranking import anytime_curve
from paretoprune.comparison.reference import reference_front
from paretoprune.compression.evaluator import KnownOutcomes
from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.core.problem import Candidate, Evaluation
from paretoprune.core.study import run_study
from paretoprune.search.specs import StrategySpec


@dataclass(frozen=True)
class Cell:
    """One run: a strategy with a seed and a budget (dense-pass equivalents) on one problem."""

    model: str
    split: int
    strategy: str
    seed: int
    budget: float

    @property
    def told(self) -> str:
        """For a progress bar."""
        return f"{self.model} {self.split}: {self.strategy} seed {self.seed}"


@dataclass(frozen=True)
class Grid:
    """The exhaustive grid of one problem."""

    model: str
    split: int

    @property
    def told(self) -> str:
        """For a progress bar."""
        return f"{self.model} {self.split}: the grid"


class Workbench:
    """Runs cells and grids, keeps each in a JSON file of `folder`, and one problem in memory.

    The grid's outcomes stay in a file beside it: a schedule that any run asks for again is charged
    in full and not run again. Its seconds are then those of the strategy alone.
    """

    def __init__(self, folder: Path, *, heldout: int, grid: str) -> None:
        self.folder = folder
        self.heldout = heldout
        self.grid = grid
        self._loaded: tuple[tuple[str, int], Compression] | None = None
        self._outcomes: dict[str, NDArray[np.float64]] = {}

    # --- files

    def _file(self, what: Sequence[object]) -> Path:
        text = " ".join(map(str, [*what, self.heldout]))
        name = re.sub(r"[^a-zA-Z0-9.]+", "-", text)
        return self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"

    def _file_of(self, item: Cell | Grid) -> Path:
        if isinstance(item, Grid):
            return self._file([self.grid, item.model, item.split])
        return self._file([item.model, item.split, item.strategy, item.seed, item.budget])

    def _outcomes_of(self, grid: Grid) -> Path:
        """Every outcome of the grid: most of what black boxes will ask for."""
        return self._file_of(grid).with_suffix(".npz")

    def has(self, item: Cell | Grid) -> bool:
        """Whether this run is there already."""
        return self._file_of(item).exists()

    def read(self, item: Cell | Grid) -> dict[str, Any]:
        """What a finished run left."""
        found: dict[str, Any] = json.loads(self._file_of(item).read_text(encoding="utf-8"))
        return found

    # --- work

    def run(self, item: Cell | Grid, tell: Callable[[str], None] = lambda _: None) -> None:
        """Search or evaluate the grid, judge its front on held-out data, write the run's file.

        `tell` hears how far it is.
        """
        if isinstance(item, Grid):
            self._run_grid(item, tell)
        else:
            self._run_cell(item, tell)

    def _run_grid(self, grid: Grid, tell: Callable[[str], None]) -> None:
        problem = self._problem(grid.model, grid.split)

        def observe(done: int, total: int) -> None:
            tell(f"{done} of {total} schedules")
            if problem.evaluator.known:  # a run that is killed goes on from here
                problem.evaluator.known.save(self._outcomes_of(grid))

        reference = reference_front(problem, self.grid, observe=observe)
        stored = reference.stored()
        front = [reference.evaluations[i] for i in reference.front]
        assert problem.evaluator.known is not None
        problem.evaluator.known.save(
            self._outcomes_of(grid)
        )  # before the file that says that it is there
        _write(
            self._file_of(grid),
            {
                "hypervolume": stored.hypervolume, "configurations": stored.evaluations,
                "cost": stored.cost, "executed": stored.executed, "seconds": stored.seconds,
                "front": [list(e.objectives.values()) for e in front],
                "area": self._area(problem, front),
            },
        )  # fmt: skip

    def _run_cell(self, cell: Cell, tell: Callable[[str], None]) -> None:
        problem = self._problem(cell.model, cell.split)
        spec = StrategySpec.parse(cell.strategy)
        result = run_study(
            problem, spec.build(), seed=cell.seed, budget=cell.budget, space=spec.space,
            observe=lambda found: tell(f"{found.spent:.1f} of {cell.budget:g} dense passes"),
        )  # fmt: skip
        if result.stopped == "interrupted":
            raise KeyboardInterrupt
        front = [result.evaluations[i] for i in _front(result.evaluations, problem)]
        _write(
            self._file_of(cell),
            {
                "spent": result.spent, "evaluations": len(result.evaluations),
                "executed": result.executed, "seconds": result.seconds,
                "stopped": result.stopped, "curve": anytime_curve(problem, result),
                "front": [list(e.objectives.values()) for e in front],
                "area": self._area(problem, front),
            },
        )  # fmt: skip

    def _problem(self, model: str, split: int) -> Compression:
        if self._loaded is None or self._loaded[0] != (model, split):
            self._outcomes.clear()
            problem = load_problem(model, search_size=split, heldout_size=self.heldout)
            problem.evaluator.known = KnownOutcomes()
            stored = self._outcomes_of(Grid(model, split))
            if stored.exists():
                problem.evaluator.known.load(stored, split)
            self._loaded = ((model, split), problem)
        return self._loaded[1]

    def _area(self, problem: Compression, front: Sequence[Evaluation]) -> list[float]:
        """What each held-out sample adds to the held-out front area, `[samples]`."""
        if not front:
            return [0.0] * self.heldout
        relative = np.stack(self._heldout([e.candidate for e in front], problem))
        found = frontier.heldout_front_area_samples(
            [e.objectives["score"] for e in front],
            [e.objectives["compute"] for e in front],
            relative,
        )
        return [round(float(x), 5) for x in found]

    def _heldout(
        self, candidates: Sequence[Candidate], problem: Compression
    ) -> list[NDArray[np.float64]]:
        """Relative held-out outcomes of each candidate; a configuration is evaluated once."""
        heldout = problem.heldout
        assert heldout is not None
        names = [heldout.identity(c) for c in candidates]
        missing = {n: c for n, c in zip(names, candidates, strict=True) if n not in self._outcomes}
        if missing:
            span = heldout.dense_score - heldout.blind_score
            for name, e in zip(missing, heldout.evaluate(list(missing.values())), strict=True):
                assert e.outcomes is not None
                outcomes = e.outcomes.astype(np.float64)
                self._outcomes[name] = (outcomes - heldout.blind_score) / span
        return [self._outcomes[name] for name in names]


def _front(evaluations: Sequence[Evaluation], problem: Compression) -> list[int]:
    return [int(i) for i in frontier.front_of(evaluations, problem.objectives)]


def _write(file: Path, content: dict[str, Any]) -> None:
    partial = file.with_suffix(f".partial-{id(content)}")
    partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    partial.replace(file)
