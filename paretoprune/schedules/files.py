"""Schedule files: the JSON in which a found schedule is kept, shown and deployed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from paretoprune.errors import InvalidValueError, brief
from paretoprune.files import read_stored, write_whole
from paretoprune.schedules.schedule import KeepSchedule

MAX_SCHEDULE_BYTES = 1_000_000


class ScheduleFile(BaseModel):
    """A keep schedule with the pruner it was found for, and its score and compute.

    `score` is the held-out one, with its standard error. `pruner_settings` are the values of the
    pruner's knobs; what is not there has its default. With `per_picture` every picture of a prompt
    keeps at least one token where the ratio is above 0.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["paretoprune-schedule/1"] = "paretoprune-schedule/1"
    pruner: str = Field(min_length=1, max_length=100)
    pruner_settings: dict[str, float | int | str] | None = Field(default=None, max_length=100)
    keep: list[float] = Field(min_length=1, max_length=10_000)
    model: str | None = None
    found_by: str | None = None
    per_picture: bool = False
    score: FiniteFloat | None = None
    score_error: FiniteFloat | None = None
    compute: FiniteFloat | None = None

    @field_validator("pruner_settings")
    @classmethod
    def _are_finite(
        cls, settings: dict[str, float | int | str] | None
    ) -> dict[str, float | int | str] | None:
        for name, value in (settings or {}).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}")
        return settings

    @field_validator("keep")
    @classmethod
    def _is_schedule(cls, keep: list[float]) -> list[float]:
        KeepSchedule.from_ratios(keep)
        return keep

    @property
    def schedule(self) -> KeepSchedule:
        """The keep schedule itself."""
        return KeepSchedule.from_ratios(self.keep)


def read_schedule(file: str | Path) -> ScheduleFile:
    """Read a schedule file; raises `BrokenFileError` naming the file, the field and the reason."""
    if not isinstance(file, str | Path):
        raise InvalidValueError(f"a schedule file is named by its path, got {brief(file)}")
    return read_stored(Path(file), "schedule file", ScheduleFile, MAX_SCHEDULE_BYTES)


def write_schedule(file: Path, content: ScheduleFile) -> None:
    """Write a schedule file, whole or not at all."""
    stored = content.model_dump(exclude_none=True, exclude=default_left_out(content))
    text = json.dumps(stored, indent=1)
    write_whole(file, f"{text}\n".encode())


def default_left_out(content: BaseModel) -> set[str]:
    """`per_picture` where it is off: files that do without it stay as they were."""
    return set() if getattr(content, "per_picture", False) else {"per_picture"}
