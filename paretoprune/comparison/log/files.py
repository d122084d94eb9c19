"""Files of a log in its results folder: per-sample outcomes, policies and checkpoints."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.problem import Evaluation, Problem
from paretoprune.core.study import Checkpoint, StudyResult
from paretoprune.errors import BrokenFileError
from paretoprune.files import require_regular, write_whole
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.files import write_policy

OUTCOMES = "outcomes"
PER_SAMPLE = ("outcomes", "retained")
"""Fields of an evaluation that are kept as files, each named in the attribute of its name."""
POLICIES = "policies"
CHECKPOINTS = "checkpoints"
STUDY = "study"
"""Key of the study's own figures among a checkpoint's values."""


# --- outcomes: one file each, named by its content


def read_outcomes(folder: Path, name: str) -> NDArray[np.float32]:
    """Per-sample outcomes, float32 `[samples]`, by the name that a trial's `outcomes` holds.

    `folder` is the results folder. Raises `BrokenFileError` where the file is missing or is not
    what its name says.
    """
    if not (len(name) == 64 and set(name) <= set("0123456789abcdef")):
        raise BrokenFileError(f"{name!r} is not the name of an outcomes file")
    file = folder / OUTCOMES / f"{name}.npy"
    require_regular(file, "outcomes")
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != name:
            raise ValueError("its content does not match its name")
        stored: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BrokenFileError(f"cannot read outcomes {name} in {folder}: {error}") from error
    return stored


def write_outcomes(folder: Path, outcomes: NDArray[np.float32]) -> str:
    """Write outcomes to the results folder, unless they are there; returns their name."""
    buffer = io.BytesIO()
    np.save(buffer, outcomes.astype(np.float32), allow_pickle=False)
    content = buffer.getvalue()
    name = hashlib.sha256(content).hexdigest()
    file = folder / OUTCOMES / f"{name}.npy"
    if not file.exists() or file.stat().st_size != len(content):
        write_whole(file, content)
    return name


# --- policies: one file each, named by its content


def store_policy(folder: Path, problem: Problem, evaluation: Evaluation) -> None:
    """Write the adaptive policy of an evaluation to the results folder, unless it is there."""
    policy = evaluation.candidate.policy
    if not isinstance(policy, Policy):
        return
    file = folder / POLICIES / f"{policy.key}.json"
    described = problem.describe()
    try:
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            write_policy(
                file,
                policy,
                pruner=str(evaluation.detail.get("pruner", described.get("pruner"))),
                pruner_settings=dict(evaluation.detail.get("pruner_settings", {})) or None,
                per_picture=bool(described.get("per_picture", False)),
                model=described.get("model"),
                score=evaluation.objectives.get("score"),
                compute=evaluation.objectives.get("compute", evaluation.metrics.get("compute")),
            )
    except OSError as error:
        raise BrokenFileError(f"cannot write policies to {folder}: {error.strerror}") from error


# --- checkpoints of gradient strategies: one safetensors file per study, replaced whole


@dataclass(frozen=True)
class StudyFigures:
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
    figures = StudyFigures(
        checkpoint.asks, result.spent, checkpoint.stale, len(result.evaluations),
        result.seconds, result.evaluating,
    )  # fmt: skip
    from paretoprune.search.gradient.state import GradientState

    state = checkpoint.state
    GradientState(state.tensors, {**state.values, STUDY: asdict(figures)}).save(file)


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
        figures = StudyFigures(**state.values[STUDY])
    except (BrokenFileError, KeyError, TypeError) as error:
        warnings.warn(f"{error}; its study repeats its steps from the start", stacklevel=2)
        return None
    result = until(figures.asks)
    if len(result.evaluations) != figures.evaluations:
        return None
    result.spent, result.seconds = figures.spent, figures.seconds
    result.evaluating = figures.evaluating
    values = {key: value for key, value in state.values.items() if key != STUDY}
    return Checkpoint(result, figures.asks, figures.stale, replace(state, values=values))
