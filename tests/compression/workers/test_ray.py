"""Evaluations on a Ray cluster of this machine: the same results, whatever dies."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

from paretoprune.comparison.compare import compare
from paretoprune.comparison.log import StudyLog, projection
from paretoprune.compression.load import load_problem
from paretoprune.compression.population import tabulate
from paretoprune.compression.workers import RayPlacement
from paretoprune.compression.workers.ray_cluster import connect
from paretoprune.core.study import evaluate_each, run_study
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.search.random import RandomSearch
from paretoprune.testing.agreement import assert_same, assert_same_logs

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.slow  # a cluster takes half a minute to start
SIZES = {"search_size": 32, "heldout_size": 16, "batch": 8}


@pytest.fixture(scope="module")
def here():
    return load_problem(**SIZES)


@pytest.fixture(scope="module")
def placement():
    with RayPlacement(workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def there(placement):
    return load_problem(**SIZES, executor=placement)


def drawn(problem, count, seed=0, **options):
    rng = np.random.default_rng(seed)
    found = [problem.candidate(problem.space().sample(rng)) for _ in range(count)]
    return [type(c)(c.space, c.values, **options) for c in found]


def assert_all_same(one, other):
    for a, b in zip(one, other, strict=True):
        assert_same(a, b)
        assert a.executed == pytest.approx(b.executed, rel=1e-2)  # a new worker has ranked nothing
        assert a.metrics == pytest.approx(b.metrics, rel=0.05, abs=1e-4)


def process_of(pool, place):
    return int(ray.get(pool._workers[place].handle.ready.remote()))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_results_are_those_of_one_process(here, there, share):
    assert there.describe() == here.describe()
    candidates = drawn(here, 6, share=share)
    assert_all_same(here.evaluate(candidates), there.evaluate(candidates))


def test_held_out_samples_are_scored_by_the_same_workers(here, there, placement):
    candidates = drawn(here, 3, seed=1)
    assert_all_same(here.heldout.evaluate(candidates), there.heldout.evaluate(candidates))
    assert len(placement.pools) == 1


def test_a_killed_actor_is_replaced_and_its_shard_run_again(here, there, placement):
    (pool,) = placement.pools
    dying = process_of(pool, 0)
    os.kill(dying, signal.SIGKILL)
    candidates = drawn(here, 6, seed=2)
    with pytest.warns(UserWarning, match="worker 0 died .* is replaced"):
        found = there.evaluate(candidates)
    assert_all_same(here.evaluate(candidates), found)
    assert pool.traffic.deaths == 1
    assert process_of(pool, 0) != dying


def test_an_actor_killed_at_work(here, there, placement):
    """The message is under way; a stopped process cannot answer it before it is killed."""
    (pool,) = placement.pools
    dying = process_of(pool, 1)
    os.kill(dying, signal.SIGSTOP)
    candidates = drawn(here, 6, seed=3)
    there.begin(candidates)
    time.sleep(0.2)
    os.kill(dying, signal.SIGKILL)
    with pytest.warns(UserWarning, match="worker 1 died"):
        found = there.evaluate(candidates)
    assert_all_same(here.evaluate(candidates), found)


def test_logs_of_all_kinds_of_strategies_are_equal(here, there, tmp_path):
    """`random` works ahead; `tpe` waits for each ask; a gradient search steps in the driver."""
    for folder, problem in (("here", here), ("there", there)):
        with StudyLog(tmp_path / folder) as log:
            compare(problem, ["random", "tpe"], budget=8.0, seeds=(0,), batch=4, log=log)
    logs = projection(tmp_path / "here"), projection(tmp_path / "there")
    assert len(logs[0]) == 3
    assert_same_logs(*logs, samples=SIZES["search_size"])


def test_workers_have_the_next_ask_before_this_one_is_told(there, monkeypatch):
    begun = []
    begin = type(there).begin
    monkeypatch.setattr(
        type(there), "begin", lambda self, c: (begun.append(len(c)), begin(self, c))[1]
    )
    result = run_study(there, RandomSearch(), budget=6.0, batch=4)
    assert result.stopped == "budget" and len(begun) >= 4
    sent = there.evaluator.running.executor.pool.traffic.messages
    there.evaluate(drawn(there, 2, seed=9))
    assert there.evaluator.running.executor.pool.traffic.messages == sent + 2


def test_an_error_in_a_worker_is_the_candidates(there, monkeypatch):
    good, bad = drawn(there, 2, seed=4)
    scoring = there.evaluator._scoring
    sent = scoring._sent
    cut = [(number, message[:-1]) for number, message in scoring._messages(*table_of(there, bad))]
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "_sent", lambda messages: sent(cut))  # cannot be read
        (failed,) = evaluate_each(there, [bad])
    assert failed.failure is not None and "\n" not in failed.failure
    assert evaluate_each(there, [good])[0].failure is None


def table_of(problem, candidate):
    chosen = np.ones(len(problem.samples), dtype=np.bool_)
    return tabulate([problem.configuration(candidate)], len(problem.samples)), chosen


def test_a_pruner_that_workers_cannot_build_is_named(placement):
    class Mine(FastV):
        """Not registered."""

    with pytest.raises(UnsupportedError, match="register it by an entry point"):
        load_problem(**SIZES, pruner=Mine(), executor=placement)


def test_more_workers_than_there_is_room_for():
    with pytest.raises(InvalidValueError, match="9 workers need as many CPUs, and the Ray cluster"):
        RayPlacement(workers=9).pool("x:y", {})


def test_no_cluster_at_an_address_is_one_sentence(monkeypatch):
    def refuse(**_):
        raise ConnectionError("Could not find any running Ray instance.\nand much more")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(InvalidValueError) as caught:
        connect(2, "auto")
    assert str(caught.value) == ("no Ray cluster at auto: Could not find any running Ray instance.")


def finished_trials(file):
    """How many a log holds by now; opening it as a study would create the tables of a new one."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as log:
            return log.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_a_driver_that_is_killed_resumes(here, tmp_path):
    """kill -9 of the driver in the middle of an ask; a new one goes on, on new workers."""
    options = ["--executor", "ray", "--workers", "2"]
    start = [
        sys.executable, "-m", "paretoprune", "compare", "-s", "random", "-s", "nsga2",
        "--search-size", "32", "--heldout-size", "16", "--batch", "8", "--budget", "12",
        "--seeds", "1", "--out", str(tmp_path / "killed"), *options,
    ]  # fmt: skip
    said = tmp_path / "said.txt"
    with said.open("wb") as stream:
        process = subprocess.Popen(start, stdout=stream, stderr=stream)
    finished = 0
    while finished < 8 and process.poll() is None:
        time.sleep(0.1)
        finished = finished_trials(tmp_path / "killed" / "study.db")
    assert process.poll() is None, f"it ended before it could be killed: {said.read_text()}"
    process.kill()
    process.wait()
    done = subprocess.run(
        [sys.executable, "-m", "paretoprune", "compare", "--resume",
         str(tmp_path / "killed"), *options],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with StudyLog(tmp_path / "whole") as log:
        compare(here, ["random", "nsga2"], budget=12.0, seeds=(0,), log=log)
    killed, whole = projection(tmp_path / "killed"), projection(tmp_path / "whole")
    assert_same_logs(whole, killed, samples=SIZES["search_size"])


def test_workers_are_an_option_of_ray():
    from paretoprune.comparison.configuration import StudyFile
    from paretoprune.comparison.preparation import check_places

    with pytest.raises(InvalidValueError, match="--workers goes with --executor ray"):
        check_places(StudyFile(workers=2))
    with pytest.raises(InvalidValueError, match="--problem zdt1 runs in-process"):
        check_places(StudyFile(executor="ray", problem="zdt1"))
