"""The study log in a real PostgreSQL: the same, one process at a time, patient when it is gone."""

import json
import shutil
import threading
import time

import numpy as np
import optuna
import psycopg
import pytest

from paretoprune.comparison.compare import compare
from paretoprune.comparison.configuration import StudyFile, read_study, write_study
from paretoprune.comparison.log import (
    StudyLog,
    differences,
    projection,
    read_outcomes,
    study_log,
)
from paretoprune.comparison.log import database as log_database
from paretoprune.comparison.log.place import parse_storage, without_password
from paretoprune.core.problem import Evaluation
from paretoprune.core.study import run_study
from paretoprune.errors import BrokenFileError, InUseError, InvalidValueError
from paretoprune.search.random import RandomSearch
from paretoprune.search.specs import DEFAULT_STRATEGIES
from paretoprune.testing.relaxations import ToyPruning
from paretoprune.testing.strategies import STEPPED, Toy


class Measured(Toy):
    """With per-sample outcomes, so that there are files beside the log."""

    def evaluate(self, candidates):
        return [
            Evaluation(
                e.candidate, e.objectives, cost=e.cost,
                outcomes=np.full(5, e.objectives["quality"], np.float32),
            )
            for e in super().evaluate(candidates)
        ]  # fmt: skip


def play(folder, problem, url=None, budget=24.0, patience=60.0, **options):
    with StudyLog(folder, storage=url, patience=patience) as log:
        recorder = log.study("one", problem, {"seed": 0}, resume=True)
        return run_study(problem, RandomSearch(), budget=budget, recorder=recorder, **options)


@pytest.mark.slow
def test_the_log_is_the_one_that_a_file_would_hold(tmp_path, database):
    for name, url in (("there", database), ("here", None)):
        with StudyLog(tmp_path / name, storage=url) as log:
            compare(ToyPruning(), DEFAULT_STRATEGIES, budget=12.0, seeds=(0,), log=log)
    here, there = projection(tmp_path / "here"), projection(tmp_path / "there", database)
    assert len(here) == len(DEFAULT_STRATEGIES)
    assert differences(here, there) == []
    assert not (tmp_path / "there" / "study.db").exists()


def test_optuna_reads_it_without_us_and_outcomes_lie_beside(tmp_path, database):
    result = play(tmp_path / "results", Measured(), database)
    (name,) = optuna.get_all_study_names(database.replace("postgresql:", "postgresql+psycopg:"))
    study = optuna.load_study(
        study_name=name, storage=database.replace("postgresql:", "postgresql+psycopg:")
    )
    assert name.startswith("results-") and name.endswith("/one")
    assert [t.values for t in study.trials] == [
        [e.objectives["quality"], e.objectives["cost"]] for e in result.evaluations
    ]
    for trial, evaluation in zip(study.trials, result.evaluations, strict=True):
        stored = read_outcomes(tmp_path / "results", trial.user_attrs["outcomes"])
        assert np.array_equal(stored, evaluation.outcomes)


def test_an_interrupted_study_ends_as_one_left_alone(tmp_path, database):
    def stop(result):
        if len(result.evaluations) == 16:
            raise KeyboardInterrupt

    assert play(tmp_path / "one", Measured(), database, observe=stop).stopped == "interrupted"
    assert play(tmp_path / "one", Measured(), database).stopped == "budget"
    play(tmp_path / "whole", Measured(), database)
    assert differences(
        projection(tmp_path / "whole", database), projection(tmp_path / "one", database)
    ) == []  # fmt: skip


def test_a_second_process_says_so(tmp_path, database, monkeypatch):
    monkeypatch.setattr(log_database, "GRACE_SECONDS", 0.2)
    with StudyLog(tmp_path / "one", storage=database):
        shutil.copytree(tmp_path / "one", tmp_path / "copy")  # as another machine would have it
        with pytest.raises(InUseError, match="another process is working on the study log of"):
            StudyLog(tmp_path / "copy", storage=database)
        StudyLog(tmp_path / "other", storage=database).close()  # has studies of its own
    StudyLog(tmp_path / "copy", storage=database).close()


def test_a_process_that_was_cut_off_and_replaced_cannot_write(tmp_path, database, monkeypatch):
    monkeypatch.setattr(log_database, "LET_GO_SECONDS", 0.2)
    log = StudyLog(tmp_path / "one", storage=database, patience=0.2)
    recorder = log.study("one", Toy(STEPPED), {"seed": 0})
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    with psycopg.connect(database) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        )
    with StudyLog(tmp_path / "copy", storage=database):
        toy = Toy(STEPPED)
        with pytest.raises(InUseError):
            recorder.on_ask([toy.candidate({"ratio": 0.5, "layer": 1})], ask=1, spent=1.0)
    assert projection(tmp_path / "copy", database)["one"]["trials"] == []
    log.close()


def test_a_storage_that_is_gone_for_a_while_is_waited_for(tmp_path, postgres, database):
    class Outage(Measured):
        started = None

        def evaluate(self, candidates):
            if Outage.started is None:
                postgres.stop()
                Outage.started = threading.Timer(1.0, postgres.start)
                Outage.started.start()
            return super().evaluate(candidates)

    result = play(tmp_path / "one", Outage(), database)
    Outage.started.join()
    assert len(result.evaluations) == 24
    play(tmp_path / "whole", Measured())
    assert differences(projection(tmp_path / "whole"), projection(tmp_path / "one", database)) == []


@pytest.mark.parametrize("lost", range(3))
def test_a_commit_whose_answer_is_lost_is_not_done_twice(tmp_path, database, monkeypatch, lost):
    """The server has written it and the connection breaks before it says so."""
    log = StudyLog(tmp_path / "one", storage=database)
    count = 0
    commit = psycopg.Connection.commit

    def losing(connection):
        nonlocal count
        commit(connection)
        count += 1
        if count == 12 + lost:
            connection.close()
            raise psycopg.OperationalError("the connection is lost")

    with log:
        recorder = log.study("one", Measured(), {"seed": 0})
        count = 0
        monkeypatch.setattr(psycopg.Connection, "commit", losing)
        run_study(Measured(), RandomSearch(), budget=64.0, recorder=recorder)
    monkeypatch.undo()
    assert count > 12 + lost
    play(tmp_path / "whole", Measured(), budget=64.0)
    assert differences(projection(tmp_path / "whole"), projection(tmp_path / "one", database)) == []


def test_one_that_stays_away_is_one_sentence_and_nothing_is_lost(tmp_path, postgres, database):
    class Gone(Measured):
        count = 0

        def evaluate(self, candidates):
            Gone.count += 1
            if Gone.count == 2:
                postgres.stop()
            return super().evaluate(candidates)

    try:
        with pytest.raises(BrokenFileError, match=r"cannot use study log postgresql://") as caught:
            play(tmp_path, Gone(), database, patience=0.5)
        assert "\n" not in str(caught.value)
        with pytest.raises(BrokenFileError, match=r"cannot use study log postgresql://"):
            StudyLog(tmp_path, storage=database)
    finally:
        postgres.start()
    states = [t["state"] for t in projection(tmp_path, database)["one"]["trials"]]
    assert states == ["COMPLETE"] * 8 + ["RUNNING"] * 8
    assert len(play(tmp_path, Measured(), database).evaluations) == 24


def test_waiting_is_told_once(tmp_path, postgres, database, monkeypatch):
    monkeypatch.setattr(study_log, "SILENT_SECONDS", 0.1)
    with StudyLog(tmp_path, storage=database) as log:
        toy = Toy(STEPPED)
        recorder = log.study("one", toy, {"seed": 0})
        postgres.stop()
        threading.Timer(0.8, postgres.start).start()
        with pytest.warns(UserWarning, match="waiting for it") as told:
            recorder.on_ask([toy.candidate({"ratio": 0.5, "layer": 1})], ask=1, spent=1.0)
    assert len([w for w in told if "waiting" in str(w.message)]) == 1


def test_a_folder_keeps_to_its_storage(tmp_path, postgres, database):
    play(tmp_path / "there", Toy(), database)
    with pytest.raises(InvalidValueError, match="is in postgresql://.*name that storage, too"):
        StudyLog(tmp_path / "there")
    with pytest.raises(BrokenFileError, match="name that storage"):
        projection(tmp_path / "there")
    empty = postgres.create(f"empty_{time.time_ns()}")
    with pytest.raises(InvalidValueError, match="holds no studies of"):
        StudyLog(tmp_path / "there", storage=empty)
    play(tmp_path / "here", Toy())
    with pytest.raises(InvalidValueError, match=r"has its log in study\.db"):
        StudyLog(tmp_path / "here", storage=database)


def test_no_password_is_shown_or_stored(tmp_path):
    url = "postgresql://me:s3cret@localhost:1/studies?password=s3cret&connect_timeout=1"
    assert without_password(url) == "postgresql://me@localhost:1/studies?connect_timeout=1"
    with pytest.raises(BrokenFileError) as caught:
        StudyLog(tmp_path, storage=url)
    assert "s3cret" not in str(caught.value)
    assert not (tmp_path / "log.json").exists()  # a mistyped address binds to nothing


def test_a_password_is_not_stored(tmp_path, database):
    play(tmp_path, Toy(), database.replace("tester@", "tester:s3cret@"))
    assert "tester@" in (tmp_path / "log.json").read_text()
    assert "s3cret" not in (tmp_path / "log.json").read_text()
    write_study(tmp_path / "study.toml", StudyFile(storage="postgresql://me:s3cret@host/db"))
    assert read_study(tmp_path / "study.toml").storage == "postgresql://me@host/db"


@pytest.mark.parametrize(
    "text", ["mysql://me:pw@host/db", "postgres", "", "http://host/x", "postgresql://host", "a b:c"]
)
def test_an_address_that_is_none_is_one_sentence(text):
    with pytest.raises(InvalidValueError, match="a storage is written as sqlite:///FILE or") as e:
        parse_storage(text)
    assert "pw" not in str(e.value)


def test_a_broken_log_file_is_one_sentence(tmp_path):
    stored = {"format": "paretoprune-log/1", "storage": "sqlite:///x.db", "name": "../x"}
    (tmp_path / "log.json").write_text(json.dumps(stored))
    with pytest.raises(BrokenFileError, match=r"log file .*log\.json: name"):
        StudyLog(tmp_path, storage="sqlite:///x.db")


def test_a_sqlite_file_by_address_may_be_shared(tmp_path):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    play(tmp_path / "one", Toy(), url)
    play(tmp_path / "two", Toy(), url)
    assert len(optuna.get_all_study_names(url)) == 2
    assert projection(tmp_path / "one", url) == projection(tmp_path / "two", url)
