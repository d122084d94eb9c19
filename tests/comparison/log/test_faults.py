"""What may go wrong while a study runs: one candidate is lost, or one sentence is said."""

import datetime
import errno
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from paretoprune.comparison.compare import compare
from paretoprune.comparison.log import StudyLog, files, projection, trials
from paretoprune.comparison.results import read_summary, write_results
from paretoprune.compression.analytic import ZDT1
from paretoprune.core.problem import Evaluation
from paretoprune.core.space import Float, SearchSpace
from paretoprune.core.study import run_study
from paretoprune.errors import (
    BrokenFileError,
    FailedEvaluationError,
    InvalidValueError,
    ParetopruneError,
)
from paretoprune.search.random import RandomSearch
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


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda found: found[:-1], "gave 3 evaluations for 4 candidates"),
        (lambda found: None, "a list of paretoprune.Evaluation.*got None"),
        (lambda found: [e.objectives for e in found], "a list of paretoprune.Evaluation"),
        (lambda found: [replace(e, objectives={"qualty": 1.0, "cost": 0}) for e in found],
         "unknown objective in an evaluation.*'quality'.*Did you mean 'qualty'"),
        (lambda found: [replace(e, objectives={"quality": "1", "cost": 0}) for e in found],
         "objectives must be finite numbers"),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_ends_the_study(answer, said):
    """Each of them was a failed candidate, until the whole budget was spent."""

    class Wrong(Toy):
        def evaluate(self, candidates):
            return answer(super().evaluate(candidates))

    with pytest.raises(ParetopruneError, match=said):
        run_study(Wrong(), RandomSearch(), budget=4.0)


class Late(Toy):
    """Raises `error` in its third ask."""

    def __init__(self, error):
        super().__init__()
        self.error = error
        self.asks = 0

    def evaluate(self, candidates):
        self.asks += 1
        if self.asks == 3:
            raise self.error
        return super().evaluate(candidates)


@pytest.mark.parametrize(
    "error", [NameError("x"), AttributeError("x"), TypeError("x"), KeyError("x"), IndexError("x"),
              ImportError("x"), NotImplementedError("x"), RecursionError("x")],
)  # fmt: skip
def test_a_programming_error_ends_the_study_with_its_traceback(error):
    """`evaluate_each` took it for a failed candidate."""
    with pytest.raises(type(error)) as caught:
        run_study(Late(error), RandomSearch(), budget=24.0, batch=4)
    assert caught.value is error


def test_what_was_evaluated_before_a_programming_error_is_kept(tmp_path):
    with pytest.raises(NameError):
        play(tmp_path, Late(NameError("x")), batch=4)
    mended = Late(None)
    mended.asks = 3
    result = play(tmp_path, mended, batch=4)
    assert mended.asks == 3 + 4  # two of the six asks are in the log
    alone = run_study(Toy(), RandomSearch(), budget=24.0, batch=4)
    assert [e.objectives for e in result.evaluations] == [e.objectives for e in alone.evaluations]


def always_failing(error):
    def fault(_):
        raise error

    problem = Faulty(fault)
    problem.spaces = {"toy": SearchSpace((Float("ratio", 0.0, 0.3),))}
    return problem


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), ValueError("x"), ZeroDivisionError("x"), MemoryError(),
              np.linalg.LinAlgError("x"), FailedEvaluationError("x")],
)  # fmt: skip
def test_the_first_evaluations_that_all_fail_end_the_study(error):
    """They spent the whole budget."""
    problem = always_failing(error)
    with pytest.raises(InvalidValueError, match="the first 24 evaluations of problem 'toy' failed"):
        run_study(problem, RandomSearch(), budget=100.0)
    result = run_study(problem, RandomSearch(), budget=30.0, max_first_failures=None)
    assert sum(e.failure is not None for e in result.evaluations) == 30


def test_the_first_failures_stay_in_the_log(tmp_path):
    problem = always_failing(RuntimeError("x"))
    for _ in range(2):  # the second time they are read, and nothing is evaluated
        with pytest.raises(InvalidValueError, match="the first 24"):
            play(tmp_path, problem, budget=100.0)
        (study,) = projection(tmp_path).values()
        assert len(study["trials"]) == 24


def test_failures_after_a_success_do_not_end_the_study():
    class Once(Toy):
        lucky = True

        def evaluate(self, candidates):
            found = super().evaluate(candidates)
            good = found[: int(self.lucky)]
            self.lucky = False
            return good + [replace(e, objectives={}, failure="no luck") for e in found[len(good) :]]

    assert len(run_study(Once(), RandomSearch(), budget=60.0).evaluations) == 60


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
    with pytest.raises(BrokenFileError, match="cannot write .*outcomes.*No space left"):
        files.write_outcomes(tmp_path, np.zeros(3, np.float32))
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
        patch.setattr("paretoprune.comparison.log.database.RDBStorage", killed)
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

    monkeypatch.setattr(trials, "datetime", Module)
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
