"""Several comparisons in one results folder: `matrix.json` names them, each has a sub-folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from paretoprune.comparison.configuration import STUDY_NAME, Case, StudyFile, read_study
from paretoprune.comparison.gradients import read_gradients
from paretoprune.comparison.results import SUMMARY_NAME, Summary, read_summary
from paretoprune.errors import BrokenFileError
from paretoprune.files import StoredModel, read_stored, write_stored

MATRIX_NAME = "matrix.json"


class CaseRecord(StoredModel):
    """One comparison: its sub-folder and what it is of; `failure` says why it was not run."""

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
    """Write `matrix.json`; raises `BrokenFileError` naming what cannot be written."""
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


def study_to_resume(folder: Path) -> StudyFile:
    """The settings that a results folder was started with; raises `BrokenFileError`."""
    file = folder / STUDY_NAME
    if not file.exists():
        raise BrokenFileError(f"{folder} holds no comparison to resume: it has no {STUDY_NAME}")
    return read_study(file)


def cases_to_resume(folder: Path) -> list[Case]:
    """All comparisons that a results folder was started for, each with its settings so far."""
    study = study_to_resume(folder)
    if read_matrix(folder) is None:
        return [Case("", study)]
    return [
        Case(case.folder, read_study(file)) if file.exists() else case
        for case in study.cases()
        for file in [folder / case.folder / STUDY_NAME]
    ]


def is_finished(folder: Path) -> bool:
    """Whether a comparison has come to its end, its relaxation gaps included."""
    if not (folder / SUMMARY_NAME).exists() or read_summary(folder).interrupted:
        return False
    gradients = read_gradients(folder)
    return gradients is None or not gradients.interrupted


def read_cases(folder: Path) -> list[Case]:
    """The studies of a results folder as they were run, each with all its settings written out."""
    matrix = read_matrix(folder)
    names = [""] if matrix is None else [c.folder for c in matrix.cases if c.failure is None]
    found = [n for n in names if (folder / n / STUDY_NAME).exists()]
    if not found:
        raise BrokenFileError(f"{folder} holds no {STUDY_NAME}, so it cannot be run again")
    return [Case(name, read_study(folder / name / STUDY_NAME)) for name in found]
