"""Compares strategies on one problem: strategies x seeds -> studies -> one ranking.

All strategies get the same search cost, and are ranked on the same held-out data and by the same
fixed reference points (`ranking`). Candidates are chosen on the search split only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretoprune import frontier
from paretoprune.comparison.log import StudyLog
from paretoprune.comparison.presets import EvaluatedPreset, evaluate_presets
from paretoprune.comparison.ranking import Study, hypervolume_of, summarise
from paretoprune.comparison.reference import Reference
from paretoprune.comparison.results import Summary
from paretoprune.core.options import has_parts, whole_number
from paretoprune.core.problem import Problem, default_space
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.core.study import (
    DEFAULT_BATCH,
    INTERRUPTED,
    MAX_FIRST_FAILURES,
    Recorder,
    StudyResult,
    all_failed,
    check_observer,
    evaluate_all,
    run_study,
)
from paretoprune.core.trace import Traced
from paretoprune.errors import (
    BrokenFileError,
    InUseError,
    InvalidValueError,
    ParetopruneError,
    brief,
)
from paretoprune.search.specs import DEFAULT_STRATEGIES, Strategy, StrategySpec

HELDOUT = "held-out"
"""Prefix of the study with the held-out evaluations of these fronts."""
HELDOUT_BATCH = 16
"""Small enough to tell the time left, and to lose little by an interruption."""


@dataclass
class Comparison:
    """All studies on one problem; `summary` is the typed record that reports are drawn from."""

    problem: Problem
    studies: list[Study]
    summary: Summary


@dataclass(frozen=True)
class Progress:
    """State of the running study, as `observe` receives it.

    `spent` and `budget` are in dense-pass equivalents.
    `done` of `total` studies are finished; `phase` is `search`, `heldout` or `presets`.
    """

    phase: str
    label: str
    seed: int
    done: int
    total: int
    spent: float
    budget: float
    hypervolume: float
    evaluations: int


def compare(
    problem: Problem,
    strategies: Strategy | Sequence[Strategy] = DEFAULT_STRATEGIES,
    *,
    budget: float,
    seeds: int | Sequence[int] = (0, 1),
    batch: int = DEFAULT_BATCH,
    log: StudyLog | None = None,
    observe: Callable[[Progress], None] | None = None,
    settings: dict[str, Any] | None = None,
    reference: Reference | None = None,
    resume: bool = False,
) -> Comparison:
    """Search `problem` with every strategy and seed at equal search cost, and rank the strategies.

    Strategies are named (`"tpe"`, `"nsga2:population=24"`, `"tpe,random"`, `"mine.py:Climb"`) or
    given as classes or instances, of which each study gets a copy. `budget` is in dense-pass
    equivalents; `seeds` is a list, or a number N for 0 to N-1. A strategy that does not depend on
    its seed runs once.
    Ranking is by held-out front area where the problem has held-out data, else by hypervolume.
    IGD+, epsilon and Hausdorff refer to `reference`, an exhaustive front, or to the union front.
    Presets that the problem was loaded with are evaluated in the end, and compared with the front.
    After Ctrl-C the comparison covers the finished studies, marked `interrupted`.
    With `resume`, what `log` holds of an earlier run is taken from there and the rest is done; the
    result is that of a run left alone. Other strategies may be compared than before, but with the
    same problem, budget and batch: raises `InvalidValueError` naming the difference.
    Where nothing can be evaluated, or everything fails, it raises `InvalidValueError`; where
    held-out data cannot, `failure` says why and the ranking is by hypervolume.
    """
    if not isinstance(log, StudyLog | None):
        raise InvalidValueError(
            f"log is a paretoprune.comparison.log.StudyLog(Path(folder)), or None, got {brief(log)}"
        )
    if not isinstance(reference, Reference | None):
        raise InvalidValueError(
            "reference is what paretoprune.comparison.reference.reference_front(problem) returns, "
            f"or None, got {brief(reference)}"
        )
    if not isinstance(settings, Mapping | None):
        raise InvalidValueError(f"settings are a dict, or None, got {brief(settings)}")
    check_observer(observe)
    specs = _specs(strategies)
    seeds = _seeds(seeds)
    check(problem, specs, seeds, budget)
    runs = [
        (spec, seed) for spec in specs for seed in (seeds if spec.depends_on_seed else seeds[:1])
    ]
    studies: list[Study] = []
    interrupted = False
    for done, (spec, seed) in enumerate(runs):
        strategy = spec.build()
        recorder = None
        if log is not None:
            name = f"{spec.label} seed={seed}"
            part = {"seed": seed, "budget": budget, "batch": batch}
            recorder = log.study(name, problem, part, resume=resume)

        def watch(
            result: StudyResult, spec: StrategySpec = spec, seed: int = seed, done: int = done
        ) -> None:
            if observe is not None:
                reached = hypervolume_of(problem, result.evaluations)
                observe(
                    Progress(
                        "search", spec.label, seed, done, len(runs), result.spent, budget,
                        reached, len(result.evaluations),
                    )
                )  # fmt: skip

        succeeded = any(e.failure is None for study in studies for e in study.evaluations)
        result = run_study(
            problem, strategy, seed=seed, budget=budget, space=spec.space, batch=batch,
            max_first_failures=None if succeeded else MAX_FIRST_FAILURES,
            recorder=recorder, observe=watch,
        )  # fmt: skip
        front = [int(i) for i in frontier.front_of(result.evaluations, problem.objectives)]
        begun = bool(result.asks) or result.stopped != INTERRUPTED  # else it may not have started
        space = strategy.space_name if begun else spec.space or default_space(problem)
        trace = strategy.trace() if begun and isinstance(strategy, Traced) else None
        studies.append(Study(spec, space, result, front, trace=trace))
        seen = [e for study in studies for e in study.evaluations]
        if len(seen) >= MAX_FIRST_FAILURES and all(e.failure is not None for e in seen):
            raise all_failed(problem, seen, "the first ")
        if result.stopped == INTERRUPTED:
            interrupted = True
            break
    if not interrupted:
        _check_found(problem, studies, budget)
    presets: list[EvaluatedPreset] = []
    failure = None
    if not interrupted:
        try:
            failure = _hold_out(problem, studies, observe, budget, log)
            presets = evaluate_presets(problem, _preset_progress(observe, budget))
        except KeyboardInterrupt:
            interrupted = True
    summary = summarise(
        problem, studies, settings={"budget": budget, "seeds": list(seeds), "batch": batch}
        | (settings or {}), interrupted=interrupted, reference=reference, presets=presets,
        failure=failure,
    )  # fmt: skip
    return Comparison(problem, studies, summary)


def _specs(strategies: Strategy | Sequence[Strategy]) -> list[StrategySpec]:
    """The strategies, or the one that stands for itself."""
    if isinstance(strategies, str | StrategySpec | type | SearchStrategy):
        strategies = [strategies]
    if not has_parts(strategies):
        raise InvalidValueError(f"strategies are one or a list of them, got {brief(strategies)}")
    return [spec for strategy in strategies for spec in StrategySpec.all_of(strategy)]


def _seeds(seeds: object) -> tuple[int, ...]:
    """The seeds themselves: those of a list, or 0 to N-1."""
    if has_parts(seeds):
        return tuple(whole_number("a seed", seed) for seed in seeds)
    return tuple(range(whole_number("seeds, a list or the number of them,", seeds, 1)))


def _check_found(problem: Problem, studies: Sequence[Study], budget: float) -> None:
    """Raise where no study evaluated anything, or every evaluation failed."""
    evaluations = [e for study in studies for e in study.evaluations]
    if not evaluations:
        middle = problem.candidate(problem.space().decode([0.5] * len(problem.space())))
        raise InvalidValueError(
            f"the budget of {budget:g} pays for no evaluation of problem {problem.name!r}: one "
            f"costs about {problem.checked_price(middle):.3g}"
        )
    if all(e.failure is not None for e in evaluations):
        raise all_failed(problem, evaluations)


def check(
    problem: Problem, specs: Sequence[StrategySpec], seeds: Sequence[int], budget: float
) -> None:
    """Raise an error for every mistake before the first evaluation is paid for."""
    if not isinstance(problem, Problem):
        raise InvalidValueError(
            f"a comparison searches a paretoprune.Problem, got {brief(problem)}; "
            "paretoprune.as_problem makes one of a function"
        )
    if not specs:
        raise InvalidValueError("name at least one strategy to compare")
    if not seeds or len(set(seeds)) != len(seeds):
        raise InvalidValueError(f"give one or more distinct seeds, got {list(seeds)}")
    labels = [spec.label for spec in specs]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise InvalidValueError(f"strategy {min(twice)!r} is named twice")
    for spec in specs:
        context = SearchContext(seed=seeds[0], budget=budget, space=spec.space)
        spec.build().start(problem, context)


def _preset_progress(
    observe: Callable[[Progress], None] | None, budget: float
) -> Callable[[int, int], None] | None:
    if observe is None:
        return None
    return lambda done, total: observe(
        Progress("presets", "published presets", 0, done, total, 0, budget, 0.0, done)
    )


def _hold_out(
    problem: Problem,
    studies: Sequence[Study],
    observe: Callable[[Progress], None] | None,
    budget: float,
    log: StudyLog | None,
) -> str | None:
    """Evaluate all fronts on held-out data, every distinct configuration once, as a study.

    Returns what went wrong; what the searches found is kept in any case.
    """
    heldout = problem.heldout
    if heldout is None:
        return None
    wanted = {heldout.identity(c): c for study in studies for c in study.front_candidates()}
    recorder = Recorder()
    if log is not None and wanted:
        digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:8]
        recorder = log.study(f"{HELDOUT} {digest}", heldout, {}, resume=True)

    def watch(done: int, total: int) -> None:
        if observe is not None:
            observe(Progress("heldout", "held-out data", 0, done, total, 0, budget, 0.0, done))

    try:
        evaluations, _ = evaluate_all(
            heldout, list(wanted.values()), batch=HELDOUT_BATCH, recorder=recorder, observe=watch
        )
    except (BrokenFileError, InUseError):
        raise  # of the log
    except ParetopruneError as error:
        return f"the held-out data could not be evaluated: {error}"
    heldout_of = dict(zip(wanted, evaluations, strict=True))
    for study in studies:
        study.heldout = [heldout_of[heldout.identity(c)] for c in study.front_candidates()]
    failed = [e.failure for e in evaluations if e.failure is not None]
    if not failed:
        return None
    return f"{len(failed)} of {len(evaluations)} held-out evaluations failed; one: {failed[0]}"
