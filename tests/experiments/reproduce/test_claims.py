"""Every claim on fronts made by hand, where the right verdict is known."""

from __future__ import annotations

import csv
import io
import threading
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from paretoprune.cli import app
from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.experiments.reproduce.cached_runs import FULL, QUICK, CachedRun, CachedRuns, Point
from paretoprune.experiments.reproduce.claims import CLAIMS
from paretoprune.experiments.reproduce.finding import Finding, read_finding, write_finding
from paretoprune.experiments.reproduce.run import parse_claims, reproduce, summary
from paretoprune.search.gradient.options import LagrangianOptions

LAYERS = 8
FAMILIES = ("counting", "digit")


def made_run(strategy, seed=0, *, shift=0.0, gap=None, model="m", pruner="p", kept=0.5):
    """A front of five points, `shift` above a common one."""
    rng = np.random.default_rng(0)
    points = []
    for i, compute in enumerate((0.2, 0.35, 0.5, 0.65, 0.8)):
        score = 0.4 + 0.12 * i + shift
        keep = [1.0] * 3 + [kept] * (LAYERS - 3)
        points.append(
            Point(
                keep=keep, score=score, compute=compute, heldout_score=score - 0.01,
                heldout_compute=compute,
                parts={family: score - 0.1 * j for j, family in enumerate(FAMILIES)},
                soft_score=None if gap is None else score - gap,
                soft_compute=None if gap is None else compute,
            )
        )  # fmt: skip
    noise = 0.05 * rng.standard_normal(200)
    own = 0.01 * np.random.default_rng(seed + 1).standard_normal(200)
    return CachedRun(
        model=model, pruner=pruner, strategy=strategy, seed=seed, points=points,
        area=(0.6 + shift + noise + own).tolist(), hypervolume=0.6 + shift, cost=8.0,
    )  # fmt: skip


class ByHand(CachedRuns):
    """CachedRuns without a model: a strategy's fronts lie `shifts` above the grid's."""

    def __init__(self, scale=FULL, gap=0.0, **shifts):
        self.scale, self.gap, self.shifts = scale, gap, shifts

    def search(self, strategy, seed, *, model="", pruner=""):
        name = strategy.replace("gradient:kernel=", "").replace("-", "_")
        return made_run(strategy, seed, shift=self.shifts.get(name, 0.0), gap=self.gap)

    def grid(self, *, model="", pruner=""):
        made = made_run("grid")
        return made.model_copy(update={"families": {f: made.points for f in FAMILIES}})

    def score(self, points, *, model, pruner=""):
        lost = self.shifts.get("moved", 0.0)
        return [p.model_copy(update={"heldout_score": p.heldout_score - lost}) for p in points]


def answer(number, **given):
    return CLAIMS[number][1](ByHand(**given))[0]


@pytest.mark.parametrize(
    ("number", "given", "verdict"),
    [
        (1, {}, "holds"),
        (1, {"gradient": -0.1}, "does not hold"),
        (2, {}, "holds"),
        (2, {"gradient": -0.1}, "does not hold"),
        (3, {"gradient": 0.1}, "holds"),
        (4, {"multi_step": 0.05}, "holds"),
        (4, {"single_step": 0.05}, "does not hold"),
        (5, {}, "is shown"),
        (6, {"gap": 0.01}, "holds"),
        (6, {"gap": 0.05}, "does not hold"),
        (7, {"gradient": 0.05}, "holds"),
        (7, {"gradient": 0.05, "tpe": 0.1}, "holds in part"),
        (7, {"gradient": -0.05}, "does not hold"),
        (8, {}, "holds"),
        (8, {"moved": 0.3}, "does not hold"),
    ],
)
def test_the_verdict_is_the_one_that_the_fronts_were_made_for(number, given, verdict):
    found = answer(number, **given)
    assert found.verdict == verdict
    assert verdict in found.sentence or verdict == "is shown"
    assert all(len(row) == len(found.columns) for row in found.rows)


def test_a_front_equal_to_the_grid_s_recovers_all_of_it():
    found = answer(1)
    row = dict(zip(found.columns, found.rows[0], strict=True))
    assert row["strategy"] == "gradient"
    assert row["hypervolume ratio"] == pytest.approx(1.0)
    assert row["average Hausdorff"] == row["deviation in score"] == 0.0
    assert row["recovered within 0.01"] == 1.0
    assert row["low"] <= row["difference"] <= row["high"]


def test_the_pattern_s_layer_is_the_first_below_half():
    class Lean(ByHand):
        def search(self, strategy, seed, *, model="", pruner=""):
            return made_run(strategy, seed, kept=0.25)

    found, _ = CLAIMS[5][1](Lean())
    assert "mini-llava at layer 3" in found.sentence


def test_every_figure_can_be_drawn_and_every_table_read_back(tmp_path):
    for number, (name, run) in CLAIMS.items():
        finding, figure = run(ByHand())
        write_finding(tmp_path / name, finding, figure)
        assert read_finding(tmp_path / name) == finding
        assert (tmp_path / name / "figure.svg").read_text().startswith("<?xml")
        rows = list(csv.reader(io.StringIO((tmp_path / name / "table.csv").read_text())))
        assert rows[0] == finding.columns
        for row, told in zip(finding.rows, rows[1:], strict=True):
            for cell, text in zip(row, told, strict=True):
                assert text == ("" if cell is None else str(cell))
        lines = (tmp_path / name / "table.md").read_text().splitlines()
        assert len(lines) == 2 + len(finding.rows)
        assert number == finding.number


def test_claims_and_shares_of_them():
    assert parse_claims(None, None) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert parse_claims("4,1", None) == [1, 4]
    shares = [parse_claims(None, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(n for share in shares for n in share) == [1, 2, 3, 4, 5, 6, 7, 8]
    for only in ("0", "9", "one", ""):
        with pytest.raises(InvalidValueError, match="from 1 to 8"):
            parse_claims(only, None)
    for shard in ("0/3", "4/3", "1", "a/b"):
        with pytest.raises(InvalidValueError, match="such as 1/3"):
            parse_claims(None, shard)


def test_another_scale_in_the_folder_is_named(tmp_path):
    CachedRuns(tmp_path, QUICK)
    CachedRuns(tmp_path, QUICK)
    with pytest.raises(InvalidValueError, match="budget 8.0 instead of 9.0"):
        CachedRuns(tmp_path, QUICK.model_copy(update={"budget": 9.0}))
    (tmp_path / "scale.json").write_text("{")
    with pytest.raises(BrokenFileError, match="scale of a reproduction .*scale.json"):
        CachedRuns(tmp_path, QUICK)


def test_a_run_is_made_once_and_a_broken_one_is_named(tmp_path):
    runs = CachedRuns(tmp_path, QUICK)
    calls = []

    def run():
        calls.append(1)
        return made_run("tpe")

    first = runs._once("tpe seed=0", run)
    assert runs._once("tpe seed=0", run) == first
    assert calls == [1]
    (file,) = (tmp_path / "runs").glob("*.json")
    file.write_text("{}")
    with pytest.raises(BrokenFileError, match="run of a reproduction .*json"):
        runs._once("tpe seed=0", run)


def test_shards_in_one_folder_make_a_run_once(tmp_path):
    """A second process that wants the same run waits for it and reads it."""
    runs = []

    def run():
        runs.append(1)
        time.sleep(0.2)
        return made_run("tpe")

    def ask(found):
        found.append(CachedRuns(tmp_path, QUICK)._once("tpe seed=0", run))

    found = []
    asking = [threading.Thread(target=ask, args=(found,)) for _ in range(3)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert runs == [1]
    assert found == [found[0]] * 3


def test_the_default_kernel_is_not_searched_twice(tmp_path, monkeypatch):
    runs, asked = CachedRuns(tmp_path, QUICK), []
    monkeypatch.setattr(
        runs, "_search", lambda *given: asked.append(given) or made_run(given[2], given[3])
    )
    default = LagrangianOptions().kernel
    assert default in QUICK.kernels and default in FULL.kernels
    assert runs.search("gradient", 0) == runs.search(f"gradient:kernel={default}", 0)
    assert len(asked) == 1
    runs.search("gradient:kernel=single-step", 0)
    assert len(asked) == 2


def test_the_summary_says_what_the_models_are_and_every_verdict():
    findings = [run(ByHand())[0] for _, run in CLAIMS.values()]
    text = summary(findings, FULL)
    assert "about a million parameters" in text.split("\n\n")[1]
    assert all(f"| {f.number} | {f.claim} | **{f.verdict}** |" in text for f in findings)
    assert "no evidence" not in text
    assert "its verdicts are no evidence" in summary(findings, QUICK)


def test_mistakes_on_the_command_line_are_one_sentence(tmp_path):
    found = CliRunner().invoke(app, ["reproduce", "--only", "12", "--out", str(tmp_path / "r")])
    assert isinstance(found.exception, InvalidValueError)
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_a_reproduction_goes_on_where_it_stopped_and_ends_the_same(tmp_path):
    small = QUICK.model_copy(
        update={"search_size": 16, "heldout_size": 16, "budget": 3.0, "seeds": (0,)}
    )
    whole = reproduce(tmp_path / "a", small, [1, 6])
    reproduce(tmp_path / "b", small, [1])
    seen = []
    again = reproduce(tmp_path / "b", small, [1, 6], observe=seen.append)
    assert [f.model_dump() for f in again] == [f.model_dump() for f in whole]
    assert not any("grid" in name for name in seen)
    assert all(isinstance(f, Finding) for f in whole)
