"""The recorder of one study: what it asks and finds becomes Optuna trials, and comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import optuna
from optuna.trial import TrialState
from sqlalchemy.orm import Session

from paretoprune.comparison.log.checkpoints import (
    checkpoint_file,
    read_checkpoint,
    write_checkpoint,
)
from paretoprune.comparison.log.outcomes import PER_SAMPLE, write_outcomes
from paretoprune.comparison.log.policies import store_policy
from paretoprune.comparison.log.replay import (
    RecordedAsk,
    candidate_of,
    evaluation_of,
    policy_key,
    recorded_asks,
    same_candidates,
    told_attributes,
)
from paretoprune.comparison.log.rows import Asked, Told, finish, insert_running, reopen
from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.study import Checkpoint, Recorded, Recorder, StudyResult
from paretoprune.errors import BrokenFileError

RESULT = "result"
"""Attribute of a study that came to its end."""
T = TypeVar("T")


class Log(Protocol):
    """What a recorder needs of the log it belongs to."""

    folder: Path
    storage: optuna.storages.RDBStorage

    def transaction(
        self, work: Callable[[Session], T], again: Callable[[Session], T] | None = None
    ) -> T:
        """Run `work` on the storage, all of it or nothing; `again` where that is not known."""

    def patiently(self, work: Callable[[], T]) -> T:
        """Call `work` until the storage can be used."""


class LoggedStudy(Recorder):
    """The recorder of one study.

    An ask is two transactions: its candidates as running trials before they are evaluated, and all
    that was found of them. So an ask is in the log as a whole or, after a crash, still running.
    """

    def __init__(self, log: Log, study: optuna.Study, problem: Problem) -> None:
        self._log = log
        self._study = study
        self._problem = problem
        self._id = log.storage.get_study_id_from_name(study.study_name)
        self._file = checkpoint_file(log.folder, study.study_name)
        trials = study.get_trials(deepcopy=False)
        self._count = len(trials)
        self._recorded = recorded_asks(trials)
        self._running: list[Any] = []

    # --- what an earlier run left

    def finished(self) -> StudyResult | None:
        """The result, where an earlier run came to the end and evaluated no policy."""
        known = self._log.patiently(lambda: self._study.user_attrs)
        ended: dict[str, Any] | None = known.get(RESULT)
        if ended is None or any("policy" in t.user_attrs for t in self._trials()):
            return None
        try:
            result = self._until(ended["asks"])
        except BrokenFileError:
            return None  # outcomes are missing: the asks tell which, and are evaluated again
        result.spent, result.stopped = ended["spent"], ended["stopped"]
        result.seconds, result.evaluating = ended["seconds"], ended["evaluating"]
        return result

    def checkpoint(self) -> Checkpoint | None:
        """The last checkpoint of an earlier run."""
        try:
            return read_checkpoint(self._file, self._until)
        except BrokenFileError:
            return None

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return [trial for ask in self._recorded.values() for trial in ask.trials]

    def _until(self, last: int) -> StudyResult:
        """All evaluations of asks up to number `last`."""
        settings = self._log.patiently(lambda: self._study.user_attrs)["settings"]
        result = StudyResult(seed=int(settings.get("seed", 0)))
        for ask in self._recorded.values():
            if ask.number <= last and ask.told:
                found = [
                    evaluation_of(t, self._problem.objectives, self._log.folder, candidate_of(t))
                    for t in ask.trials
                ]
                result.take(found, ask=ask.number, spent=ask.spent)
        return result

    # --- what this run does

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint instead of the one before."""
        write_checkpoint(self._file, checkpoint)

    def asked(self, candidates: Sequence[Candidate], *, ask: int, spent: float) -> Recorded | None:
        """Write down what is about to be evaluated, or return what is recorded of it.

        Raises `BrokenFileError` where something else is recorded.
        """
        known = self._recorded.get(ask)
        if known is not None:
            return self._recall(known, candidates)
        rows = [self._asked(candidate, ask, spent) for candidate in candidates]
        first = self._count
        numbers = range(first, first + len(rows))

        def write(session: Session) -> list[Any]:
            return insert_running(session, self._id, first, rows)

        def write_once(session: Session) -> list[Any]:
            written = reopen(session, self._id, numbers, told_attributes())
            return written or write(session)

        self._running = self._log.transaction(write, write_once)
        self._count += len(rows)
        return None

    def _recall(self, ask: RecordedAsk, candidates: Sequence[Candidate]) -> Recorded | None:
        """What is recorded of an ask; an unfinished one, or one with lost outcomes, is reopened."""
        if not same_candidates(ask.trials, candidates):
            raise BrokenFileError(
                f"cannot resume study {self._study.study_name!r} in {self._log.folder}: ask "
                f"{ask.number} is not the recorded one; was it recorded by another version or on "
                "another machine?"
            )
        numbers = [trial.number for trial in ask.trials]
        if ask.told:
            try:
                found = [
                    evaluation_of(trial, self._problem.objectives, self._log.folder, candidate)
                    for trial, candidate in zip(ask.trials, candidates, strict=True)
                ]
                return Recorded(found, ask.last("study_seconds"), ask.last("study_evaluating"))
            except BrokenFileError:
                pass  # evaluated again
        self._running = self._log.transaction(
            lambda session: reopen(session, self._id, numbers, told_attributes())
        )
        return None

    def told(self, evaluations: Sequence[Evaluation], *, seconds: float, evaluating: float) -> None:
        """Write down what was found of the last ask's candidates, in their order."""
        figures = {"study_seconds": seconds, "study_evaluating": evaluating}
        rows = [self._told(evaluation, figures) for evaluation in evaluations]
        trials, self._running = self._running, []
        numbers = [trial.number for trial in trials]

        def write_once(session: Session) -> None:
            finish(session, reopen(session, self._id, numbers, told_attributes()), rows)

        self._log.transaction(lambda session: finish(session, trials, rows), write_once)

    def ended(self, result: StudyResult) -> None:
        """Write down that the study came to its end."""
        ended = {
            "stopped": result.stopped, "spent": result.spent, "seconds": result.seconds,
            "evaluating": result.evaluating, "asks": max(result.asks, default=0),
        }  # fmt: skip
        self._log.patiently(lambda: self._study.set_user_attr(RESULT, ended))

    def _asked(self, candidate: Candidate, ask: int, spent: float) -> Asked:
        space = self._problem.spaces.get(candidate.space)
        attributes: dict[str, Any] = {"space": candidate.space, "ask": ask, "spent": spent}
        if candidate.relaxed is not None:
            attributes["relaxed"] = dict(candidate.relaxed)
        if candidate.share < 1:
            attributes["share"] = candidate.share
        if candidate.policy is not None:
            attributes["policy"] = policy_key(candidate)
        if space is None:  # what is no point of a space, such as a policy with its budget
            return Asked({}, [], attributes | {"values": dict(candidate.values)})
        knobs = [knob for knob in space.knobs if knob.name in candidate.values]
        return Asked(candidate.values, knobs, attributes)

    def _told(self, evaluation: Evaluation, figures: dict[str, float]) -> Told:
        attributes: dict[str, Any] = {
            "cost": evaluation.cost,
            "executed": evaluation.executed,
            "seconds": evaluation.seconds,
            "standard_errors": dict(evaluation.standard_errors),
            "metrics": dict(evaluation.metrics),
            "detail": dict(evaluation.detail),
            **figures,
        }
        store_policy(self._log.folder, self._problem, evaluation)
        for name in PER_SAMPLE:
            values = getattr(evaluation, name)
            if values is not None:
                attributes[name] = write_outcomes(self._log.folder, values)
        if evaluation.failure is not None:
            return Told(TrialState.FAIL, None, attributes | {"failure": evaluation.failure})
        if not evaluation.complete:
            # seen on part of the samples only: Optuna calls that a pruned trial, off its fronts
            attributes["objectives"] = dict(evaluation.objectives)
            return Told(TrialState.PRUNED, None, attributes)
        values = [evaluation.objectives[o.name] for o in self._problem.objectives]
        return Told(TrialState.COMPLETE, values, attributes)
