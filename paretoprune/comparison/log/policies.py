"""Adaptive policies that were evaluated: one file each, named by its content."""

from __future__ import annotations

from pathlib import Path

from paretoprune.core.problem import Evaluation, Problem
from paretoprune.errors import BrokenFileError
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.files import write_policy

POLICIES = "policies"


def store_policy(folder: Path, problem: Problem, evaluation: Evaluation) -> None:
    """Write the policy of an evaluation to the results folder, unless it is there."""
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
