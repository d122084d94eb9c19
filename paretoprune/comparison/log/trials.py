"""Evaluations as Optuna trials: a batch written in one transaction, and read as evaluations again.

Optuna's public calls cannot write this log. `create_new_trial`, `set_trial_user_attr` and
`set_trial_state_values` take one trial each, together 35 statements for seven knobs. When the
answer to a commit does not arrive, `create_new_trial` writes the trial twice. A finished trial
cannot be changed, but a resumed study evaluates it again where its outcomes are missing. So
batches are inserted into Optuna's tables, whose version `RDBStorage` checks when it opens the
database. `BaseModel`, which defines these tables, is the only private name used. A test compares
the rows with those that `Study.add_trial` writes.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.exceptions import StorageInternalError
from optuna.storages._rdb.models import BaseModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Row, Table, bindparam, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from paretoprune.comparison.log.files import PER_SAMPLE, read_outcomes
from paretoprune.comparison.log.place import LOG_NAME, open_to_read, place_to_read
from paretoprune.core.problem import Candidate, Evaluation, Objective
from paretoprune.core.space import Categorical, Float, Knob, Value
from paretoprune.errors import BrokenFileError

TRIALS, PARAMS, VALUES, ATTRIBUTES = (
    BaseModel.metadata.tables[name]
    for name in ("trials", "trial_params", "trial_values", "trial_user_attributes")
)
RESULT_ATTRIBUTES = frozenset(
    ("cost", "executed", "seconds", "standard_errors", "metrics", "detail", "failure",
     "objectives", "study_seconds", "study_evaluating", *PER_SAMPLE)
)  # fmt: skip
"""Names of the attributes that a trial gets once it is evaluated."""
RESULT = "result"
"""Attribute of a study that came to its end."""
Projection = dict[str, dict[str, Any]]


# --- writing


@dataclass(frozen=True)
class Asked:
    """A trial to be: its parameters with the knobs they belong to, and JSON-ready attributes."""

    values: Mapping[str, Value]
    knobs: Sequence[Knob]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Finished:
    """Outcome of a trial: `values` are its objectives in order, None without objectives."""

    state: TrialState
    values: Sequence[float] | None
    attributes: Mapping[str, Any]


def insert_running(
    connection: Connection, study_id: int, numbers: Sequence[int], asked: Sequence[Asked]
) -> list[Row[Any]]:
    """Insert trials that are about to be evaluated, and return them."""
    now = datetime.datetime.now()
    new = {"study_id": study_id, "state": TrialState.RUNNING, "datetime_start": now}
    connection.execute(insert(TRIALS), [{**new, "number": number} for number in numbers])
    trials = _running(connection, study_id, numbers)
    parameters = [
        {
            "trial_id": trial.trial_id,
            "param_name": knob.name,
            "param_value": distribution_of(knob).to_internal_repr(one.values[knob.name]),
            "distribution_json": _described(knob),
        }
        for trial, one in zip(trials, asked, strict=True)
        for knob in one.knobs
    ]
    _insert(connection, PARAMS, parameters)
    _insert_attributes(connection, trials, asked)
    return trials


def finish(
    connection: Connection, trials: Sequence[Row[Any]], finished: Sequence[Finished]
) -> None:
    """Complete running trials with their evaluations."""
    now = datetime.datetime.now()
    connection.execute(
        update(TRIALS)
        .where(TRIALS.c.trial_id == bindparam("id"))
        .values(state=bindparam("now_in"), datetime_complete=bindparam("at")),
        [
            {"id": t.trial_id, "now_in": one.state, "at": max(now, t.datetime_start)}
            for t, one in zip(trials, finished, strict=True)
        ],  # the later time, because clocks may be set back
    )
    values = [
        {"trial_id": t.trial_id, "objective": number, "value": value, "value_type": "FINITE"}
        for t, one in zip(trials, finished, strict=True)
        for number, value in enumerate(one.values or ())
    ]
    _insert(connection, VALUES, values)
    _insert_attributes(connection, trials, finished)


def reopen(connection: Connection, study_id: int, numbers: Sequence[int]) -> list[Row[Any]]:
    """Trials of a study that are to be evaluated again, in order, without what was found of them.

    None where they are not there.
    """
    trials = _running(connection, study_id, numbers)
    ids = [trial.trial_id for trial in trials]
    connection.execute(delete(VALUES).where(VALUES.c.trial_id.in_(ids)))
    connection.execute(
        delete(ATTRIBUTES).where(
            ATTRIBUTES.c.trial_id.in_(ids), ATTRIBUTES.c.key.in_(RESULT_ATTRIBUTES)
        )
    )
    started = {"datetime_start": datetime.datetime.now(), "datetime_complete": None}
    connection.execute(
        update(TRIALS).where(TRIALS.c.trial_id.in_(ids)).values(state=TrialState.RUNNING, **started)
    )
    return _running(connection, study_id, numbers)


@lru_cache(maxsize=1024)
def distribution_of(knob: Knob) -> BaseDistribution:
    """A knob as Optuna's distribution; values of stepped real ones stay exact, to the last bit."""
    if isinstance(knob, Categorical):
        return CategoricalDistribution(knob.choices)
    if isinstance(knob, Float):
        return FloatDistribution(knob.low, knob.high)
    return IntDistribution(knob.low, knob.high)


@lru_cache(maxsize=1024)
def _described(knob: Knob) -> str:
    return distribution_to_json(distribution_of(knob))


def _running(connection: Connection, study_id: int, numbers: Sequence[int]) -> list[Row[Any]]:
    """Trials by number, each with `trial_id` and `datetime_start`."""
    chosen = (
        select(TRIALS.c.trial_id, TRIALS.c.datetime_start)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.number.in_(numbers))
        .order_by(TRIALS.c.number)
    )
    return list(connection.execute(chosen))


def _insert_attributes(
    connection: Connection, trials: Sequence[Row[Any]], each: Sequence[Asked | Finished]
) -> None:
    attributes = [
        {"trial_id": trial.trial_id, "key": key, "value_json": json.dumps(value)}
        for trial, one in zip(trials, each, strict=True)
        for key, value in one.attributes.items()
    ]
    _insert(connection, ATTRIBUTES, attributes)


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


# --- reading


@dataclass(frozen=True)
class RecordedAsk:
    """The trials of one ask; `is_finished` is false while they are, or were, being evaluated."""

    number: int
    trials: list[FrozenTrial]

    @property
    def is_finished(self) -> bool:
        """Whether all of it was evaluated."""
        return all(trial.state != TrialState.RUNNING for trial in self.trials)

    @property
    def spent(self) -> float:
        """Search cost of the study when the ask was charged."""
        return float(self.trials[0].user_attrs["spent"])

    def last(self, name: str) -> float:
        """A figure of the study when the ask was finished."""
        return float(self.trials[-1].user_attrs.get(name, 0.0))

    def asks_for(self, candidates: Sequence[Candidate]) -> bool:
        """Whether it is an ask for these candidates."""
        recorded = [(candidate_of(t), t.user_attrs.get("policy")) for t in self.trials]
        asked = [(c, policy_key(c)) for c in candidates]
        return [_identity(*one) for one in recorded] == [_identity(*one) for one in asked]


def recorded_asks(trials: Sequence[FrozenTrial]) -> dict[int, RecordedAsk]:
    """Trials by ask, in order."""
    asks: dict[int, RecordedAsk] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        number = int(trial.user_attrs["ask"])
        asks.setdefault(number, RecordedAsk(number, [])).trials.append(trial)
    return asks


def candidate_of(trial: FrozenTrial) -> Candidate:
    """The candidate that a trial was written for; a policy is not in it."""
    known = trial.user_attrs
    return Candidate(
        known["space"],
        known.get("values", trial.params),
        share=known.get("share", 1.0),
        relaxed=known.get("relaxed"),
    )


def evaluation_of(
    trial: FrozenTrial, objectives: Sequence[Objective], folder: Path, candidate: Candidate
) -> Evaluation:
    """Stored evaluation of a candidate; raises `BrokenFileError` where its outcomes are missing."""
    known = trial.user_attrs
    per_sample: dict[str, NDArray[np.float32]] = {
        name: read_outcomes(folder, known[name]) for name in PER_SAMPLE if name in known
    }
    names = [o.name for o in objectives]
    values: dict[str, float] = {}  # of a failed trial
    if trial.state == TrialState.PRUNED:
        values = known["objectives"]
    elif trial.state == TrialState.COMPLETE:
        values = dict(zip(names, trial.values, strict=True))
    return Evaluation(
        candidate,
        values,
        cost=known["cost"],
        executed=known["executed"],
        seconds=known["seconds"],
        standard_errors=known["standard_errors"],
        metrics=known["metrics"],
        detail=known["detail"],
        failure=known.get("failure"),
        **per_sample,
    )


def policy_key(candidate: Candidate) -> str | None:
    """Name of a candidate's policy by its content; None where it has no policy, or no key."""
    key = getattr(candidate.policy, "key", None)
    return None if key is None else str(key)


def _identity(candidate: Candidate, policy: str | None) -> tuple[Any, ...]:
    return candidate.space, dict(candidate.values), candidate.share, policy


# --- comparing


def projection(folder: Path, storage: str | None = None) -> Projection:
    """Asks, objectives, per-sample outcomes and charged cost of all studies of a results folder.

    By study: `stopped` and `spent` (None while it is not over), and per trial its number, `ask`,
    `space`, knob values, `share`, state, objectives, `failure`, name of its outcomes (their
    content's hash), `cost` and the study's cost `spent`. Times, what was really computed after
    sharing and the order of studies are no part of it. JSON-ready, equal for a study that was
    interrupted and resumed and for one left alone, whatever it lies in. `storage` is where the log
    is, if not in the folder: the address in the folder is not followed unasked. Raises
    `BrokenFileError`.
    """
    place = place_to_read(folder, storage)
    try:
        with open_to_read(place) as opened:
            return {
                name.removeprefix(place.prefix): _study(
                    optuna.load_study(study_name=name, storage=opened)
                )
                for name in sorted(optuna.get_all_study_names(opened))
                if name.startswith(place.prefix)
            }
    except (SQLAlchemyError, StorageInternalError, RuntimeError, AssertionError) as error:
        where = folder / LOG_NAME if place.is_sqlite else place.shown
        raise BrokenFileError(f"cannot read study log {where}: {error}") from error


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Where two projections, or two studies of one, differ: a line each; [] for equal ones."""
    return list(_differences(one, other, "log"))


def _study(study: optuna.Study) -> dict[str, Any]:
    ended = study.user_attrs.get(RESULT, {})
    return {
        "stopped": ended.get("stopped"),
        "spent": ended.get("spent"),
        "trials": [_trial(trial) for trial in study.get_trials(deepcopy=False)],
    }


def _trial(trial: FrozenTrial) -> dict[str, Any]:
    known = trial.user_attrs
    values = trial.values if trial.state == TrialState.COMPLETE else None
    return {
        "number": trial.number,
        "ask": known["ask"],
        "space": known["space"],
        "knobs": known.get("values", trial.params),
        "share": known.get("share", 1.0),
        "policy": known.get("policy"),
        "state": trial.state.name,
        "objectives": values or known.get("objectives"),
        "failure": known.get("failure"),
        "outcomes": known.get("outcomes"),
        "cost": known.get("cost"),
        "spent": known["spent"],
    }


def _differences(one: Any, other: Any, where: str) -> Sequence[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return [
            line
            for key in dict.fromkeys([*one, *other])
            for line in _differences(one.get(key), other.get(key), f"{where}.{key}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line
            for i, (a, b) in enumerate(zip(one, other, strict=True))
            for line in _differences(a, b, f"{where}[{i}]")
        ]
    return [] if one == other else [f"{where}: {_short(one)} and {_short(other)}"]


def _short(value: Any) -> str:
    text = f"{len(value)} entries" if isinstance(value, list) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
