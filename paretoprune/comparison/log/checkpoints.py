"""Checkpoints of gradient strategies: one safetensors file per study, replaced whole."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paretoprune.core.study import Checkpoint, StudyResult
from paretoprune.errors import BrokenFileError

if TYPE_CHECKING:
    from paretoprune.search.gradient.state import GradientState

CHECKPOINTS = "checkpoints"
STUDY = "study"
"""Key of the study's own figures among the state's values."""


@dataclass(frozen=True)
class Figures:
    """Where the study was: its ask, search cost, stale asks, evaluations, seconds."""

    asks: int
    spent: float
    stale: int
    evaluations: int
    seconds: float
    evaluating: float


def checkpoint_file(folder: Path, study: str) -> Path:
    """Where a study's checkpoint lies in a results folder: a readable name, and never the same."""
    readable = re.sub(r"[^A-Za-z0-9.=-]+", "-", study)[:60]
    digest = hashlib.sha256(study.encode()).hexdigest()[:8]
    return folder / CHECKPOINTS / f"{readable}-{digest}.safetensors"


def write_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; evaluations are not in it, they are in the log."""
    result = checkpoint.result
    figures = Figures(
        checkpoint.asks, result.spent, checkpoint.stale, len(result.evaluations),
        result.seconds, result.evaluating,
    )  # fmt: skip
    from paretoprune.search.gradient.state import GradientState

    state = checkpoint.state
    values = {**state.values, STUDY: asdict(figures)}
    try:
        file.parent.mkdir(exist_ok=True)
        GradientState(state.tensors, values).save(file)
    except OSError as error:
        raise BrokenFileError(f"cannot write checkpoint {file}: {error.strerror}") from error


def read_checkpoint(file: Path, until: Callable[[int], StudyResult]) -> Checkpoint | None:
    """The checkpoint, with what the log has found `until` its ask.

    None where there is none, where the file is broken, or where it is ahead of the log, as it may
    be after a power failure: the study then repeats its asks from the start.
    """
    if not file.exists():
        return None
    from paretoprune.search.gradient.state import GradientState

    try:
        state = GradientState.load(file)
        figures = Figures(**state.values[STUDY])
    except (BrokenFileError, KeyError, TypeError) as error:
        warnings.warn(f"{error}; its study repeats its steps from the start", stacklevel=2)
        return None
    result = until(figures.asks)
    if len(result.evaluations) != figures.evaluations:
        return None
    result.spent, result.seconds = figures.spent, figures.seconds
    result.evaluating = figures.evaluating
    return Checkpoint(result, figures.asks, figures.stale, _without_study(state))


def _without_study(state: GradientState) -> GradientState:
    values = {key: value for key, value in state.values.items() if key != STUDY}
    return replace(state, values=values)
