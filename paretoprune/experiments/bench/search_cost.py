"""Cost of a search: gradient against black boxes against the exhaustive grid.

Per model and size of the search split, an exhaustive multi-step grid is evaluated once. Then every
strategy searches with every seed at several budgets, and two things are asked. Quality: the
held-out front area at the largest budget, as a ratio to the grid's. Cost: the smallest search cost
at which the front's hypervolume on the search split reaches 99 % of the grid's. Costs are samples x
FLOPs, gradient steps and final evaluations included, in dense-pass equivalents, and in passes of
one sample, so that nobody wins by the size of the split.

A black box has a front after every ask, so one long run tells at which cost it was good enough.
`gradient` and `adaptive` have one at their end only: they run once per budget of a ladder, and
each run counts for itself. `hybrid`, which is asked for quality, runs at the ladder's end. On large
splits the ladder ends where a run costs `MAX_SAMPLE_PASSES` of one sample.

Work is shared: the grid's outcomes are kept, and a schedule that a search asks for again is charged
in full, but not run again. Every run is a file of its own next to the output: what is there is not
run again, several processes can share the work (`--shard 1/4`), and the table is made of what there
is.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from paretoprune import frontier
from paretoprune.comparison.ranking import Study, anytime_curve, heldout_areas
from paretoprune.comparison.reference import parse_reference, reference_front
from paretoprune.compression.evaluator import KnownOutcomes
from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.core.problem import default_space
from paretoprune.core.study import StudyResult, run_study
from paretoprune.errors import InvalidValueError
from paretoprune.experiments.bench import machine, one_line, write_figures
from paretoprune.files import write_whole
from paretoprune.frontier.statistics import resampled_means
from paretoprune.search.specs import StrategySpec
from paretoprune.zoo.catalogue import names as embedded
from paretoprune.zoo.load import find_checkpoint

GRADIENT = ("gradient", "adaptive")
LADDERED = ("gradient", "adaptive", "vispco")
"""Names of strategies that have a front at their end only."""
AT_THE_END = ("hybrid",)
SHORTER = {"gp": 0.5}
"""Parts of the longest budget: choosing by a Gaussian process costs the cube of what it knows."""
MAX_SAMPLE_PASSES = 40_000
"""Passes of one sample that the longest gradient run of a ladder costs."""
MIN_RUNGS = 2
BLACK_BOXES = ("tpe", "gp", "nsga2", "pymoo-nsga2", "halving", "random")
ENOUGH = 0.99
"""Share of the grid's hypervolume that counts as reaching its front."""
BEYOND = 1.05
"""Share of the static grid's held-out area that a policy is to reach."""
NO_BLACK_BOXES = ("gradient", "hybrid", "vispco", "adaptive")
RESAMPLES = 2000


# --- what is run


@dataclass(frozen=True)
class Cell:
    """One run: a strategy with a seed and a budget (dense-pass equivalents) on one problem."""

    model: str
    split: int
    strategy: str
    seed: int
    budget: float

    @property
    def title(self) -> str:
        """For a progress bar."""
        return f"{self.model} {self.split}: {self.strategy} seed {self.seed}"


@dataclass(frozen=True)
class Grid:
    """The exhaustive grid of one problem."""

    model: str
    split: int

    @property
    def title(self) -> str:
        """For a progress bar."""
        return f"{self.model} {self.split}: the grid"


@dataclass(frozen=True)
class Plan:
    """The runs: models x splits x strategies x seeds x budgets (dense-pass equivalents)."""

    models: tuple[str, ...]
    splits: tuple[int, ...] = (200, 500, 2000)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    heldout: int = 512
    grid: str = "grid:fine"
    ladder: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0)
    longest: float = 200.0
    gradient: tuple[str, ...] = GRADIENT
    at_the_end: tuple[str, ...] = AT_THE_END
    black_boxes: tuple[str, ...] = BLACK_BOXES

    def cells(self) -> list[Cell]:
        """All runs, those of one problem together, black boxes first."""
        return [
            Cell(model, split, strategy, seed, budget)
            for model in self.models
            for split in self.splits
            for seed in self.seeds
            for strategy, budgets in self._budgets(split)
            for budget in budgets
        ]

    def rungs(self, split: int) -> tuple[float, ...]:
        """The ladder's budgets for a split of this size."""
        fits = [b for b in sorted(self.ladder) if b * split <= MAX_SAMPLE_PASSES]
        return tuple(fits) if len(fits) >= MIN_RUNGS else tuple(sorted(self.ladder))[:2]

    def _budgets(self, split: int) -> list[tuple[str, tuple[float, ...]]]:
        rungs = self.rungs(split)
        return [
            *((s, (self.longest * SHORTER.get(_name(s), 1.0),)) for s in self.black_boxes),
            *((strategy, rungs) for strategy in self.gradient),
            *((strategy, rungs[-1:]) for strategy in self.at_the_end),
        ]


QUICK = Plan(
    (), splits=(100,), seeds=(0, 1), heldout=128, grid="grid:coarse", ladder=(10.0, 20.0, 40.0),
    longest=40.0, gradient=("gradient",), at_the_end=(), black_boxes=("tpe", "pymoo-nsga2"),
)  # fmt: skip


# --- running it, each run in a file of its own


class Workbench:
    """Runs cells and grids, keeps each in a JSON file of `folder`, and one problem in memory.

    The grid's outcomes stay in a file next to it: a schedule that any run asks for again is charged
    in full and not run again. Its seconds are then those of the strategy alone.
    """

    def __init__(self, folder: Path, *, heldout: int, grid: str) -> None:
        self.folder = folder
        self.heldout = heldout
        self.grid = grid
        self._loaded: tuple[tuple[str, int], Compression] | None = None

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
        """The stored result of a finished run."""
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
        assert problem.evaluator.known is not None
        problem.evaluator.known.save(
            self._outcomes_of(grid)
        )  # before the file that says that it is there
        result = StudyResult(seed=0, evaluations=reference.evaluations)
        self._write(
            grid,
            {
                "hypervolume": stored.hypervolume, "configurations": stored.evaluations,
                "cost": stored.cost, "executed": stored.executed, "seconds": stored.seconds,
                **self._front(problem, StrategySpec.parse("grid"), result),
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
        self._write(
            cell,
            {
                "spent": result.spent, "evaluations": len(result.evaluations),
                "executed": result.executed, "seconds": result.seconds,
                "stopped": result.stopped, "curve": anytime_curve(problem, result),
                **self._front(problem, spec, result),
            },
        )  # fmt: skip

    def _write(self, item: Cell | Grid, content: dict[str, Any]) -> None:
        write_whole(self._file_of(item), (json.dumps(content) + "\n").encode("utf-8"))

    def _problem(self, model: str, split: int) -> Compression:
        if self._loaded is None or self._loaded[0] != (model, split):
            problem = load_problem(model, search_size=split, heldout_size=self.heldout)
            problem.evaluator.known = KnownOutcomes()
            if problem.heldout is not None:
                problem.heldout.evaluator.known = KnownOutcomes()
            stored = self._outcomes_of(Grid(model, split))
            if stored.exists():
                problem.evaluator.known.load(stored, split)
            self._loaded = ((model, split), problem)
        return self._loaded[1]

    def _front(
        self, problem: Compression, spec: StrategySpec, result: StudyResult
    ) -> dict[str, list[Any]]:
        """The front, and what each held-out sample adds to its held-out front area."""
        front = [int(i) for i in frontier.front_of(result.evaluations, problem.objectives)]
        study = Study(spec, default_space(problem), result, front)
        assert problem.heldout is not None
        if front:
            study.heldout = problem.heldout.evaluate(study.front_candidates())
        area = heldout_areas(problem, study)
        return {
            "front": [list(result.evaluations[i].objectives.values()) for i in front],
            "area": [0.0] * self.heldout if area is None else area.round(5).tolist(),
        }


def run(
    console: Console,
    *,
    model: str = "mini-llava",
    search_size: int | None = None,
    heldout_size: int = 512,
    quick: bool = False,
    seeds: int | None = None,
    first_seed: int = 0,
    strategy: Sequence[str] | None = None,
    reference: str | None = None,
    shard: str | None = None,
    out: Path | None = None,
    **_: object,
) -> dict[str, Any]:
    """Run what is missing of this shard's part, print the tables of all there is, return them."""
    plan = QUICK if quick else Plan(())
    models = tuple(embedded()) if model == "all" else tuple(model.split(","))
    plan = replace(plan, models=models)
    if search_size is not None:
        plan = replace(plan, splits=(search_size,))
    if not quick:
        plan = replace(plan, heldout=heldout_size)
    count = seeds or len(plan.seeds)
    plan = replace(plan, seeds=tuple(range(first_seed, first_seed + count)))
    if reference is not None:
        plan = replace(plan, grid=reference)
    if strategy:
        plan = replace(
            plan,
            gradient=tuple(s for s in strategy if _name(s) in LADDERED),
            at_the_end=tuple(s for s in strategy if _name(s) in AT_THE_END),
            black_boxes=tuple(s for s in strategy if _name(s) not in (*LADDERED, *AT_THE_END)),
        )
    number, of = parse_shard(shard)
    _check(plan)
    out = out or Path("search-cost.json")
    folder = out.with_suffix(".runs")
    folder.mkdir(parents=True, exist_ok=True)
    bench = Workbench(folder, heldout=plan.heldout, grid=plan.grid)
    cells = plan.cells()
    grids = dict.fromkeys(Grid(cell.model, cell.split) for cell in cells)
    work: list[Cell | Grid] = [*grids, *cells]
    mine = [item for i, item in enumerate(work) if i % of == number and not bench.has(item)]
    console.print(
        f"{len(work)} runs, {sum(map(bench.has, work))} there already, {len(mine)} to do here"
    )
    with Progress(console=console) as bar:
        line = bar.add_task("search cost", total=len(mine))
        while mine:
            item = _next(mine, bench)
            bar.update(line, description=item.title)
            if not bench.has(item):  # another process may have done it meanwhile
                bench.run(item, partial(_tell, bar, line, item.title))
            bar.advance(line)
    done = [c for c in cells if bench.has(c) and bench.has(Grid(c.model, c.split))]
    rows = rows_of(bench, done)
    found = machine("cpu")
    console.print(one_line(found))
    print_tables(console, rows, plan.grid)
    result = {
        "machine": found, "plan": asdict(plan), "runs": len(done), "of": len(cells),
        "rows": [_finite(asdict(row)) for row in rows],
    }  # fmt: skip
    write_figures(out, result)
    return result


def _check(plan: Plan) -> None:
    """Refuse what no run could be made of before the first, which may take an hour."""
    parse_reference(plan.grid)
    for model in plan.models:
        find_checkpoint(model)
    for strategy in (*plan.gradient, *plan.at_the_end, *plan.black_boxes):
        StrategySpec.parse(strategy).build()


def _tell(bar: Progress, line: TaskID, item: str, far: str) -> None:
    bar.update(line, description=f"{item}, {far}")


def _next(mine: list[Cell | Grid], bench: Workbench) -> Cell | Grid:
    """Take out the first run whose grid's outcomes are there to share; if there is none, any."""
    ready = (
        i
        for i, item in enumerate(mine)
        if isinstance(item, Grid) or bench.has(Grid(item.model, item.split))
    )
    return mine.pop(next(ready, 0))


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row for JSON, which knows no infinity: a cost that was not reached is null."""
    return {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in row.items()}


def _name(strategy: str) -> str:
    return strategy.partition(":")[0]


def parse_shard(text: str | None) -> tuple[int, int]:
    """`2/4` is number 1, counted from 0, of 4; raises `InvalidValueError` for anything else."""
    number, _, of = (text or "1/1").partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise InvalidValueError(f"--shard must be such as 1/4 to 4/4, got {text!r}")
    return int(number) - 1, int(of)


# --- what was found: one row per problem and strategy, with intervals


@dataclass(frozen=True)
class CostRow:
    """One strategy on one problem, at its largest budget; ratios are to the exhaustive grid.

    `area_ratio` is the mean held-out front area over seeds, over the grid's, with a 95 % interval
    (bootstrap over seeds and held-out samples, paired by sample). `cost` is the median over seeds
    of the search cost to reach 99 % of the grid's hypervolume, in dense-pass equivalents, with
    those of the cheapest and the most expensive seed (infinite: not reached within `longest`, the
    largest budget).
    """

    model: str
    split: int
    strategy: str
    seeds: int
    longest: float
    area: float
    area_ratio: float
    ratio_low: float
    ratio_high: float
    hypervolume_ratio: float
    reached: int
    cost: float
    cost_low: float
    cost_high: float
    seconds: float


def rows_of(bench: Workbench, cells: Sequence[Cell]) -> list[CostRow]:
    """Rows of all problems and strategies that have runs, in the order of the cells."""
    groups: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.model, cell.split, cell.strategy), []).append(cell)
    return [_row(bench, group) for group in groups.values()]


def _row(bench: Workbench, cells: Sequence[Cell]) -> CostRow:
    first = cells[0]
    grid = bench.read(Grid(first.model, first.split))
    longest = max(cell.budget for cell in cells)
    runs = {(cell.seed, cell.budget): bench.read(cell) for cell in cells}
    final = [runs[seed, b] for seed, b in runs if b == longest]
    areas = np.array([run["area"] for run in final])
    low, high = ratio_interval(areas, np.array(grid["area"]))
    target = ENOUGH * grid["hypervolume"]
    seeds = sorted({cell.seed for cell in cells})
    costs = [
        cost_to_reach([run for (s, _), run in runs.items() if s == seed], target) for seed in seeds
    ]
    return CostRow(
        model=first.model,
        split=first.split,
        strategy=first.strategy,
        seeds=len(seeds),
        longest=longest,
        area=float(areas.mean()),
        area_ratio=float(areas.mean() / np.mean(grid["area"])),
        ratio_low=low,
        ratio_high=high,
        hypervolume_ratio=float(
            np.mean([reached(run, math.inf) for run in final]) / grid["hypervolume"]
        ),
        reached=sum(math.isfinite(cost) for cost in costs),
        cost=middle(costs),
        cost_low=min(costs),
        cost_high=max(costs),
        seconds=float(np.mean([run["seconds"] for run in final])),
    )


def cost_to_reach(runs: Sequence[dict[str, Any]], target: float) -> float:
    """The smallest search cost at which one of a seed's runs has this hypervolume; or infinity."""
    return min(
        (cost for run in runs for cost, volume in run["curve"] if volume >= target - 1e-12),
        default=math.inf,
    )


def reached(run: dict[str, Any], cost: float) -> float:
    """Hypervolume of a run at a search cost."""
    return max((volume for at, volume in run["curve"] if at <= cost + 1e-9), default=0.0)


def middle(costs: Sequence[float]) -> float:
    """The median, the upper one of two: infinite where half of the seeds did not get there."""
    return sorted(costs)[len(costs) // 2]


def ratio_interval(areas: NDArray[np.float64], grid: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of mean(areas `[seeds, samples]`) / mean(grid `[samples]`), paired."""
    stack = np.stack([areas, np.tile(grid, (len(areas), 1))])
    ours, theirs = resampled_means(stack, rng=np.random.default_rng(0), resamples=RESAMPLES)
    low, high = np.quantile(ours / theirs, [0.025, 0.975])
    return float(low), float(high)


def print_tables(console: Console, rows: Sequence[CostRow], grid: str) -> None:
    """One table per problem, best area first, and what the claims come to."""
    for model, split in dict.fromkeys((row.model, row.split) for row in rows):
        part = [row for row in rows if (row.model, row.split) == (model, split)]
        title = f"{model}, {split} search samples, against {grid}"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("strategy", overflow="fold")
        for name in ("budget", "area", "of the grid's [95 %]", "HV", "99 % at", "seeds"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in sorted(part, key=lambda row: -row.area):
            table.add_row(
                row.strategy, f"{row.longest:g}", f"{row.area:.3f}",
                f"{row.area_ratio:.3f} [{row.ratio_low:.3f}, {row.ratio_high:.3f}]",
                f"{row.hypervolume_ratio:.3f}", _cost(row.cost, row.longest),
                f"{row.reached} of {row.seeds}",
            )  # fmt: skip
        console.print(table)
        for sentence in verdicts(part):
            console.print(sentence)
    console.print(
        "Area: held out, mean over seeds. HV: hypervolume over the grid's. 99 % at: median cost in "
        "dense passes to 99 % of the grid's hypervolume, which so many seeds reached."
    )


def verdicts(rows: Sequence[CostRow]) -> list[str]:
    """The claims on one problem: area at least 0.99 of the grid's, cost at most a fifth.

    And an adaptive area of at least 1.05 of the grid's, which is static.
    """
    others = [row for row in rows if row.strategy.partition(":")[0] not in NO_BLACK_BOXES]
    sentences = []
    for name, goal in (("gradient", ENOUGH), ("adaptive", BEYOND)):
        row = next((row for row in rows if row.strategy == name), None)
        if row is not None:
            met = "reached" if row.area_ratio >= goal else "not reached"
            area = f"{name} reaches {row.area_ratio:.3f} of the grid's held-out area"
            parts = [f"{area} (goal {goal:g}: {met})", *_cheaper(row, others)]
            sentences.append("; ".join(parts) + ".")
    return sentences


def _cheaper(row: CostRow, others: Sequence[CostRow]) -> list[str]:
    """A strategy's cost, compared with that of the best black box; nothing without one."""
    if not others:
        return []
    if not math.isfinite(row.cost):
        return ["it does not reach 99 % of the grid's hypervolume in half of its seeds"]
    best = min(others, key=lambda other: (other.cost, -other.longest))
    if math.isfinite(best.cost):
        return [
            f"its cost to 99 % is {row.cost:.1f}, {row.cost / best.cost:.2f} of that of "
            f"{best.strategy} (goal 0.2)"
        ]
    return [
        f"its cost to 99 % is {row.cost:.1f}; no black box gets there within {best.longest:g}, so "
        f"it is cheaper by a factor of {best.longest / row.cost:.1f} or more"
    ]


def _cost(value: float, longest: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else f"> {longest:g}"
