"""What may go wrong while a study runs: one candidate is lost, or one sentence is said."""

import datetime
import errno
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest

from paretoprune.comparison import compare
from paretoprune.errors import BrokenFileError
from paretoprune.log import StudyLog, outcomes, projection, rows
from paretoprune.problem import Evaluation
from paretoprune.problems.analytic import ZDT1
from paretoprune.results import read_summary, write_results
from paretoprune.search.random import RandomSearch
from paretoprune.study import run_study
from paretoprune.testing.strategies import Toy


def play(folder, problem, budget=24.0, patience=60.0, **options):
    with StudyLog(folder, patience=patience) as log:
        recorder = log.study("one", problem, {"seed": 0}, resume=True)
        return run_study(problem, RandomSearch(), budget=budget, recorder=recorder, **options)


class Faulty(Toy):
    """Evaluates as `fault(candidate)` lets it; every candidate with a small ratio has the fault."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def evaluate(self, candidates):
        for candidate in candidates:
            if candidate.values["ratio"] < 0.35:
                self.fault(candidate)
        return super().evaluate(candidates)


def raising(candidate):
    raise RuntimeError("a bug\nin two lines")


def not_a_number(candidate):
    Evaluation(candidate, {"quality": float("nan"), "cost": 0.5}, cost=1.0)


def infinite(candidate):
    Evaluation(candidate, {"quality": float("inf"), "cost": 0.5}, cost=1.0)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(raising, "a bug in two lines"), (not_a_number, "finite"), (infinite, "finite")],
)
def test_an_evaluation_that_goes_wrong_fails_its_candidate_alone(tmp_path, fault, reason):
    result = play(tmp_path, Faulty(fault))
    assert result.stopped == "budget"
    assert len(result.evaluations) == 24
    failed = [e for e in result.evaluations if e.failure is not None]
    assert 0 < len(failed) < 24
    assert all(e.candidate.values["ratio"] < 0.35 for e in failed)
    assert all(reason in e.failure and "\n" not in e.failure for e in failed)
    assert sum(e.candidate.values["ratio"] < 0.35 for e in result.evaluations) == len(failed)
    trials = projection(tmp_path)["one"]["trials"]
    assert [t["failure"] for t in trials] == [e.failure for e in result.evaluations]


def test_out_of_memory_halves_the_batch_and_then_fails_the_candidate(tmp_path):
    class Tight(Toy):
        batches = []

        def evaluate(self, candidates):
            if len(candidates) > 2 or any(c.values["ratio"] < 0.05 for c in candidates):
                raise MemoryError
            Tight.batches.append(len(candidates))
            return super().evaluate(candidates)

    result = play(tmp_path, Tight(), budget=64.0)
    assert set(Tight.batches) <= {1, 2}
    failed = [e for e in result.evaluations if e.failure is not None]
    assert all(e.candidate.values["ratio"] < 0.05 for e in failed)
    assert len(result.evaluations) == 64 and len(failed) == 64 - sum(Tight.batches)


def test_too_few_evaluations_are_no_evaluations(tmp_path):
    class Short(Toy):
        def evaluate(self, candidates):
            return super().evaluate(candidates)[:-1]

    result = play(tmp_path, Short(), budget=4.0)
    assert all("0 evaluations for 1 candidates" in e.failure for e in result.evaluations)


def test_a_full_disk_is_no_fault_of_the_candidate(tmp_path):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        play(tmp_path, Faulty(full))


def test_a_locked_storage_is_waited_for(tmp_path):
    StudyLog(tmp_path).close()
    held = threading.Event()

    def hold():
        with sqlite3.connect(tmp_path / "study.db", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            held.set()
            time.sleep(1.0)
            other.execute("COMMIT")

    class Watched(Toy):
        thread = None

        def evaluate(self, candidates):
            if Watched.thread is None:
                Watched.thread = threading.Thread(target=hold)
                Watched.thread.start()
                assert held.wait(300)
            return super().evaluate(candidates)

    result = play(tmp_path, Watched())
    Watched.thread.join()
    assert len(projection(tmp_path)["one"]["trials"]) == len(result.evaluations) == 24


def test_a_storage_that_stays_locked_is_one_sentence_and_nothing_is_lost(tmp_path):
    class Locking(Toy):
        other = None

        def evaluate(self, candidates):
            if Locking.other is None and len(projection(tmp_path)["one"]["trials"]) > 8:
                Locking.other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
                Locking.other.execute("BEGIN EXCLUSIVE")
            return super().evaluate(candidates)

    with pytest.raises(BrokenFileError, match=r"study\.db: database is locked"):
        play(tmp_path, Locking(), patience=0.3)
    Locking.other.execute("ROLLBACK")
    Locking.other.close()
    states = [t["state"] for t in projection(tmp_path)["one"]["trials"]]
    assert states == ["COMPLETE"] * 8 + ["RUNNING"] * 8
    assert len(play(tmp_path, Toy()).evaluations) == 24


def test_a_disk_that_fills_up_is_one_sentence_and_nothing_is_lost(tmp_path):
    problem = Toy()
    with StudyLog(tmp_path) as log:
        recorder = log.study("one", problem, {"seed": 0})

        def fill(result):
            if len(result.evaluations) == 8:
                with log.storage.engine.connect() as connection:
                    (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
                    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        with pytest.raises(BrokenFileError, match="database or disk is full"):
            run_study(problem, RandomSearch(), budget=400.0, recorder=recorder, observe=fill)
    trials = projection(tmp_path)["one"]["trials"]
    assert sum(t["state"] == "COMPLETE" for t in trials) % 8 == 0
    assert len(play(tmp_path, problem, budget=400.0).evaluations) == 400


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_outcomes_and_results_on_a_full_disk(tmp_path, monkeypatch):
    summary = compare(ZDT1(), ["random"], budget=8.0, seeds=(0,)).summary
    write_results(tmp_path, summary)
    (tmp_path / "outcomes").mkdir()
    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(BrokenFileError, match="cannot write outcomes .*No space left"):
        outcomes.write_outcomes(tmp_path, np.zeros(3, np.float32))
    with pytest.raises(BrokenFileError, match=r"cannot write .*comparison\.json: No space left"):
        write_results(tmp_path, summary)
    assert read_summary(tmp_path) == summary  # the one before is whole


def test_a_process_killed_while_it_creates_the_log_leaves_none(tmp_path, monkeypatch):
    """A table of studies without its index took a resumed study in twice, and lost both."""

    def killed(url):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name TEXT)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("paretoprune.log.sqlite.RDBStorage", killed)
        with pytest.raises(KeyboardInterrupt):
            StudyLog(tmp_path)
    assert not list(tmp_path.glob("study.db*"))
    for _ in range(3):
        with StudyLog(tmp_path) as log:
            log.study("one", Toy(), {}, resume=True)
    assert list(projection(tmp_path)) == ["one"]


@pytest.mark.parametrize("damage", ["nonsense", "truncated", "overwritten"])
def test_a_corrupt_log_is_one_sentence(tmp_path, damage):
    play(tmp_path, Toy())
    file = tmp_path / "study.db"
    for other in ("study.db-wal", "study.db-shm"):
        (tmp_path / other).unlink(missing_ok=True)
    content = bytearray(file.read_bytes())
    if damage == "nonsense":
        content = bytearray(b"this is no database\n" * 300)
    elif damage == "truncated":
        content = content[: len(content) // 2 + 100]
    else:
        content[4096:] = b"\xa5" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(BrokenFileError, match=r"study log .*study\.db") as caught:
        play(tmp_path, Toy())
    assert "\n" not in str(caught.value)
    with pytest.raises(BrokenFileError, match=r"study log .*study\.db"):
        projection(tmp_path)
    StudyLog(tmp_path / "other").close()


def test_a_clock_that_is_set_back(tmp_path, monkeypatch):
    class Clock(datetime.datetime):
        calls = 0

        @classmethod
        def now(cls, tz=None):
            Clock.calls += 1
            return datetime.datetime.now(tz) - datetime.timedelta(days=Clock.calls)

    class Module:
        datetime = Clock

    monkeypatch.setattr(rows, "datetime", Module)
    monkeypatch.setattr(time, "time", lambda: 1e9 - Clock.calls * 1e5)
    result = play(tmp_path, Toy())
    assert result.seconds >= result.evaluating >= 0
    study = optuna.load_study(study_name="one", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert all(t.datetime_complete >= t.datetime_start for t in study.trials)
    assert len(play(tmp_path, Toy()).evaluations) == 24


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "results", Path("/proc/results")):
        with pytest.raises(BrokenFileError, match="cannot write results folder"):
            StudyLog(place)
