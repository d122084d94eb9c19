"""From a front to one configuration: knee, bounds, export, sensitivity, card."""

import json
import re

import numpy as np
import pytest
from commands import run_command

from paretoprune import Float, Int, Objective, as_problem, compare, read_schedule
from paretoprune.comparison.results import read_summary, write_results
from paretoprune.comparison.selection import pick, write_pick
from paretoprune.errors import BrokenFileError, InvalidValueError, UnknownNameError
from paretoprune.frontier import Bound
from paretoprune.report.html import render_html
from paretoprune.report.schedule import card_markdown
from paretoprune.schedules.files import ScheduleFile


@as_problem(
    knobs=[Int("n", 0, 10), Float("idle", 0.0, 1.0, step=0.1)],
    objectives=[
        Objective("score", "max", reference=0.0, best=1.0),
        Objective("compute", "min", reference=1.0, best=0.0),
    ],
)
def bend(n, idle, split):
    """score = 1 - (1 - n/10)^3: steep, then flat; held out everything is 0.1 lower."""
    score = 1 - (1 - n / 10) ** 3 - (0.1 if split == "heldout" else 0.0)
    return {"score": score, "compute": n / 10}


@pytest.fixture(scope="module")
def summary():
    return compare(bend, ["grid"], budget=121, seeds=[0]).summary


# --- pick


def test_without_bounds_the_knee_is_picked(summary):
    chosen = pick(summary)
    n = np.arange(11) / 10
    # least of n + (1 - n)^3: 1 = 3 (1 - n)^2, n = 0.42
    assert chosen.point.search["compute"] == n[np.argmin(n + (1 - n) ** 3)] == 0.4
    assert chosen.rule == "the knee of the front"


@pytest.mark.parametrize("most", [0.0, 0.25, 0.4, 1.0])
def test_the_best_within_a_cost(summary, most):
    chosen = pick(summary, [Bound("compute", "max", most)])
    rivals = [p.search["score"] for p in summary.front if p.search["compute"] <= most]
    assert chosen.point.search["score"] == max(rivals)
    assert chosen.point.search["compute"] <= most


def test_the_cheapest_with_a_quality(summary):
    chosen = pick(summary, [Bound("score", "min", 0.5)])
    assert chosen.point.search["compute"] == 0.3  # 1 - 0.7^3 = 0.657, 1 - 0.8^3 = 0.488
    assert "lowest compute with score ≥ 0.5" in chosen.rule


def test_bounds_on_both_sides_and_the_knee_within_bounds(summary):
    both = [Bound("score", "min", 0.5), Bound("compute", "max", 0.6)]
    assert pick(summary, both).point.search["compute"] == 0.6
    inside = pick(summary, both, knee=True)
    assert 0.3 < inside.point.search["compute"] < 0.6
    assert inside.of == 4


def test_heldout_data_choose_nothing(summary):
    chosen = pick(summary, [Bound("score", "min", 0.5)])  # held out it is 0.557
    tighter = pick(summary, [Bound("score", "min", 0.6)])
    assert chosen.point == tighter.point
    assert chosen.point.heldout["score"] == pytest.approx(chosen.point.search["score"] - 0.1)


def test_bounds_that_nothing_meets_name_the_nearest(summary):
    with pytest.raises(InvalidValueError, match=r"has score ≥ 2; the highest is 1"):
        pick(summary, [Bound("score", "min", 2.0)])
    both = [Bound("score", "min", 0.9), Bound("compute", "max", 0.1)]
    with pytest.raises(InvalidValueError, match="score ≥ 0.9 and compute ≤ 0.1 at once"):
        pick(summary, both)
    with pytest.raises(UnknownNameError, match="'latency'; known: compute, score"):
        pick(summary, [Bound("latency", "max", 1.0)])


def test_a_pick_is_exported_as_its_knobs(summary, tmp_path):
    chosen = pick(summary)
    write_pick(tmp_path / "pick.json", summary, chosen)
    content = json.loads((tmp_path / "pick.json").read_text())
    assert content["knobs"] == chosen.point.knobs
    assert content["heldout"] == chosen.point.heldout
    assert bend.candidate(content["knobs"], content["space"]).values == chosen.point.knobs
    with pytest.raises(BrokenFileError, match="cannot write"):
        write_pick(tmp_path / "pick.json" / "pick.json", summary, chosen)


def test_a_pick_of_token_pruning_is_a_schedule_file(mini, tmp_path):
    summary = compare(mini, ["random"], budget=3, seeds=[0]).summary
    chosen = pick(summary, [Bound("compute", "max", 0.9)])
    write_pick(tmp_path / "pick.json", summary, chosen)
    content = read_schedule(tmp_path / "pick.json")
    assert content.keep == chosen.point.keep
    assert content.score == chosen.point.heldout["score"]
    assert content.score_error == chosen.point.heldout_error["score"] > 0


def test_the_command_picks_and_prints(summary, tmp_path):
    write_results(tmp_path / "results", summary)

    def run(*words):
        return run_command("pick", "results", *words, cwd=tmp_path)

    done = run("--max-compute", "0.4")
    assert done.returncode == 0, done.stderr
    assert "Picked the highest score with compute ≤ 0.4" in done.stdout
    assert "0.784" in done.stdout
    assert "0.684" in done.stdout
    assert "Which knobs matter" in done.stdout
    assert json.loads((tmp_path / "pick.json").read_text())["search"]["compute"] == 0.4
    done = run("--max-compute", "-1")
    assert done.returncode == 2
    assert done.stderr == (
        "paretoprune: no configuration of the front has compute ≤ -1; the lowest is 0\n"
    )


# --- sensitivity


def test_the_knob_that_matters_has_the_importance(summary):
    for one in summary.sensitivity:
        assert one.evaluations == 121
        assert one.explained > 0.95
        by_name = {k.knob: k for k in one.knobs}
        assert by_name["n"].mean > 1.0  # shuffled, R² falls below 0
        assert abs(by_name["idle"].mean) < 0.01
    assert {one.objective for one in summary.sensitivity} == {"score", "compute"}


def test_few_evaluations_have_no_sensitivity():
    assert compare(bend, ["random"], budget=12, seeds=[0]).summary.sensitivity == []


def test_the_report_names_knobs_and_escapes_them(summary):
    page = render_html(summary)
    assert "Which knobs matter" in page
    assert "idle" in page
    evil = summary.sensitivity[0].model_copy(update={"space": "<script>"})
    page = render_html(summary.model_copy(update={"sensitivity": [evil]}))
    assert "Space &lt;script&gt;" in page and "Space <script>" not in page


def test_sensitivity_survives_the_file(summary, tmp_path):
    write_results(tmp_path, summary)
    assert read_summary(tmp_path).sensitivity == summary.sensitivity


# --- card


def test_a_card_says_what_was_pruned():
    content = ScheduleFile(
        pruner="dart", pruner_settings={"visual_pivots": 8}, keep=[1.0, 0.5], model="a|b`c",
        score=0.9123, score_error=0.01, compute=0.4, found_by="tpe seed 0",
    )  # fmt: skip
    text = card_markdown(content, "mine.json")
    assert "| dart (visual\\_pivots=8) |" in text
    assert "| a\\|b\\`c |" in text
    assert "| 0.912 ±0.010 |" in text
    assert "| 100 50 |" in text
    assert "| 75.0 % |" in text
    assert 'schedule="mine.json"' in text
    bare = card_markdown(ScheduleFile(pruner="fastv", keep=[1.0]), "x.json")
    assert "relative score q," not in bare


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-compute", "40"], "compute goes from 0 to 1, got 40; did you mean 0.4\\?"),
        (["--max", "compute=40"], "compute goes from 0 to 1, got 40; did you mean 0.4\\?"),
        (["--min-score", "90"], "score goes from 0 to 1, got 90; did you mean 0.9\\?"),
        (["--max-compute", "4000"], "compute goes from 0 to 1, got 4000$"),
    ],
)
def test_a_percentage_for_a_share_is_questioned(summary, tmp_path, words, message):
    """The most expensive point of the front was the answer, on mini-llava's rounded scale, too."""
    best = {"score": 1.0, "compute": -2.2e-19}
    scaled = [o.model_copy(update={"best": best.get(o.name, o.best)}) for o in summary.objectives]
    write_results(tmp_path / "results", summary.model_copy(update={"objectives": scaled}))
    done = run_command("pick", "results", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(message, done.stderr.strip())
    assert run_command("pick", "results", "--max-compute", "1.1", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "x.json", "--compute", "40"], "got 40; did you mean 0.4?"),
        (["show", "keep=25,layer=2"], "got 25.0; did you mean 0.25?"),
        (["show", "100,100,50,50"], "got 100.0; did you mean 1?"),
    ],
)
def test_other_percentages_are_questioned_too(tmp_path, words, message):
    done = run_command(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
