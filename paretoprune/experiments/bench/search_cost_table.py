"""What the search-cost benchmark found: one row per problem and strategy, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from paretoprune.experiments.bench.search_cost_runs import Cell, Grid
from paretoprune.frontier.statistics import resampled_means

ENOUGH = 0.99
"""Share of the grid's hypervolume that counts as reaching its front."""
BEYOND = 1.05
"""Share of the static grid's held-out area that a policy is to reach."""
NO_BLACK_BOXES = ("gradient", "hybrid", "vispco", "adaptive")
RESAMPLES = 2000


class Source(Protocol):
    """Where finished runs and grids are read from."""

    def read(self, item: Cell | Grid) -> dict[str, Any]:
        """One run, or the exhaustive grid of one problem."""


@dataclass(frozen=True)
class CostRow:
    """One strategy on one problem, at its largest budget; ratios are to the exhaustive grid.

    `area_ratio` is the mean held-out front area over seeds, over the grid's, with a 95 % interval
    (bootstrap over seeds and held-out samples, paired by sample). `cost` is the median over seeds
    of the search cost to reach 99 % of the grid's hypervolume, in dense-pass equivalents, with the
    cheapest and the dearest seed (infinite: not reached, `longest` being the largest budget).
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


def rows_of(source: Source, cells: Sequence[Cell]) -> list[CostRow]:
    """Rows of all problems and strategies that have runs, in the order of the cells."""
    groups: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.model, cell.split, cell.strategy), []).append(cell)
    return [_row(source, group) for group in groups.values()]


def _row(source: Source, cells: Sequence[Cell]) -> CostRow:
    first = cells[0]
    grid = source.read(Grid(first.model, first.split))
    longest = max(cell.budget for cell in cells)
    runs = {(cell.seed, cell.budget): source.read(cell) for cell in cells}
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
    told = []
    for name, goal in (("gradient", ENOUGH), ("adaptive", BEYOND)):
        row = next((row for row in rows if row.strategy == name), None)
        if row is not None:
            met = "reached" if row.area_ratio >= goal else "not reached"
            area = f"{name} reaches {row.area_ratio:.3f} of the grid's held-out area"
            parts = [f"{area} (goal {goal:g}: {met})", *_cheaper(row, others)]
            told.append("; ".join(parts) + ".")
    return told


def _cheaper(row: CostRow, others: Sequence[CostRow]) -> list[str]:
    """What a strategy's cost is beside that of the best black box; nothing without one."""
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
