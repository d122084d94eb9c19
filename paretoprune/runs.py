"""What a comparison was started with, beside its results, so that it can be continued as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from paretoprune.errors import BrokenFileError

RUN_NAME = "run.json"


class Run(BaseModel):
    """Strategies, seeds, budget and problem of a comparison, with the options it was loaded with.

    `strategies` are written as on the command line; `options` are named as there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["paretoprune-run/1"] = "paretoprune-run/1"
    strategies: list[str]
    seeds: list[int]
    budget: float
    problem: str
    options: dict[str, Any]


def write_run(folder: Path, run: Run) -> None:
    """Write `run.json`, whole or not at all."""
    partial = folder / f"{RUN_NAME}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(run.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / RUN_NAME)
    except OSError as error:
        raise BrokenFileError(f"cannot write to {folder}: {error.strerror}") from error


def read_run(folder: Path) -> Run:
    """Read `run.json` of a results folder; raises `BrokenFileError` naming what is wrong."""
    file = folder / RUN_NAME
    try:
        return Run.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BrokenFileError(
            f"{folder} holds no comparison to resume: cannot read {file.name} ({error.strerror})"
        ) from error
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{file} is not UTF-8 text") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BrokenFileError(f"{file}: {where}: {first['msg']}") from error
