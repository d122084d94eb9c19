"""The only loop: ask, evaluate, tell, record. One strategy, one problem, one seed, one budget.

A study that was interrupted runs the same loop again: what its recorder knows of an ask is taken
from there instead of being evaluated, so the strategy hears the same and goes on as it would have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paretoprune.core.capabilities import CanPrefetch
from paretoprune.core.options import has_parts, whole_number
from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.strategy import (
    BudgetExhausted,
    Checkpointed,
    SearchContext,
    SearchState,
    SearchStrategy,
)
from paretoprune.errors import (
    PROGRAMMING_ERRORS,
    FailedEvaluationError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    brief,
    one_line,
)

DEFAULT_BATCH = 8
"""Candidates per ask: enough to share prefixes, few enough for model-based samplers to learn."""
PATIENCE = 10
"""Asks in a row without a new configuration or spent budget, after which a study stops."""
MAX_FIRST_FAILURES = 24
"""Evaluations after which a search that saw nothing but failures stops: three asks."""
RUNNING = "running"
INTERRUPTED = "interrupted"


@dataclass
class StudyResult:
    """Result of a study: all evaluations in order, and their cost.

    `spent` is the search cost in dense-pass equivalents and `spent_at[i]` its value when evaluation
    i was done; `executed` is the compute of evaluations after sharing, in the same unit;
    `seconds` is wall time, of which `evaluating` was spent in `Problem.evaluate`; `stopped` says
    the reason: `budget`, `finished`, `stale` or `interrupted`; `running` until then. Seconds before
    an interruption count, those between it and the next start do not.
    """

    seed: int
    evaluations: list[Evaluation] = field(default_factory=list)
    spent_at: list[float] = field(default_factory=list)
    asks: list[int] = field(default_factory=list)
    spent: float = 0.0
    executed: float = 0.0
    seconds: float = 0.0
    evaluating: float = 0.0
    stopped: str = RUNNING

    def take(self, evaluations: Sequence[Evaluation], *, ask: int, spent: float) -> None:
        """Add the evaluations of ask number `ask`, when the search cost was `spent`."""
        self.evaluations += evaluations
        self.spent_at += [spent] * len(evaluations)
        self.asks += [ask] * len(evaluations)
        self.executed += sum(e.executed for e in evaluations)


@dataclass(frozen=True)
class Recorded:
    """Evaluations of one ask by an earlier run, and the study's seconds after them."""

    evaluations: list[Evaluation]
    seconds: float
    evaluating: float


@dataclass(frozen=True)
class Checkpoint:
    """State of a study after ask number `asks`: its result so far, and its strategy's state."""

    result: StudyResult
    asks: int
    stale: int
    state: SearchState


class Recorder:
    """Record of a study's asks and evaluations, which is read after an interruption.

    This one keeps nothing; `log.LoggedStudy` is the one of comparisons.
    """

    def finished(self) -> StudyResult | None:
        """The result, where an earlier run came to the end."""
        return None

    def checkpoint(self) -> Checkpoint | None:
        """The last checkpoint of an earlier run."""
        return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint instead of the one before."""

    def on_ask(self, candidates: Sequence[Candidate], *, ask: int, spent: float) -> Recorded | None:
        """Write down ask number `ask` before it is evaluated; `spent` is the search cost so far.

        Returns the evaluations of an earlier run, if there are any; then nothing is evaluated.
        """
        return None

    def on_tell(
        self, evaluations: Sequence[Evaluation], *, seconds: float, evaluating: float
    ) -> None:
        """Write down the evaluations of the last ask's candidates, in their order.

        `seconds` and `evaluating` are the study's so far.
        """

    def on_end(self, result: StudyResult) -> None:
        """Write down that the study came to its end."""


def run_study(
    problem: Problem,
    strategy: SearchStrategy,
    *,
    seed: int = 0,
    budget: float,
    space: str | None = None,
    batch: int = DEFAULT_BATCH,
    patience: int = PATIENCE,
    max_first_failures: int | None = MAX_FIRST_FAILURES,
    recorder: Recorder | None = None,
    observe: Callable[[StudyResult], None] | None = None,
) -> StudyResult:
    """Run `strategy` on `problem` until `budget` (dense-pass equivalents) is spent.

    A candidate is charged before it is evaluated, at the price of evaluating it alone, duplicates
    included; the study stops before the first that does not fit. `observe` is called after every
    ask but those of an earlier run, which `recorder` knows. Ctrl-C ends the study with what it has,
    marked `interrupted`. Raises `UnsupportedError` where strategy and problem do not fit, and
    `InvalidValueError` where the first `max_first_failures` evaluations all fail (None: never) or
    the problem says of an evaluation what cannot be.
    """
    if not isinstance(problem, Problem):
        raise InvalidValueError(
            f"a study searches a paretoprune.Problem, got {problem!r}; paretoprune.as_problem "
            "makes one of a function"
        )
    if not isinstance(strategy, SearchStrategy):
        raise InvalidValueError(
            f"a study runs an instance of paretoprune.SearchStrategy, got {strategy!r}"
        )
    batch = whole_number("batch", batch, 1)
    patience = whole_number("patience", patience, 1)
    if not isinstance(recorder, Recorder | None):
        raise InvalidValueError(
            f"recorder is a paretoprune.core.study.Recorder, or None, got {brief(recorder)}"
        )
    check_observer(observe)
    if max_first_failures is not None:
        max_first_failures = whole_number("max_first_failures", max_first_failures, 1)
    context = SearchContext(seed=seed, budget=budget, space=space)
    loop = _Loop(problem, strategy, context, recorder or Recorder(), batch, patience)
    loop.max_first_failures = max_first_failures
    try:
        strategy.start(problem, context)
        loop.resume()
        while loop.result.stopped == RUNNING:
            if loop.step() and observe is not None:
                observe(loop.result)
    except KeyboardInterrupt:
        loop.result.stopped = INTERRUPTED
    loop.close()
    return loop.result


def check_observer(observe: object) -> None:
    """Refuse a callback that cannot be called, before anything is computed."""
    if observe is not None and not callable(observe):
        raise InvalidValueError(f"observe is a function of the progress, got {brief(observe)}")


class _Loop:
    """The state of a study between asks."""

    def __init__(
        self,
        problem: Problem,
        strategy: SearchStrategy,
        context: SearchContext,
        recorder: Recorder,
        batch: int,
        patience: int,
    ) -> None:
        self.problem = problem
        self.strategy = strategy
        self.context = context
        self.recorder = recorder
        self.batch = batch
        self.patience = patience
        self.max_first_failures: int | None = None
        self.result = StudyResult(context.seed)
        self._seen: set[str] = set()
        self._stale = 0
        self._started = time.perf_counter()
        self._over = False
        self._ahead: list[Candidate] | None = None

    def resume(self) -> None:
        """Take over the state of an earlier run: its result, or its last checkpoint."""
        finished = self.recorder.finished()
        checkpoint: Checkpoint | None = None
        if isinstance(self.strategy, Checkpointed):
            checkpoint = self.recorder.checkpoint()
            if checkpoint is not None:
                self.strategy.restore(checkpoint.state)
        if finished is not None:
            self.result, self._over = finished, True
            return
        if checkpoint is None:
            return
        self.result = checkpoint.result
        self.context.asks, self.context.spent = checkpoint.asks, checkpoint.result.spent
        self._stale = checkpoint.stale
        self._seen = {self.problem.identity(e.candidate) for e in self.result.evaluations}
        self._started = time.perf_counter() - self.result.seconds

    def step(self) -> bool:
        """One ask; returns whether it was a new one, not one of an earlier run."""
        if self._ahead is None and self.strategy.finished:
            self.result.stopped = "finished"
            return False
        context, result = self.context, self.result
        before = context.spent
        number = context.asks if self._ahead is not None else context.asks + 1
        try:
            asked = self._asked()
        except BudgetExhausted:
            result.stopped = "budget"
            return False
        affordable = _charge(self.problem, context, asked)
        replayed = bool(affordable) and self._evaluate(affordable, number)
        fresh = {self.problem.identity(c) for c in affordable} - self._seen
        self._seen |= fresh
        worked = not asked and context.spent > before
        self._stale = 0 if fresh or worked else self._stale + 1
        result.spent = context.spent
        result.seconds = time.perf_counter() - self._started
        if len(affordable) < len(asked):
            result.stopped = "budget"
        elif self._stale >= self.patience:
            result.stopped = "stale"
        elif not replayed:
            self._save()
        return not replayed

    def _asked(self) -> list[Candidate]:
        """The next ask, unless it was asked for ahead."""
        if self._ahead is not None:
            asked, self._ahead = self._ahead, None
            return asked
        self.context.asks += 1
        asked = self.strategy.ask(self.batch)
        candidates: list[Any] = list(asked) if has_parts(asked) else [asked]
        if not all(isinstance(candidate, Candidate) for candidate in candidates):
            raise InvalidValueError(
                f"strategy {type(self.strategy).__name__!r} must give a list of "
                f"paretoprune.Candidate when asked, got {brief(asked)}"
            )
        return candidates

    def _work_ahead(self, now: list[Candidate]) -> None:
        """Let idle workers start on the ask after `now`, of a strategy that learns nothing.

        Nothing of it is recorded or charged before its turn, so the log stays the same.
        """
        problem = self.problem
        if self.strategy.learns or self.strategy.finished:
            return
        if not isinstance(problem, CanPrefetch) or not problem.works_ahead:
            return
        problem.begin(now)
        self._ahead = self._asked()
        spent, fits = self.context.spent, []
        for candidate in self._ahead:
            spent += problem.checked_price(candidate)
            if spent > self.context.budget + 1e-9:
                break
            fits.append(candidate)
        if fits:
            problem.begin(fits)

    def _evaluate(self, candidates: list[Candidate], ask: int) -> bool:
        """Evaluate an ask and tell the strategy; true if an earlier run had evaluated it."""
        context, result = self.context, self.result
        recorded = self.recorder.on_ask(candidates, ask=ask, spent=context.spent)
        if recorded is not None:
            found = recorded.evaluations
            self._started = time.perf_counter() - recorded.seconds
            result.evaluating = recorded.evaluating
        else:
            started = time.perf_counter()
            self._work_ahead(candidates)
            found = evaluate_each(self.problem, candidates)
            check_samples(self.problem, result.evaluations, found)
            now = time.perf_counter()
            result.evaluating += now - started
            self.recorder.on_tell(found, seconds=now - self._started, evaluating=result.evaluating)
        result.take(found, ask=ask, spent=context.spent)
        self.strategy.tell(found)
        self._check_failures()
        return recorded is not None

    def _check_failures(self) -> None:
        """Raise where nothing but failures was seen, so that a mistake does not cost a budget."""
        found, most = self.result.evaluations, self.max_first_failures
        if most is not None and len(found) >= most and all(e.failure for e in found):
            raise all_failed(self.problem, found, "the first ")

    def _save(self) -> None:
        """Save a checkpoint of a strategy that has a state; any other is replayed.

        A policy is an object of this run, so asks after the first policy are replayed, too.
        """
        if not isinstance(self.strategy, Checkpointed):
            return
        if any(e.candidate.policy is not None for e in self.result.evaluations):
            return
        state = self.strategy.state()
        if state is not None:
            self.recorder.save(Checkpoint(self.result, self.context.asks, self._stale, state))

    def close(self) -> None:
        """Settle the figures, and write down that the study ended, unless it was interrupted."""
        if self._over:
            return
        self.result.spent = self.context.spent
        self.result.seconds = time.perf_counter() - self._started
        if self.result.stopped != INTERRUPTED:
            self.recorder.on_end(self.result)


def evaluate_all(
    problem: Problem,
    candidates: Sequence[Candidate],
    *,
    batch: int,
    recorder: Recorder | None = None,
    observe: Callable[[int, int], None] | None = None,
) -> tuple[list[Evaluation], float]:
    """Evaluate a list that nothing is learned from, in batches; returns the seconds it took, too.

    Batches that `recorder` knows of an earlier run are taken from there, as in a study. `observe`
    is called with the counts done and in total before each batch.
    """
    keep = recorder or Recorder()
    found: list[Evaluation] = []
    started = time.perf_counter()
    for ask, start in enumerate(range(0, len(candidates), batch), start=1):
        if observe is not None:
            observe(start, len(candidates))
        part = list(candidates[start : start + batch])
        recorded = keep.on_ask(part, ask=ask, spent=0.0)
        if recorded is not None:
            started = time.perf_counter() - recorded.seconds
            found += recorded.evaluations
            continue
        evaluations = evaluate_each(problem, part)
        check_samples(problem, found, evaluations)
        seconds = time.perf_counter() - started
        keep.on_tell(evaluations, seconds=seconds, evaluating=seconds)
        found += evaluations
    return found, time.perf_counter() - started


def evaluate_each(problem: Problem, candidates: list[Candidate]) -> list[Evaluation]:
    """Evaluate a batch; if that fails, in halves, until single candidates fail.

    So running out of memory halves the batch, too. Errors that are not a candidate's fault are
    raised: a mistake in the code, an invalid return value of the problem, an unreadable file,
    Ctrl-C.
    """
    try:
        return _checked(problem, candidates, problem.evaluate(candidates))
    except Exception as error:
        if not _may_be_the_candidate(error):
            raise
        if len(candidates) == 1:
            reason = one_line(error)[:400]
            cost = problem.checked_price(candidates[0])
            return [Evaluation(candidates[0], {}, cost=cost, failure=reason)]
    half = len(candidates) // 2
    return evaluate_each(problem, candidates[:half]) + evaluate_each(problem, candidates[half:])


def _may_be_the_candidate(error: Exception) -> bool:
    """Whether an error may come from one candidate: of memory, of numbers, or the problem's own."""
    if isinstance(error, FailedEvaluationError):
        return True
    return not isinstance(error, (OSError, ParetopruneError, *PROGRAMMING_ERRORS))


def _checked(problem: Problem, candidates: Sequence[Candidate], found: object) -> list[Evaluation]:
    """A problem's evaluations of a batch; raises unless there is one of each candidate."""
    if not isinstance(found, Sequence) or not all(isinstance(e, Evaluation) for e in found):
        raise InvalidValueError(
            f"problem {problem.name!r} must give a list of paretoprune.Evaluation, one per "
            f"candidate, got {brief(found)}"
        )
    if len(found) != len(candidates):
        raise InvalidValueError(
            f"problem {problem.name!r} gave {len(found)} evaluations for {len(candidates)} "
            "candidates"
        )
    for evaluation in found:
        for objective in problem.objectives if evaluation.failure is None else ():
            if objective.name not in evaluation.objectives:
                raise UnknownNameError(
                    f"objective in an evaluation of problem {problem.name!r}:", objective.name,
                    evaluation.objectives,
                )  # fmt: skip
    return list(found)


def check_samples(
    problem: Problem, before: Sequence[Evaluation], found: Sequence[Evaluation]
) -> None:
    """Refuse evaluations on other numbers of samples than before: they cannot be compared.

    Failed evaluations and those on a part of the samples are ignored.
    """
    known = next((e for e in (*before, *found) if e.complete), None)
    for evaluation in found:
        if known is None or not evaluation.complete:
            continue
        counts = [0 if e.outcomes is None else len(e.outcomes) for e in (evaluation, known)]
        if counts[0] != counts[1]:
            raise InvalidValueError(
                f"problem {problem.name!r} gave outcomes of {counts[0]} samples for "
                f"{dict(evaluation.candidate.values)}, and of {counts[1]} before: all evaluations "
                "are on the same samples"
            )


def all_failed(
    problem: Problem, evaluations: Sequence[Evaluation], which: str = "all "
) -> InvalidValueError:
    """The error where all evaluations failed."""
    return InvalidValueError(
        f"{which}{len(evaluations)} evaluations of problem {problem.name!r} failed, so there is "
        f"nothing to search by; one of them: {evaluations[0].failure}"
    )


def _charge(problem: Problem, context: SearchContext, asked: list[Candidate]) -> list[Candidate]:
    """Charge candidates in order; return those before the first that does not fit."""
    for number, candidate in enumerate(asked):
        price = problem.checked_price(candidate)
        if not context.affords(price):
            return asked[:number]
        context.charge(price)
    return asked
