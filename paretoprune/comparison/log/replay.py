"""What a study's log knows of an earlier run: its asks, as evaluations again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from paretoprune.comparison.log.outcomes import PER_SAMPLE, read_outcomes
from paretoprune.core.problem import Candidate, Evaluation, Objective


@dataclass(frozen=True)
class RecordedAsk:
    """The trials of one ask; `told` is false while they are, or were, being evaluated."""

    number: int
    trials: list[FrozenTrial]

    @property
    def told(self) -> bool:
        """Whether all of it was evaluated."""
        return all(trial.state != TrialState.RUNNING for trial in self.trials)

    @property
    def spent(self) -> float:
        """Search cost of the study when the ask was charged."""
        return float(self.trials[0].user_attrs["spent"])

    def last(self, name: str) -> float:
        """A figure of the study when the ask was told."""
        return float(self.trials[-1].user_attrs.get(name, 0.0))


def recorded_asks(trials: Sequence[FrozenTrial]) -> dict[int, RecordedAsk]:
    """Trials by ask, in order."""
    asks: dict[int, RecordedAsk] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        number = int(trial.user_attrs["ask"])
        asks.setdefault(number, RecordedAsk(number, [])).trials.append(trial)
    return asks


def candidate_of(trial: FrozenTrial) -> Candidate:
    """The candidate that a trial was written for; a policy is not in it."""
    known = trial.user_attrs
    return Candidate(
        known["space"],
        known.get("values", trial.params),
        share=known.get("share", 1.0),
        relaxed=known.get("relaxed"),
    )


def evaluation_of(
    trial: FrozenTrial, objectives: Sequence[Objective], folder: Path, candidate: Candidate
) -> Evaluation:
    """What was found of a candidate; raises `BrokenFileError` where its outcomes are missing."""
    known = trial.user_attrs
    per_sample: dict[str, NDArray[np.float32]] = {
        name: read_outcomes(folder, known[name]) for name in PER_SAMPLE if name in known
    }
    return Evaluation(
        candidate,
        objectives_of(trial, objectives),
        cost=known["cost"],
        executed=known["executed"],
        seconds=known["seconds"],
        standard_errors=known["standard_errors"],
        metrics=known["metrics"],
        detail=known["detail"],
        failure=known.get("failure"),
        **per_sample,
    )


def objectives_of(trial: FrozenTrial, objectives: Sequence[Objective]) -> Mapping[str, float]:
    """Objectives by name; {} for a failed trial and one that was not evaluated."""
    if trial.state == TrialState.PRUNED:
        found: dict[str, float] = trial.user_attrs["objectives"]
        return found
    if trial.state != TrialState.COMPLETE:
        return {}
    return dict(zip([o.name for o in objectives], trial.values, strict=True))


def told_attributes() -> frozenset[str]:
    """Names of the attributes that a trial gets once it is evaluated."""
    return frozenset(
        ("cost", "executed", "seconds", "standard_errors", "metrics", "detail", "failure",
         "objectives", "study_seconds", "study_evaluating", *PER_SAMPLE)
    )  # fmt: skip


def same_candidates(trials: Sequence[FrozenTrial], asked: Sequence[Candidate]) -> bool:
    """Whether an ask is the recorded one."""
    return [_told_apart(candidate_of(t), t.user_attrs.get("policy")) for t in trials] == [
        _told_apart(c, None if c.policy is None else policy_key(c)) for c in asked
    ]


def policy_key(candidate: Candidate) -> str | None:
    """Name of a policy by its content, where it has one."""
    key = getattr(candidate.policy, "key", None)
    return None if key is None else str(key)


def _told_apart(candidate: Candidate, policy: str | None) -> Any:
    return candidate.space, dict(candidate.values), candidate.share, policy
