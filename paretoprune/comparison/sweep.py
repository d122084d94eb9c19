"""Several comparisons of one study: one per model, task and pruner, each with a sub-folder.

`matrix.json` in the results folder names them. Such a folder can be resumed and run again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from paretoprune.comparison.configuration import (
    COMPRESSION,
    PLACES,
    STUDY_NAME,
    StudyFile,
    read_study,
)
from paretoprune.comparison.gradients import read_gradients
from paretoprune.comparison.results import SUMMARY_NAME, Summary, read_summary
from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.files import StoredModel, read_stored, write_stored

MATRIX_NAME = "matrix.json"


@dataclass(frozen=True)
class Case:
    """One comparison of a study: a study of one model, task and pruner, and its sub-folder.

    `folder` is empty where there is only one.
    """

    folder: str
    study: StudyFile


def cases_of(study: StudyFile) -> list[Case]:
    """One comparison per model, task and pruner; raises `InvalidValueError` for repeats."""
    if study.problem != COMPRESSION:
        return [Case("", study)]
    for key in ("model", "task", "pruner"):
        values = getattr(study, key)
        for value in values:
            if values.count(value) > 1:
                raise InvalidValueError(f"{key} {value!r} is named twice")
    if len(study.data) > 1 and len(study.data) != len(study.task):
        raise InvalidValueError(
            f"give data once for all tasks or once for each of the {len(study.task)}, got "
            f"{len(study.data)}"
        )
    tasks: list[tuple[str, ...]] = [(t,) for t in study.task] or [()]
    data = [(d,) for d in study.data] if len(study.data) > 1 else [study.data] * len(tasks)
    singles = [
        study.model_copy(update={"model": (m,), "task": t, "data": d, "pruner": (p,)})
        for m, (t, d), p in itertools.product(
            study.model, zip(tasks, data, strict=True), study.pruner
        )
    ]
    if len(singles) == 1:
        return [Case("", singles[0])]
    return [Case(name, one) for name, one in zip(_folders(singles, study), singles, strict=True)]


def _folders(cases: list[StudyFile], whole: StudyFile) -> Iterator[str]:
    """Names of sub-folders: settings that differ between the cases, in portable characters."""
    taken: set[str] = set()
    for case in cases:
        parts = [
            getattr(case, key)[0]
            for key in ("model", "task", "pruner")
            if len(getattr(whole, key)) > 1
        ]
        plain = [re.sub(r"[^A-Za-z0-9.=+-]+|[.]{2,}", "-", part).strip(".-") for part in parts]
        slug = "_".join(plain)
        name = slug[:100] or "case"
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{slug[:100]}-{number}"
        taken.add(name.lower())
        yield name


class CaseRecord(StoredModel):
    """One comparison: its sub-folder and its settings; `failure` says why it was not run."""

    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9=+-][A-Za-z0-9.=+_-]{0,150}$")]
    model: str
    task: str | None
    pruner: str
    failure: str | None = None

    @classmethod
    def of(cls, case: Case, failure: str | None = None) -> CaseRecord:
        """The record of a case of a study file."""
        one = case.study
        return cls(
            folder=case.folder, model=one.model[0], task=one.task[0] if one.task else None,
            pruner=one.pruner[0], failure=failure,
        )  # fmt: skip


class Matrix(StoredModel):
    """All comparisons of one study file, in order."""

    format: Literal["paretoprune-matrix/1"] = "paretoprune-matrix/1"
    cases: list[CaseRecord] = Field(min_length=1)


def write_matrix(folder: Path, matrix: Matrix) -> None:
    """Write `matrix.json`; raises `BrokenFileError` naming the file."""
    write_stored(folder / MATRIX_NAME, matrix)


def read_matrix(folder: Path) -> Matrix | None:
    """Read `matrix.json`; None in the folder of a single comparison."""
    file = folder / MATRIX_NAME
    return read_stored(file, "matrix file", Matrix) if file.exists() else None


def read_summaries(folder: Path) -> dict[str, Summary]:
    """The comparisons of a results folder that have finished, by sub-folder; `""` for a single one.

    Raises `BrokenFileError` for a folder without any results, or with broken ones.
    """
    matrix = read_matrix(folder)
    if matrix is None:
        return {"": read_summary(folder)}
    names = [case.folder for case in matrix.cases if case.failure is None]
    return {n: read_summary(folder / n) for n in names if (folder / n / SUMMARY_NAME).exists()}


def resumed(folder: Path, given: Mapping[str, Any]) -> tuple[StudyFile, list[Case]]:
    """The study that a results folder was started with, and its cases.

    `given` are options of the command line: they must say the same as then, apart from where the
    study runs. Raises `BrokenFileError` for a folder without a study, `InvalidValueError` for an
    option that differs or is missing.
    """
    file = folder / STUDY_NAME
    if not file.exists():
        raise BrokenFileError(f"{folder} holds no comparison to resume: it has no {STUDY_NAME}")
    study = read_study(file)
    for name, value in given.items():
        if name not in ("resume", *PLACES):
            _check_unchanged(folder, study, name, value)
    cases = [Case("", study)]
    if read_matrix(folder) is not None:
        cases = [
            Case(case.folder, read_study(begun)) if begun.exists() else case
            for case in cases_of(study)
            for begun in [folder / case.folder / STUDY_NAME]
        ]
    return _placed(study, cases, given, {name: given[name] for name in PLACES if name in given})


def started_again(folder: Path, given: Mapping[str, Any]) -> tuple[StudyFile, list[Case]]:
    """The study of a results folder and its cases as they were run, to run them once more.

    They run in this process unless the `given` options say otherwise.
    """
    matrix = read_matrix(folder)
    names = [""] if matrix is None else [c.folder for c in matrix.cases if c.failure is None]
    run = [name for name in names if (folder / name / STUDY_NAME).exists()]
    if not run:
        raise BrokenFileError(f"{folder} holds no {STUDY_NAME}, so it cannot be run again")
    cases = [Case(name, read_study(folder / name / STUDY_NAME)) for name in run]
    place = {name: given.get(name, StudyFile.model_fields[name].default) for name in PLACES}
    return _placed(read_study(folder / STUDY_NAME), cases, given, place)


def _placed(
    study: StudyFile, cases: list[Case], given: Mapping[str, Any], place: Mapping[str, Any]
) -> tuple[StudyFile, list[Case]]:
    """A study and its cases at a place, once `given` confirms actions that need a flag."""
    study = study.changed(place)
    cases = [Case(case.folder, case.study.changed(place)) for case in cases]
    for one in (study, *(case.study for case in cases)):
        one.confirm(given)
    return study, cases


def _check_unchanged(folder: Path, study: StudyFile, name: str, value: Any) -> None:
    """Refuse an option that a comparison was not started with."""
    flag = f"--{name.replace('_', '-')}"
    if name == "out" or name not in StudyFile.model_fields:
        raise InvalidValueError(
            f"{flag} cannot be given with --resume: {folder} goes on as it was started"
        )
    known = getattr(study, name)
    if getattr(study.changed({name: value}), name) != known:
        given, started = (
            ", ".join(map(str, values)) if isinstance(values, tuple | list) else values
            for values in (value, known)
        )
        raise InvalidValueError(
            f"cannot resume {folder} with {flag} {given}: it was started "
            + (f"without {flag}" if known in (None, ()) else f"with {started}")
        )


def is_finished(folder: Path) -> bool:
    """Whether a comparison has come to its end, its relaxation gaps included."""
    if not (folder / SUMMARY_NAME).exists() or read_summary(folder).interrupted:
        return False
    gradients = read_gradients(folder)
    return gradients is None or not gradients.interrupted
