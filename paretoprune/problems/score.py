"""Scores one keep schedule on one split: what `paretoprune evaluate` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from paretoprune.deploy import pruner_of
from paretoprune.errors import InvalidValueError
from paretoprune.presets import Preset
from paretoprune.problem import Evaluation
from paretoprune.problems.load import load_problem
from paretoprune.problems.token_pruning import exact_candidate, family_scores
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import Operators
from paretoprune.schedules import KeepSchedule, ScheduleFile


@dataclass(frozen=True)
class Scored:
    """One schedule's quality and cost beside the dense model's, on `samples` samples.

    Scores are exact match in 0..1, overall and per question family; costs are per sample. `preset`
    is the published configuration that the schedule is, if it is one.
    """

    model: str
    pruner: Pruner
    split: str
    samples: int
    schedule: KeepSchedule
    evaluation: Evaluation
    dense_score: float
    blind_score: float
    family: Mapping[str, float]
    dense_family: Mapping[str, float]
    dense_gflops: float
    dense_kv_bytes: float
    preset: Preset | None = None


def score_schedule(
    schedule: KeepSchedule | ScheduleFile | Preset,
    *,
    pruner: str | Pruner | None = None,
    model: str,
    task: str | None = None,
    split: str = "heldout",
    size: int = 512,
    data_seed: int = 0,
    batch: int = 64,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str = "auto",
    trust_remote_code: bool = False,
) -> Scored:
    """Evaluate a schedule exactly as given (no lattice); raises where it does not fit the model.

    `pruner` is by default that of the file or preset, else FastV. A preset fits every model.
    """
    if pruner is None and isinstance(schedule, ScheduleFile | Preset):
        pruner = pruner_of(schedule)
    ranking = Operators.of(pruner or "fastv", search_knobs=False).single
    problem = load_problem(
        model, task=task, pruner=ranking, data_seed=data_seed, batch=batch, split=split,
        search_size=size, heldout_size=0, dtype=dtype, device=device, attn=attn,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    layers = problem.adapter.spec.layers
    preset = schedule if isinstance(schedule, Preset) else None
    if isinstance(schedule, Preset):
        schedule = schedule.schedule(layers)
    elif isinstance(schedule, ScheduleFile):
        schedule = schedule.schedule
    if schedule.layers != layers:
        raise InvalidValueError(
            f"the schedule has {schedule.layers} layers, model {model!r} has {layers}"
        )
    (evaluation,) = problem.evaluate([exact_candidate(schedule)])
    assert evaluation.outcomes is not None
    return Scored(
        model=model,
        pruner=ranking,
        split=split,
        samples=size,
        schedule=schedule,
        evaluation=evaluation,
        dense_score=problem.dense_score,
        blind_score=problem.blind_score,
        family=family_scores(problem.samples, evaluation.outcomes),
        dense_family=family_scores(problem.samples, problem.dense_outcomes),
        dense_gflops=problem.dense_flops / 1e9,
        dense_kv_bytes=problem.cost_value("kv_bytes", np.ones(layers)),
        preset=preset,
    )
