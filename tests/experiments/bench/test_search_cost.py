"""The search-cost benchmark: figures by hand, resumption, shards, and a run at a small size."""

import io
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from paretoprune.errors import InvalidValueError, ParetopruneError
from paretoprune.experiments.bench import search_cost
from paretoprune.experiments.bench.search_cost import (
    Cell,
    Grid,
    Plan,
    _next,
    cost_to_reach,
    middle,
    parse_shard,
    ratio_interval,
    rows_of,
    verdicts,
)


class Made:
    """Runs with known figures: gradient gets there at 10, tpe at 60, random never."""

    curves = {"gradient": {5.0: 0.5, 10.0: 0.79}, "tpe": {100.0: 0.8}, "random": {100.0: 0.3}}
    at = {"gradient": None, "tpe": 60.0, "random": 90.0}

    def read(self, cell):
        if isinstance(cell, Grid):
            return {"hypervolume": 0.79, "area": [0.8] * 4}
        volume = self.curves[cell.strategy][cell.budget]
        at = self.at[cell.strategy] or cell.budget
        return {
            "curve": [[at / 2, volume / 2], [at, volume]],
            "area": [volume + 0.1 * cell.seed] * 4, "seconds": 1.0,
        }  # fmt: skip


def cells(strategy, budgets, seeds=(0, 1, 2)):
    return [Cell("m", 200, strategy, seed, b) for seed in seeds for b in budgets]


@pytest.fixture
def rows():
    every = cells("gradient", (5.0, 10.0)) + cells("tpe", (100.0,)) + cells("random", (100.0,))
    return rows_of(Made(), every)


def test_cost_is_that_of_the_cheapest_run_that_reaches_the_target(rows):
    costs = {row.strategy: (row.cost, row.reached) for row in rows}
    assert costs == {"gradient": (10.0, 3), "tpe": (60.0, 3), "random": (math.inf, 0)}


def test_area_is_the_mean_over_seeds_at_the_largest_budget(rows):
    row = next(row for row in rows if row.strategy == "gradient")
    assert row.area == pytest.approx(0.79 + 0.1)
    assert row.area_ratio == pytest.approx(0.89 / 0.8)
    assert row.ratio_low < row.area_ratio < row.ratio_high


def test_verdicts_are_the_claims(rows):
    (told,) = verdicts(rows)
    assert "goal 0.99: reached" in told
    assert "0.17 of that of tpe" in told
    (told,) = verdicts([row for row in rows if row.strategy != "tpe"])
    assert "no black box gets there within 100, so it is cheaper by a factor of 10.0" in told
    assert verdicts([row for row in rows if row.strategy == "tpe"]) == []


def test_a_seed_that_does_not_get_there_costs_infinitely_much():
    assert cost_to_reach([{"curve": [[3.0, 0.5]]}], 0.6) == math.inf
    assert middle([3.0, math.inf, 5.0]) == 5.0
    assert middle([3.0, math.inf]) == math.inf


def test_equal_areas_have_the_ratio_one_without_doubt():
    areas = np.random.default_rng(0).random((1, 50))
    assert ratio_interval(areas, areas[0]) == pytest.approx((1, 1))
    assert ratio_interval(0.5 * areas, areas[0]) == pytest.approx((0.5, 0.5))


def test_large_splits_have_shorter_ladders():
    """A run of the gradient search costs at most so many passes of one sample."""
    plan = Plan(("a",))
    assert plan.rungs(200) == (5.0, 10.0, 20.0, 40.0)
    assert plan.rungs(2000) == (5.0, 10.0, 20.0)
    assert plan.rungs(100_000) == (5.0, 10.0)
    ends = {(c.split, c.budget) for c in plan.cells() if c.strategy == "hybrid"}
    assert ends == {(200, 40.0), (500, 40.0), (2000, 20.0)}


def test_runs_whose_grid_is_there_come_first():
    class Bench:
        def has(self, item):
            return item == Grid("b", 1)

    waiting, ready = Cell("a", 1, "tpe", 0, 9.0), Cell("b", 1, "tpe", 0, 9.0)
    mine = [waiting, ready]
    assert _next(mine, Bench()) == ready
    assert _next(mine, Bench()) == waiting
    mine = [waiting, Grid("a", 1)]
    assert _next(mine, Bench()) == Grid("a", 1)


def test_the_adaptive_claim_is_told_apart_from_black_boxes(rows):
    adaptive = replace(rows[0], strategy="adaptive", cost=1.0, area_ratio=1.06)
    told = verdicts([*rows, adaptive])
    assert told[1].startswith("adaptive reaches 1.060")
    assert "goal 1.05: reached" in told[1]
    assert "of tpe" in told[0]
    assert "0.02 of that of tpe" in told[1]
    assert len(verdicts([adaptive])) == 1


def test_a_slow_chooser_has_a_shorter_budget():
    longest = {c.strategy: c.budget for c in Plan(("a",)).cells() if c.strategy in ("gp", "tpe")}
    assert longest == {"gp": 100.0, "tpe": 200.0}


def test_shards_share_all_runs():
    every = Plan(("a", "b"), splits=(200,)).cells()
    assert len(every) == len(set(every)) == 2 * 5 * (6 + 2 * 4 + 1)
    assert [parse_shard(f"{n}/3") for n in (1, 2, 3)] == [(0, 3), (1, 3), (2, 3)]
    assert parse_shard(None) == (0, 1)
    for wrong in ("0/3", "4/3", "x", "1/0"):
        with pytest.raises(InvalidValueError, match="--shard must be such as 1/4"):
            parse_shard(wrong)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "mini-llava,mini-qwen"}, "unknown model.*'mini-qwen2.5-vl'"),
        ({"strategy": ["tpe", "gradiant"]}, "unknown strategy 'gradiant'.*'gradient'"),
        ({"strategy": ["adaptive:grid_points=1"]}, "grid_points must be 2 or more, got 1"),
        ({"reference": "grid:huge"}, "unknown reference grid 'huge'"),
    ],
)
def test_what_no_run_could_be_made_of_is_refused_before_the_first(tmp_path, asked, said):
    """A misspelt strategy was found out after the grid, an hour later."""
    with pytest.raises(ParetopruneError, match=said):
        search_cost.run(Console(file=io.StringIO()), out=tmp_path / "cost.json", **asked)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_runs_resumes_and_shares_its_work(tmp_path):
    console = Console(width=160, record=True, file=sys.stderr)
    out = tmp_path / "cost.json"
    small = {
        "search_size": 16, "quick": True, "seeds": 1, "reference": "grid:coarse", "out": out,
        "strategy": ["gradient:inner_steps=2,grid_points=3,max_final_evaluations=6", "random"],
    }  # fmt: skip
    first = search_cost.run(console, shard="1/2", **small)
    assert 0 < first["runs"] < first["of"]
    whole = search_cost.run(console, **small)
    assert whole["runs"] == whole["of"]
    files = {f: f.stat().st_mtime_ns for f in (tmp_path / "cost.runs").iterdir()}
    again = search_cost.run(console, **small)
    assert again["rows"] == whole["rows"]
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "cost.runs").iterdir()} == files
    assert json.loads(out.read_text()) == json.loads(json.dumps(again))
    assert "against grid:coarse" in console.export_text()
