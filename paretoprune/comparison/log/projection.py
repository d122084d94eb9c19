"""The canonical projection of a log: what must not depend on when it was interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from paretoprune.comparison.log.place import LOG_NAME, place_to_read
from paretoprune.errors import BrokenFileError

Projection = dict[str, dict[str, Any]]


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
        opened = optuna.storages.RDBStorage(place.url.render_as_string(hide_password=False))
        try:
            return {
                name.removeprefix(place.prefix): _study(
                    optuna.load_study(study_name=name, storage=opened)
                )
                for name in sorted(optuna.get_all_study_names(opened))
                if name.startswith(place.prefix)
            }
        finally:
            opened.remove_session()
            opened.engine.dispose()
    except (SQLAlchemyError, StorageInternalError, RuntimeError, AssertionError) as error:
        where = folder / LOG_NAME if place.is_sqlite else place.shown
        raise BrokenFileError(f"cannot read study log {where}: {error}") from error


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Where two projections, or two studies of one, differ: a line each; [] for equal ones."""
    return list(_differences(one, other, "log"))


def _study(study: optuna.Study) -> dict[str, Any]:
    ended = study.user_attrs.get("result", {})
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
        lines: list[str] = []
        for key in dict.fromkeys([*one, *other]):
            lines += _differences(one.get(key), other.get(key), f"{where}.{key}")
        return lines
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
