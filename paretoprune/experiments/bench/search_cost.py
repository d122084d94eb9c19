"""What does a search cost? Gradient against black boxes against the exhaustive grid.

Per model and size of the search split, an exhaustive multi-step grid is evaluated once. Then every
strategy searches with every seed at several budgets, and two things are asked. Quality: the
held-out front area at the largest budget, as a ratio to the grid's. Cost: the smallest search cost
at which the front's hypervolume on the search split reaches 99 % of the grid's. Costs are samples x
FLOPs, gradient steps and final evaluations included, in dense-pass equivalents, and in passes of
one sample, so that nobody wins by the size of the split.

A black box has a front after every ask, so one long run tells at which cost it was good enough.
`gradient` and `adaptive` have one at their end only: they run once per budget of a ladder, and
each run counts for itself. `hybrid`, which is asked for quality, runs at the ladder's end. On large
splits the ladder ends where a run costs `MOST_PASSES` of one sample.

Work is shared: the grid's outcomes are kept, and a schedule that a search asks for again is charged
in full, but not run again. Every run is a file of its own beside the output: what is there is not
run again, several processes can share the work (`--shard 1/4`), and the table is made of what there
is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from paretoprune.comparison.reference import parse_reference
from paretoprune.errors import InvalidValueError
from paretoprune.experiments.bench import machine, one_line, write_figures
from paretoprune.experiments.bench.search_cost_runs import Cell, Grid, Workbench
from paretoprune.experiments.bench.search_cost_table import print_tables, rows_of
from paretoprune.search.specs import StrategySpec
from paretoprune.zoo.catalogue import names as embedded
from paretoprune.zoo.load import find_checkpoint

GRADIENT = ("gradient", "adaptive")
LADDERED = ("gradient", "adaptive", "vispco")
"""Names of strategies that have a front at their end only."""
AT_THE_END = ("hybrid",)
SHORTER = {"gp": 0.5}
"""Parts of the longest budget: choosing by a Gaussian process costs the cube of what it knows."""
MOST_PASSES = 40_000
"""Passes of one sample that the longest gradient run of a ladder costs."""
FEWEST_RUNGS = 2
BLACK_BOXES = ("tpe", "gp", "nsga2", "pymoo-nsga2", "halving", "random")


@dataclass(frozen=True)
class Plan:
    """What is run: models x splits x strategies x seeds x budgets (dense-pass equivalents)."""

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
        fits = [b for b in sorted(self.ladder) if b * split <= MOST_PASSES]
        return tuple(fits) if len(fits) >= FEWEST_RUNGS else tuple(sorted(self.ladder))[:2]

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
            bar.update(line, description=item.told)
            if not bench.has(item):  # another process may have done it meanwhile
                bench.run(item, partial(_tell, bar, line, item.told))
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
