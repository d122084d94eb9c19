"""Resuming: what is refused, what is repaired, and real processes that are killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import optuna
import pytest
from commands import run_command

from paretoprune.comparison.compare import compare
from paretoprune.comparison.configuration import read_study
from paretoprune.comparison.log import StudyLog, differences, projection
from paretoprune.compression.analytic import ZDT1
from paretoprune.core.problem import Evaluation
from paretoprune.core.study import run_study
from paretoprune.errors import BrokenFileError, InUseError, InvalidValueError
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.random import RandomSearch
from paretoprune.testing.relaxations import ToyPruning
from paretoprune.testing.strategies import Killed, Mortal, Toy

HELD = """
import signal, sys
from paretoprune.cli import main
from paretoprune.compression.analytic import ZDT1
evaluate, calls = ZDT1.evaluate, []
def held(problem, candidates):
    calls.append(candidates)
    if len(calls) == 3:
        signal.pause()
    return evaluate(problem, candidates)
ZDT1.evaluate = held
sys.argv[0] = "paretoprune"
main()
"""
"""The command, in whose third evaluation a signal is waited for: it cannot end before it."""
SMALL = ["--problem", "zdt1", "-s", "random", "-s", "pymoo-nsga2", "--seeds", "1"]


class WithOutcomes(Toy):
    def evaluate(self, candidates):
        return [
            Evaluation(
                e.candidate, e.objectives, cost=1.0,
                outcomes=np.full(5, e.objectives["quality"], np.float32),
            )
            for e in super().evaluate(candidates)
        ]  # fmt: skip


def play(folder, problem, strategy=None, budget=30.0, **settings):
    with StudyLog(folder) as log:
        told = {"seed": 0, "budget": budget, **settings}
        recorder = log.study("one", problem, told, resume=True)
        return run_study(problem, strategy or RandomSearch(), budget=budget, recorder=recorder)


def test_a_second_process_says_so(tmp_path):
    with StudyLog(tmp_path):
        code = f"from pathlib import Path; from paretoprune.comparison.log import StudyLog; StudyLog(Path({str(tmp_path)!r}))"  # noqa: E501
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "InUseError" in done.stderr
        with pytest.raises(InUseError, match="another process is working on"):
            StudyLog(tmp_path)
    StudyLog(tmp_path).close()


def test_other_settings_are_refused_with_the_difference_named(tmp_path):
    play(tmp_path, ZDT1())
    with pytest.raises(InvalidValueError, match="settings had budget 30.0, now it is 31.0"):
        play(tmp_path, ZDT1(), budget=31.0)
    with pytest.raises(InvalidValueError, match="problem had d 5, now it is 6"):
        play(tmp_path, ZDT1(d=6))
    with StudyLog(tmp_path) as log, pytest.raises(InvalidValueError, match="already; resume it"):
        log.study("one", ZDT1(), {})


def test_another_strategy_under_the_same_name_is_refused(tmp_path):
    problem = Mortal(Toy())
    problem.lives = 1
    with pytest.raises(Killed):
        play(tmp_path, problem)

    class Other(RandomSearch):
        def ask(self, n):
            return super().ask(n)[::-1]

    with pytest.raises(BrokenFileError, match="ask 1 is not the recorded one"):
        play(tmp_path, problem, Other())


def test_a_finished_study_is_not_asked_again(tmp_path):
    class Asked(RandomSearch):
        asks = 0

        def ask(self, n):
            Asked.asks += 1
            return super().ask(n)

    first = play(tmp_path, Toy(), Asked())
    asks = Asked.asks
    second = play(tmp_path, Toy(), Asked())
    assert Asked.asks == asks > 0
    assert second == first


def test_seconds_go_on_from_where_they_were(tmp_path):
    problem = Mortal(Toy())
    problem.lives = 2
    with pytest.raises(Killed):
        play(tmp_path, problem)
    study = optuna.load_study(study_name="one", storage=f"sqlite:///{tmp_path / 'study.db'}")
    before = max(t.user_attrs.get("study_seconds", 0) for t in study.trials)
    problem.lives = None
    assert play(tmp_path, problem).seconds >= before > 0


class WithRetained(WithOutcomes):
    def evaluate(self, candidates):
        return [
            replace(e, retained=np.full(5, 0.5 * e.objectives["quality"], np.float32))
            for e in super().evaluate(candidates)
        ]


def test_what_is_retained_is_known_again_and_evaluated_again_where_it_is_lost(tmp_path):
    """Starts of `adaptive` are judged by it: without it a resumed search would go another way."""
    problem = WithRetained()
    first = play(tmp_path, problem)
    mortal = Mortal(problem)
    again = play(tmp_path, mortal)
    assert mortal.evaluated == 0
    for one, other in zip(first.evaluations, again.evaluations, strict=True):
        assert other.retained.tolist() == one.retained.tolist() != other.outcomes.tolist()
    study = optuna.load_study(study_name="one", storage=f"sqlite:///{tmp_path / 'study.db'}")
    (tmp_path / "outcomes" / f"{study.trials[3].user_attrs['retained']}.npy").unlink()
    assert len(play(tmp_path, mortal).evaluations) == 30
    assert mortal.evaluated == 8  # its ask, and no other


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_lost_outcomes_are_evaluated_again(tmp_path, damage):
    """As they may be lost in a power failure: outcomes are not flushed to the disk one by one."""
    problem = WithOutcomes()
    play(tmp_path, problem)
    whole = projection(tmp_path)
    file = sorted((tmp_path / "outcomes").iterdir())[3]
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-7])
    mortal = Mortal(problem)
    result = play(tmp_path, mortal)
    assert mortal.evaluated == 8  # its ask, and no other
    assert file.read_bytes() == content
    assert not differences(whole, projection(tmp_path))
    assert len(result.evaluations) == 30


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_broken_checkpoint_repeats_the_steps(tmp_path, damage):
    def make():
        return LagrangianSearch(grid_points=3, batch=8, inner_steps=2)

    whole = tmp_path / "whole"
    play(whole, ToyPruning(step_cost=0.5), make())
    problem = Mortal(ToyPruning(step_cost=0.5))
    problem.lives = 1
    with pytest.raises(Killed):
        play(tmp_path / "killed", problem, make())
    (checkpoint,) = (tmp_path / "killed" / "checkpoints").iterdir()
    if damage is None:
        checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    else:
        checkpoint.write_bytes(damage)
    problem.lives = None
    with pytest.warns(UserWarning, match="its study repeats its steps"):
        play(tmp_path / "killed", problem, make())
    assert not differences(projection(whole), projection(tmp_path / "killed"))


def test_a_checkpoint_ahead_of_the_log_is_not_used(tmp_path):
    """As after a power failure that took the log's last asks."""

    def make():
        return LagrangianSearch(grid_points=3, batch=8, inner_steps=2)

    play(tmp_path / "whole", ToyPruning(step_cost=0.5), make())
    play(tmp_path / "cut", ToyPruning(step_cost=0.5), make())
    with sqlite3.connect(tmp_path / "cut" / "study.db") as connection:
        for table in ("trial_values", "trial_params", "trial_user_attributes", "trials"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("DELETE FROM study_user_attributes WHERE key = 'result'")
    play(tmp_path / "cut", ToyPruning(step_cost=0.5), make())
    assert not differences(projection(tmp_path / "whole"), projection(tmp_path / "cut"))


@pytest.mark.slow
def test_strategies_can_be_added_to_a_comparison(tmp_path, mini):
    def run(*names):
        with StudyLog(tmp_path) as log:
            return compare(mini, names, budget=2.0, seeds=(0,), log=log, resume=True).summary

    first = run("random")
    second = run("random", "tpe")
    assert second.studies[0].points == first.studies[0].points
    assert {s.label for s in second.standings} == {"random", "tpe"}


def test_heldout_evaluations_are_not_repeated(tmp_path, mini):
    class Counted:
        calls = 0

    heldout, original = mini.heldout, mini.heldout.evaluate

    def counting(candidates):
        Counted.calls += 1
        return original(candidates)

    heldout.evaluate = counting
    try:
        runs = []
        for _ in range(2):
            with StudyLog(tmp_path) as log:
                runs.append(compare(mini, ["random"], budget=2.0, seeds=(0,), log=log, resume=True))
    finally:
        del heldout.evaluate
    assert Counted.calls == 1
    assert runs[0].summary.front == runs[1].summary.front


def wait_for_trials(folder, count):
    """Until the log holds some trials, however slow this machine is."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            address = f"file:{folder / 'study.db'}?mode=ro"
            with sqlite3.connect(address, uri=True) as connection:
                (found,) = connection.execute("SELECT COUNT(*) FROM trials").fetchone()
            if found >= count:
                return
        except sqlite3.Error:
            pass
        time.sleep(0.02)
    raise AssertionError("no trials in five minutes")


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("left-alone")
    with StudyLog(folder) as log:
        compare(ZDT1(), ["random", "pymoo-nsga2"], budget=120.0, seeds=(0,), log=log)
    return projection(folder)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_the_command_goes_on_after_a_signal(tmp_path, number, left_alone):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("what started these tests ignores Ctrl-C, and so do their processes")
    start = ["compare", "--out", str(tmp_path / "a"), *SMALL, "--budget", "120"]
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, *start], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    wait_for_trials(tmp_path / "a", 17)
    os.kill(process.pid, number)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), stderr
    if number != signal.SIGKILL:
        assert "paretoprune compare --resume" in " ".join(stdout.split())
    assert read_study(tmp_path / "a" / "study.toml").strategy == ("random", "pymoo-nsga2")
    resumed = run_command("compare", "--resume", str(tmp_path / "a"))
    assert resumed.returncode == 0, resumed.stderr
    assert not differences(projection(tmp_path / "a"), left_alone)
    assert not json.loads((tmp_path / "a" / "comparison.json").read_text())["interrupted"]


def test_the_command_refuses_other_options(tmp_path):
    start = ["--out", str(tmp_path / "a"), *SMALL, "--budget", "10"]
    assert run_command("compare", *start).returncode == 0
    for option, value, known in (
        ("--budget", "11", "it was started with 10.0"),
        ("--seeds", "2", "it was started with 1"),
        ("--problem", "dtlz2", "it was started with zdt1"),
        ("--strategy", "tpe", "with --strategy tpe: it was started with"),
        ("--out", "x", "cannot be given with --resume"),
    ):
        done = run_command("compare", "--resume", str(tmp_path / "a"), option, value)
        assert done.returncode == 2
        assert known in done.stderr and option in done.stderr and "Traceback" not in done.stderr
    done = run_command("compare", "--resume", str(tmp_path / "nothing"))
    assert "holds no comparison to resume" in done.stderr
