"""The only loop: ask, evaluate, tell, record. One strategy, one problem, one seed, one budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from paretoprune.problem import Candidate, Evaluation, Problem
from paretoprune.search.base import SearchContext, SearchStrategy

DEFAULT_BATCH = 8
"""Candidates per ask: enough to share prefixes, few enough for model-based samplers to learn."""
PATIENCE = 10
"""Asks in a row without a new configuration or spent budget, after which a study stops."""


class Recorder(Protocol):
    """Where a study writes down what it asks, and what it finds as soon as it is found."""

    def asked(self, candidates: Sequence[Candidate], *, ask: int, spent: float) -> None:
        """Write down ask number `ask` before it is evaluated; `spent` is the search cost so far."""

    def told(self, evaluations: Sequence[Evaluation]) -> None:
        """Write down what was found of the last ask's candidates, in their order."""


@dataclass
class StudyResult:
    """What a study found: all evaluations in order, and what they cost.

    `spent` is the search cost in dense-pass equivalents and `spent_at[i]` its value when evaluation
    i was done; `executed` is what was really computed of evaluations after sharing, same unit;
    `seconds` is wall time, of which `evaluating` was spent in `Problem.evaluate`; `stopped` says
    why: `budget`, `finished`, `stale` or `interrupted`.
    """

    seed: int
    evaluations: list[Evaluation] = field(default_factory=list)
    spent_at: list[float] = field(default_factory=list)
    asks: list[int] = field(default_factory=list)
    spent: float = 0.0
    executed: float = 0.0
    seconds: float = 0.0
    evaluating: float = 0.0
    stopped: str = "budget"


def run_study(
    problem: Problem,
    strategy: SearchStrategy,
    *,
    seed: int = 0,
    budget: float,
    space: str | None = None,
    batch: int = DEFAULT_BATCH,
    patience: int = PATIENCE,
    recorder: Recorder | None = None,
    observe: Callable[[StudyResult], None] | None = None,
) -> StudyResult:
    """Run `strategy` on `problem` until `budget` (dense-pass equivalents) is spent.

    A candidate is charged before it is evaluated, at the price of evaluating it alone, duplicates
    included; the study stops before the first that does not fit. `observe` is called after every
    ask. Ctrl-C ends the study with what it has, marked `interrupted`. Raises `UnsupportedError`
    where strategy and problem do not fit.
    """
    context = SearchContext(seed=seed, budget=budget, space=space)
    result = StudyResult(seed)
    started = time.perf_counter()
    seen: set[str] = set()
    stale = 0
    try:
        strategy.start(problem, context)
        while True:
            if strategy.finished:
                result.stopped = "finished"
                break
            before = context.spent
            context.asks += 1
            asked = strategy.ask(batch)
            affordable = _charge(problem, context, asked)
            if affordable:
                if recorder is not None:
                    recorder.asked(affordable, ask=context.asks, spent=context.spent)
                evaluating = time.perf_counter()
                evaluations = problem.evaluate(affordable)
                result.evaluating += time.perf_counter() - evaluating
                if recorder is not None:
                    recorder.told(evaluations)
                for evaluation in evaluations:
                    result.evaluations.append(evaluation)
                    result.spent_at.append(context.spent)
                    result.asks.append(context.asks)
                    result.executed += evaluation.executed
                strategy.tell(evaluations)
            fresh = {problem.identity(c) for c in affordable} - seen
            seen |= fresh
            worked = not asked and context.spent > before
            stale = 0 if fresh or worked else stale + 1
            result.spent = context.spent
            result.seconds = time.perf_counter() - started
            if observe is not None:
                observe(result)
            if len(affordable) < len(asked):
                result.stopped = "budget"
                break
            if stale >= patience:
                result.stopped = "stale"
                break
    except KeyboardInterrupt:
        result.stopped = "interrupted"
    result.spent = context.spent
    result.seconds = time.perf_counter() - started
    return result


def _charge(problem: Problem, context: SearchContext, asked: list[Candidate]) -> list[Candidate]:
    """Charge candidates in order; return those before the first that does not fit."""
    for number, candidate in enumerate(asked):
        price = problem.price(candidate)
        if not context.affords(price):
            return asked[:number]
        context.charge(price)
    return asked
