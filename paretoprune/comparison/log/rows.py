"""A batch of trials as rows of Optuna's tables, all of them in one transaction.

`Study.add_trial` is one transaction per trial and one query per attribute, about 10 ms; this is
about a tenth of that. A test compares what is written with what `add_trial` writes.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages._rdb import models  # no public way writes more than one trial at a time
from optuna.trial import TrialState
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from paretoprune.core.space import Categorical, Float, Knob, Value


@dataclass(frozen=True)
class Asked:
    """A trial to be: its parameters with the knobs they belong to, and JSON-ready attributes."""

    values: Mapping[str, Value]
    knobs: Sequence[Knob]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """How a trial ended: `values` are its objectives in order, None for one that has none."""

    state: TrialState
    values: Sequence[float] | None
    attributes: Mapping[str, Any]


def insert_running(
    session: Session, study_id: int, first_number: int, asked: Sequence[Asked]
) -> list[models.TrialModel]:
    """Insert trials that are about to be evaluated."""
    now = datetime.datetime.now()
    trials = [
        models.TrialModel(
            study_id=study_id, number=first_number + i, state=TrialState.RUNNING, datetime_start=now
        )
        for i in range(len(asked))
    ]
    session.add_all(trials)
    session.flush()  # numbers them
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
    _insert(session, models.TrialParamModel, parameters)
    _insert_attributes(session, trials, asked)
    return trials


def finish(session: Session, trials: Sequence[models.TrialModel], told: Sequence[Told]) -> None:
    """Complete running trials with what was found of them."""
    now = datetime.datetime.now()
    session.add_all(trials)
    values = []
    for trial, one in zip(trials, told, strict=True):
        trial.state = one.state
        trial.datetime_complete = max(now, trial.datetime_start or now)  # clocks may be set back
        for objective, value in enumerate(one.values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            values.append(
                {
                    "trial_id": trial.trial_id, "objective": objective,
                    "value": stored, "value_type": kind,
                }
            )  # fmt: skip
    _insert(session, models.TrialValueModel, values)
    _insert_attributes(session, trials, told)


def reopen(
    session: Session, study_id: int, numbers: Sequence[int], told: Collection[str]
) -> list[models.TrialModel]:
    """Trials of a study that are to be evaluated again, in order, without what was found of them.

    `told` names the attributes that belong to what was found.
    """
    trial = models.TrialModel
    found = session.scalars(
        select(trial)
        .where(trial.study_id == study_id, trial.number.in_(numbers))
        .order_by(trial.number)
    ).all()
    ids = [one.trial_id for one in found]
    values, attributes = models.TrialValueModel, models.TrialUserAttributeModel
    session.execute(delete(values).where(values.trial_id.in_(ids)))
    session.execute(
        delete(attributes).where(attributes.trial_id.in_(ids), attributes.key.in_(told))
    )
    now = datetime.datetime.now()
    for one in found:
        one.state, one.datetime_start, one.datetime_complete = TrialState.RUNNING, now, None
    return list(found)


@lru_cache(maxsize=1024)
def distribution_of(knob: Knob) -> BaseDistribution:
    """What a knob is to Optuna; values of stepped real ones stay as they are, to the last bit."""
    if isinstance(knob, Categorical):
        return CategoricalDistribution(knob.choices)
    if isinstance(knob, Float):
        return FloatDistribution(knob.low, knob.high)
    return IntDistribution(knob.low, knob.high)


@lru_cache(maxsize=1024)
def _described(knob: Knob) -> str:
    return distribution_to_json(distribution_of(knob))


def _insert_attributes(
    session: Session, trials: Sequence[models.TrialModel], each: Sequence[Asked | Told]
) -> None:
    attributes = [
        {"trial_id": trial.trial_id, "key": key, "value_json": json.dumps(value)}
        for trial, one in zip(trials, each, strict=True)
        for key, value in one.attributes.items()
    ]
    _insert(session, models.TrialUserAttributeModel, attributes)


def _insert(session: Session, model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert into a model's table past its objects, which would take most of the time."""
    if rows:
        session.execute(insert(model.__table__), rows)
