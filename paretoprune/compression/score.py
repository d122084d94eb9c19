"""Scores of one keep schedule on one split, for `paretoprune evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from paretoprune.adapters.base import Adapter
from paretoprune.compression.configuration import policy_candidate
from paretoprune.compression.load import load_problem
from paretoprune.compression.samples import family_scores, task_metrics
from paretoprune.core.problem import Evaluation
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import Operators
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.static import Static
from paretoprune.schedules import KeepSchedule
from paretoprune.schedules.presets import Preset
from paretoprune.tasks.base import Sample


@dataclass(frozen=True)
class Scored:
    """One schedule's quality and cost compared with the dense model's, on `samples` samples.

    `schedule` is the mean over samples where a `policy` gave each its own. Scores are means of
    outcomes in 0..1, which `measure` names, overall and per question family; costs are per sample.
    `preset` is the published configuration that the schedule is, if it is one. `figures` are the
    task's own, by name: of the schedule, the dense and the text-only model. `pictures` counts the
    pictures of the samples; with `per_picture` each keeps a token.
    """

    model: str
    pruner: Pruner
    split: str
    samples: int
    schedule: KeepSchedule
    evaluation: Evaluation
    dense_score: float
    text_only_score: float
    family: Mapping[str, float]
    dense_family: Mapping[str, float]
    dense_gflops: float
    dense_kv_bytes: float
    policy: Policy | None = None
    preset: Preset | None = None
    measure: str = "exact match"
    figures: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    pictures: int = 0
    per_picture: bool = False


DEFAULT_SIZE = 512


def score_schedule(
    schedule: KeepSchedule | Policy | Preset,
    *,
    pruner: str | Pruner,
    model: str,
    task: str | None = None,
    data: str | None = None,
    split: str = "heldout",
    size: int | None = None,
    data_seed: int = 0,
    batch: int = 64,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str = "auto",
    trust_remote_code: bool = False,
    per_picture: bool = False,
) -> Scored:
    """Evaluate a schedule exactly as given (no lattice), a policy, or a preset.

    With `per_picture` every picture of a prompt keeps a token where a ratio is above 0. Raises
    `InvalidValueError` where model, pruner and schedule do not fit, before a sample is scored;
    every preset is carried to the model.
    """
    ranking = Operators.of(pruner, search_knobs=False).single

    def check(adapter: Adapter) -> None:
        _policy(schedule, ranking, adapter.spec.layers, model)

    problem = load_problem(
        model, task=task, data=data, pruner=ranking, data_seed=data_seed, batch=batch, split=split,
        search_size=size, default_size=DEFAULT_SIZE, heldout_size=0, dtype=dtype, device=device,
        attn=attn, trust_remote_code=trust_remote_code, per_picture=per_picture, check=check,
    )  # fmt: skip
    layers = problem.adapter.spec.layers
    policy = _policy(schedule, ranking, layers, model)
    candidate = policy_candidate(policy)
    (evaluation,) = problem.evaluate([candidate])
    assert evaluation.outcomes is not None
    pruned, dense, text_only = (
        task_metrics(problem.task, problem.samples, outcomes)
        for outcomes in (
            evaluation.outcomes,
            problem.dense_outcomes,
            problem.evaluator.text_only_outcomes,
        )
    )
    return Scored(
        model=model,
        pruner=ranking,
        split=split,
        samples=len(problem.samples),
        schedule=problem.configuration(candidate).schedule,
        evaluation=evaluation,
        dense_score=problem.dense_score,
        text_only_score=problem.text_only_score,
        family=family_scores(problem.samples, evaluation.outcomes),
        dense_family=family_scores(problem.samples, problem.dense_outcomes),
        dense_gflops=problem.cost_model.dense_flops / 1e9,
        dense_kv_bytes=problem.cost_model.mean("kv_bytes", np.ones(layers)),
        policy=policy if policy.adaptive else None,
        preset=schedule if isinstance(schedule, Preset) else None,
        measure=measure_of(problem.samples),
        figures={name: (pruned[name], dense[name], text_only[name]) for name in pruned},
        pictures=int(problem.evaluator.pictures.sum()),
        per_picture=per_picture,
    )


def _policy(
    schedule: KeepSchedule | Policy | Preset, ranking: Pruner, layers: int, model: str
) -> Policy:
    """The policy to evaluate; raises where it does not fit the decoder or its pruner."""
    keep = schedule.schedule(layers) if isinstance(schedule, Preset) else schedule
    if keep.layers != layers:
        raise InvalidValueError(
            f"the schedule has {keep.layers} layers, model {model!r} has {layers}"
        )
    policy = Static(keep) if isinstance(keep, KeepSchedule) else keep
    if isinstance(policy, Static):
        ranking.check(np.asarray(policy.schedule.ratios))
    return policy


def measure_of(samples: Sequence[Sample]) -> str:
    """Name of the mean outcome of these samples."""
    names = {sample.scoring.measure for sample in samples}
    return names.pop() if len(names) == 1 else "mean outcome"
