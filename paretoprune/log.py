"""The study log: every evaluation as an Optuna trial, so that optuna-dashboard opens any study.

One SQLite file holds the studies of a comparison, one per strategy and seed. Per-sample outcomes
lie beside it as `outcomes/<sha256>.npy`, written once, named by their content.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy import event

from paretoprune.errors import BrokenFileError
from paretoprune.policies.files import write_policy
from paretoprune.problem import Evaluation, Problem
from paretoprune.quiet import without_info
from paretoprune.space import Categorical, Float, Knob, SearchSpace

LOG_NAME = "study.db"
OUTCOMES = "outcomes"
POLICIES = "policies"


class StudyLog:
    """The log of one results folder; use as a context manager or call `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            (folder / OUTCOMES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokenFileError(
                f"cannot write results folder {folder}: {error.strerror}"
            ) from error
        self.storage = RDBStorage(f"sqlite:///{folder / LOG_NAME}")
        event.listen(self.storage.engine, "connect", _write_ahead)
        self.storage.engine.dispose()  # reconnect with the settings above

    def study(self, name: str, problem: Problem, settings: Mapping[str, Any]) -> LoggedStudy:
        """A new study in this log; `settings` (JSON-ready) become its attributes."""
        with without_info("optuna.storages._rdb.storage"), without_info("optuna.study.study"):
            study = optuna.create_study(
                storage=self.storage,
                study_name=name,
                directions=[
                    "maximize" if o.direction == "max" else "minimize" for o in problem.objectives
                ],
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([o.name for o in problem.objectives])
        study.set_user_attr("problem", problem.describe())
        study.set_user_attr("settings", dict(settings))
        return LoggedStudy(study, problem, self.folder / OUTCOMES)

    def close(self) -> None:
        """Release the file."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def __enter__(self) -> StudyLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LoggedStudy:
    """The recorder of one study (see `study.Recorder`)."""

    def __init__(self, study: optuna.Study, problem: Problem, outcomes: Path) -> None:
        self._study = study
        self._problem = problem
        self._outcomes = outcomes

    def record(self, evaluation: Evaluation, *, ask: int, spent: float) -> None:
        """Write one finished evaluation as a trial."""
        candidate = evaluation.candidate
        space = self._problem.space(candidate.space)
        attributes: dict[str, Any] = {
            "space": candidate.space,
            "ask": ask,
            "cost": evaluation.cost,
            "executed": evaluation.executed,
            "spent": spent,
            "seconds": evaluation.seconds,
            "standard_errors": dict(evaluation.standard_errors),
            "metrics": dict(evaluation.metrics),
            "detail": dict(evaluation.detail),
        }
        if candidate.relaxed is not None:
            attributes["relaxed"] = dict(candidate.relaxed)
        if candidate.policy is not None:
            _store_policy(self._outcomes.parent / POLICIES, self._problem, evaluation)
        if evaluation.outcomes is not None:
            attributes["outcomes"] = _store(self._outcomes, evaluation.outcomes)
        if evaluation.failure is not None:
            attributes["failure"] = evaluation.failure
        if candidate.share < 1:
            # seen on part of the samples only: Optuna calls that a pruned trial, off its fronts
            attributes["share"] = candidate.share
            attributes["objectives"] = dict(evaluation.objectives)
        failed = evaluation.failure is not None
        state = TrialState.COMPLETE if evaluation.complete else TrialState.PRUNED
        self._study.add_trial(
            create_trial(
                state=TrialState.FAIL if failed else state,
                values=[evaluation.objectives[o.name] for o in self._problem.objectives]
                if evaluation.complete
                else None,
                params=dict(candidate.values),
                distributions=_distributions(space, candidate.values),
                user_attrs=attributes,
            )
        )


def read_outcomes(folder: Path, name: str) -> np.ndarray:
    """Per-sample outcomes, float32 `[samples]`, by the name that a trial's `outcomes` holds."""
    if not (len(name) == 64 and set(name) <= set("0123456789abcdef")):
        raise BrokenFileError(f"{name!r} is not the name of an outcomes file")
    try:
        stored: np.ndarray = np.load(folder / OUTCOMES / f"{name}.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BrokenFileError(f"cannot read outcomes {name} in {folder}: {error}") from error
    return stored


def _store(folder: Path, outcomes: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, outcomes.astype(np.float32), allow_pickle=False)
    name = hashlib.sha256(buffer.getvalue()).hexdigest()
    file = folder / f"{name}.npy"
    if not file.exists():
        partial = file.with_suffix(".partial")
        partial.write_bytes(buffer.getvalue())
        partial.replace(file)
    return name


def _store_policy(folder: Path, problem: Problem, evaluation: Evaluation) -> None:
    """Write an evaluated policy under its name by content, once."""
    policy = evaluation.candidate.policy
    assert policy is not None
    file = folder / f"{policy.key}.json"
    if file.exists():
        return
    folder.mkdir(exist_ok=True)
    described = problem.describe()
    write_policy(
        file,
        policy,
        pruner=str(evaluation.detail.get("pruner", described.get("pruner"))),
        pruner_settings=dict(evaluation.detail.get("pruner_settings", {})) or None,
        model=described.get("model"),
        score=evaluation.objectives.get("score"),
        compute=evaluation.objectives.get("compute", evaluation.metrics.get("compute")),
    )


def _distributions(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    return {knob.name: _distribution(knob) for knob in space.knobs if knob.name in values}


def _distribution(knob: Knob) -> BaseDistribution:
    if isinstance(knob, Categorical):
        return CategoricalDistribution(knob.choices)
    if isinstance(knob, Float):
        return FloatDistribution(knob.low, knob.high)
    return IntDistribution(knob.low, knob.high)


def _write_ahead(connection: Any, _: object) -> None:
    """SQLite's write-ahead log: a finished evaluation costs one append, and readers never wait."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
