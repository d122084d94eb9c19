"""Compares strategies on one problem: strategies x seeds -> studies -> one ranking.

All strategies get the same search cost, are judged on the same held-out data and by the same fixed
reference points. Candidates are chosen on the search split only.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretoprune import frontier
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.log import StudyLog
from paretoprune.problem import Candidate, Evaluation, Problem
from paretoprune.reference import Reference
from paretoprune.registry import strategies as registered
from paretoprune.results import FrontPoint, ObjectiveInfo, Standing, StudyRow, Summary
from paretoprune.search.base import SearchContext, SearchStrategy
from paretoprune.study import DEFAULT_BATCH, StudyResult, run_study

DEFAULT_STRATEGIES = (
    "random",
    "grid:space=single-step",
    "tpe",
    "nsga2",
    "pymoo-nsga2",
    "gradient",
)


def default_strategies(costs: Sequence[str] = ("compute",)) -> tuple[str, ...]:
    """Strategies that are compared unless others are named: those that handle these costs."""
    if tuple(costs) == ("compute",):
        return DEFAULT_STRATEGIES
    return tuple(name for name in DEFAULT_STRATEGIES if name != "gradient")


PACKAGES = ("paretoprune", "torch", "transformers", "optuna", "pymoo", "moocore", "numpy")


@dataclass(frozen=True)
class StrategySpec:
    """A strategy by name, with the space it searches (None: its default) and its options.

    Written as `name`, `name:option=value,...`; the option `space` names the search space. `factory`
    builds a strategy that no registry knows.
    """

    name: str
    space: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    factory: Callable[..., SearchStrategy] | None = None

    @classmethod
    def of(cls, strategy: str | StrategySpec | type[SearchStrategy]) -> StrategySpec:
        """A spec as it is, one that is written out, or one for a strategy class."""
        if isinstance(strategy, StrategySpec):
            return strategy
        if isinstance(strategy, str):
            return cls.parse(strategy)
        return cls(strategy.__name__, factory=strategy)

    @classmethod
    def parse(cls, text: str) -> StrategySpec:
        """Read `grid:space=single-step`; raises on unknown names and malformed options."""
        name, _, rest = text.strip().partition(":")
        registered.entry(name)
        options: dict[str, Any] = {}
        for part in filter(None, (p.strip() for p in rest.split(","))):
            key, equals, value = part.partition("=")
            if not equals or not key or not value:
                raise InvalidValueError(
                    f"strategy {text!r}: options are written as name=value, got {part!r}"
                )
            options[key.strip()] = _number_or_text(value.strip())
        space = options.pop("space", None)
        return cls(name, None if space is None else str(space), tuple(sorted(options.items())))

    @property
    def label(self) -> str:
        """How tables name it: the spec as it would be written."""
        parts = [f"space={self.space}"] if self.space else []
        parts += [f"{key}={value}" for key, value in self.options]
        return self.name + (":" + ",".join(parts) if parts else "")

    def build(self) -> SearchStrategy:
        """A fresh strategy; raises `InvalidValueError` for options it does not take."""
        factory = self.factory or registered.load(self.name)
        try:
            strategy: SearchStrategy = factory(**dict(self.options))
        except TypeError as error:
            raise InvalidValueError(f"strategy {self.label!r}: {error}") from error
        return strategy

    @property
    def depends_on_seed(self) -> bool:
        """Whether another seed gives another study."""
        return bool(getattr(self.factory or registered.load(self.name), "depends_on_seed", True))


def _number_or_text(text: str) -> float | int | str | bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass
class Study:
    """One study of a comparison, with its front and what held-out data say of it.

    `front` indexes `result.evaluations`; `heldout` are the evaluations of those candidates on the
    held-out problem, in the same order (None where there is none).
    """

    spec: StrategySpec
    space: str
    result: StudyResult
    front: list[int] = field(default_factory=list)
    heldout: list[Evaluation] | None = None

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations, in order."""
        return self.result.evaluations

    def front_candidates(self) -> list[Candidate]:
        """Candidates of the front."""
        return [self.evaluations[i].candidate for i in self.front]


@dataclass
class Comparison:
    """All studies on one problem; `summary` is the typed record that reports are drawn from."""

    problem: Problem
    studies: list[Study]
    summary: Summary


@dataclass(frozen=True)
class Progress:
    """Told to `observe`: which study is running and how far it is (cost in dense-pass equivalents).

    `done` of `total` studies are finished; `phase` is `search` or `heldout`.
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
    strategies: Sequence[str | StrategySpec | type[SearchStrategy]] = DEFAULT_STRATEGIES,
    *,
    budget: float,
    seeds: Sequence[int] = (0, 1),
    batch: int = DEFAULT_BATCH,
    log: StudyLog | None = None,
    observe: Callable[[Progress], None] | None = None,
    settings: dict[str, Any] | None = None,
    reference: Reference | None = None,
) -> Comparison:
    """Search `problem` with every strategy and seed at equal search cost, and rank the strategies.

    Strategies are named (`"tpe"`, `"nsga2:population=24"`) or given as classes. `budget` is in
    dense-pass equivalents. A strategy that does not depend on its seed runs once.
    Ranking is by held-out front area where the problem has held-out data, else by hypervolume.
    IGD+, epsilon and Hausdorff refer to `reference`, an exhaustive front, or to the union front.
    After Ctrl-C the comparison covers what was finished, marked `interrupted`.
    """
    specs = [StrategySpec.of(s) for s in strategies]
    check(problem, specs, seeds, budget)
    runs = [
        (spec, seed) for spec in specs for seed in (seeds if spec.depends_on_seed else seeds[:1])
    ]
    studies: list[Study] = []
    interrupted = False
    for done, (spec, seed) in enumerate(runs):
        strategy = spec.build()
        space = spec.space or _own_space(problem, strategy)
        recorder = None
        if log is not None:
            name = f"{spec.label} seed={seed}"
            recorder = log.study(name, problem, {"seed": seed, "budget": budget, "batch": batch})

        def watch(
            result: StudyResult, spec: StrategySpec = spec, seed: int = seed, done: int = done
        ) -> None:
            if observe is not None:
                reached = _hypervolume(problem, result.evaluations)
                observe(
                    Progress(
                        "search", spec.label, seed, done, len(runs), result.spent, budget,
                        reached, len(result.evaluations),
                    )
                )  # fmt: skip

        result = run_study(
            problem, strategy, seed=seed, budget=budget, space=spec.space, batch=batch,
            recorder=recorder, observe=watch,
        )  # fmt: skip
        front = [int(i) for i in frontier.front_of(result.evaluations, problem.objectives)]
        studies.append(Study(spec, space, result, front))
        if result.stopped == "interrupted":
            interrupted = True
            break
    if not interrupted:
        try:
            _hold_out(problem, studies, observe, budget)
        except KeyboardInterrupt:
            interrupted = True
    summary = summarise(
        problem, studies, settings={"budget": budget, "seeds": list(seeds), "batch": batch}
        | (settings or {}), interrupted=interrupted, reference=reference,
    )  # fmt: skip
    return Comparison(problem, studies, summary)


def check(
    problem: Problem, specs: Sequence[StrategySpec], seeds: Sequence[int], budget: float
) -> None:
    """Find every mistake before the first evaluation is paid for; raises what names it."""
    if not specs:
        raise InvalidValueError("name at least one strategy to compare")
    if not seeds or len(set(seeds)) != len(seeds):
        raise InvalidValueError(f"give one or more distinct seeds, got {list(seeds)}")
    labels = [spec.label for spec in specs]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise InvalidValueError(f"strategy {min(twice)!r} is named twice")
    for spec in specs:
        problem.space(spec.space)
        strategy = spec.build()
        if strategy.requires_gradient:
            own = problem.relaxation().space
            if spec.space not in (None, own):
                raise UnsupportedError(
                    f"strategy {spec.name!r} searches the space {own!r} of the relaxation, not "
                    f"{spec.space!r}"
                )
        strategy.start(problem, SearchContext(seed=seeds[0], budget=budget, space=spec.space))


def _own_space(problem: Problem, strategy: SearchStrategy) -> str:
    return problem.relaxation().space if strategy.requires_gradient else problem.default_space


def _hold_out(
    problem: Problem,
    studies: Sequence[Study],
    observe: Callable[[Progress], None] | None,
    budget: float,
) -> None:
    """Evaluate all fronts on held-out data, every distinct configuration once."""
    heldout = problem.heldout
    if heldout is None:
        return
    wanted = {heldout.identity(c): c for study in studies for c in study.front_candidates()}
    found: dict[str, Evaluation] = {}
    names = list(wanted)
    step = 64
    for start in range(0, len(names), step):
        if observe is not None:
            observe(
                Progress("heldout", "held-out data", 0, start, len(names), 0, budget, 0.0, start)
            )
        part = names[start : start + step]
        for name, evaluation in zip(part, heldout.evaluate([wanted[n] for n in part]), strict=True):
            found[name] = evaluation
    for study in studies:
        study.heldout = [found[heldout.identity(c)] for c in study.front_candidates()]


# --- judging


def _values(problem: Problem, evaluations: Sequence[Evaluation]) -> NDArray[np.float64]:
    rows = [[e.objectives[o.name] for o in problem.objectives] for e in evaluations if e.complete]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(problem.objectives))


def _costs(problem: Problem, evaluations: Sequence[Evaluation]) -> NDArray[np.float64]:
    return frontier.normalise(_values(problem, evaluations), problem.objectives)


def _hypervolume(problem: Problem, evaluations: Sequence[Evaluation]) -> float:
    """Hypervolume of what was found so far; nothing found has none."""
    if not any(e.complete for e in evaluations):
        return 0.0
    return frontier.hypervolume(_costs(problem, evaluations))


def anytime_curve(problem: Problem, result: StudyResult) -> list[tuple[float, float]]:
    """Hypervolume on the search split over search cost: one point per ask."""
    curve: list[tuple[float, float]] = []
    good = [i for i, e in enumerate(result.evaluations) if e.complete]
    costs = _costs(problem, [result.evaluations[i] for i in good])
    for place, i in enumerate(good):
        last = place + 1 == len(good) or result.asks[good[place + 1]] != result.asks[i]
        if last:
            curve.append((result.spent_at[i], frontier.hypervolume(costs[: place + 1])))
    return curve


def heldout_areas(problem: Problem, study: Study) -> NDArray[np.float64] | None:
    """Per-sample contributions to the held-out front area, float64 `[samples]`; None without data.

    Their mean is the area. Only for problems with a `score` to raise and one cost to lower, whose
    evaluations carry per-sample outcomes.
    """
    heldout = problem.heldout
    if heldout is None or study.heldout is None or not study.front:
        return None
    found = {o.direction: o for o in problem.objectives}
    outcomes = [e.outcomes for e in study.heldout]
    if len(problem.objectives) != 2 or len(found) != 2 or any(o is None for o in outcomes):
        return None
    quality, cost = found["max"], found["min"]
    description = heldout.describe()
    blind, dense = description["blind_score"], description["dense_score"]
    relative = (np.stack([o for o in outcomes if o is not None]) - blind) / (dense - blind)
    chosen = [study.evaluations[i] for i in study.front]
    return frontier.heldout_front_area_samples(
        np.array([e.objectives[quality.name] for e in chosen]),
        # budgets are shares of the way from the blind to the dense cost
        (np.array([e.objectives[cost.name] for e in chosen]) - cost.best)
        / (cost.reference - cost.best),
        relative.astype(np.float64),
    )


def summarise(
    problem: Problem,
    studies: Sequence[Study],
    *,
    settings: dict[str, Any],
    interrupted: bool = False,
    reference: Reference | None = None,
) -> Summary:
    """Judge finished studies: indicators on the search split, held-out area, ranking, intervals."""
    useful = [s for s in studies if s.front]
    pooled = [(s, i) for s in useful for i in s.front]
    union: set[int] = set()
    front = np.zeros((0, len(problem.objectives)))
    if pooled:
        everything = _costs(problem, [s.evaluations[i] for s, i in pooled])
        union = {int(i) for i in frontier.nondominated(everything)}
        front = everything[sorted(union)] if reference is None else reference.costs
    areas = [heldout_areas(problem, s) for s in useful]
    rows = [_study_row(problem, s, area, front) for s, area in zip(useful, areas, strict=True)]
    apart = [
        verdict
        for s in useful
        for verdict in frontier.separated([s.evaluations[i] for i in s.front], problem.objectives)
    ]
    points = [
        _front_point(problem, s, place, number in union, apart[number])
        for number, (s, place) in enumerate((s, p) for s in useful for p in range(len(s.front)))
    ]
    notes = problem.notes()
    if not interrupted:
        points = _measured(problem, pooled, points, notes)
    heldout = problem.heldout if any(s.heldout for s in useful) else None
    return Summary(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={p: version(p) for p in PACKAGES} | {"python": platform.python_version()},
        settings=settings,
        problem=problem.describe(),
        heldout_problem=heldout.describe() if heldout else None,
        objectives=[
            ObjectiveInfo(
                name=o.name, direction=o.direction, unit=o.unit, reference=o.reference, best=o.best
            )
            for o in problem.objectives
        ],
        standings=_rank(rows, areas),
        studies=rows,
        front=points,
        interrupted=interrupted,
        reference=None if reference is None else reference.stored(),
        notes=notes,
    )


def _measured(
    problem: Problem,
    pooled: Sequence[tuple[Study, int]],
    points: Sequence[FrontPoint],
    notes: list[str],
) -> list[FrontPoint]:
    """The points, those of the union front with what the problem measures of them again."""
    places = [i for i, point in enumerate(points) if point.on_union]
    candidates = [s.evaluations[trial].candidate for s, trial in (pooled[i] for i in places)]
    found = problem.measure(candidates)
    changed = list(points)
    if found is not None:
        notes.append(found.note)
        for i, values in zip(places, found.values, strict=False):  # a refusal has no values
            metrics = {**points[i].metrics, **values}
            changed[i] = points[i].model_copy(update={"metrics": metrics})
    return changed


def _study_row(
    problem: Problem,
    study: Study,
    area: NDArray[np.float64] | None,
    reference: NDArray[np.float64],
) -> StudyRow:
    result = study.result
    front = _costs(problem, [study.evaluations[i] for i in study.front])
    return StudyRow(
        label=study.spec.label,
        strategy=study.spec.name,
        space=study.space,
        seed=result.seed,
        evaluations=len(result.evaluations),
        failures=sum(e.failure is not None for e in result.evaluations),
        cost=result.spent,
        executed=result.executed,
        seconds=result.seconds,
        evaluating=result.evaluating,
        stopped=result.stopped,
        front_size=len(study.front),
        hypervolume=frontier.hypervolume(front),
        igd_plus=frontier.igd_plus(front, reference),
        epsilon=frontier.additive_epsilon(front, reference),
        hausdorff=frontier.average_hausdorff(front, reference),
        heldout_area=None if area is None else float(area.mean()),
        points=_values(problem, result.evaluations).tolist(),
        curve=anytime_curve(problem, result),
    )


def _front_point(
    problem: Problem, study: Study, place: int, on_union: bool, separated: bool | None
) -> FrontPoint:
    trial = study.front[place]
    evaluation = study.evaluations[trial]
    held = study.heldout[place] if study.heldout is not None else None
    return FrontPoint(
        label=study.spec.label,
        seed=study.result.seed,
        trial=trial,
        space=evaluation.candidate.space,
        knobs=dict(evaluation.candidate.values),
        keep=evaluation.detail.get("keep"),
        search=dict(evaluation.objectives),
        search_error=dict(evaluation.standard_errors),
        heldout=dict(held.objectives) if held else None,
        heldout_error=dict(held.standard_errors) if held else {},
        metrics=dict(held.metrics if held else evaluation.metrics),
        on_union=on_union,
        separated=separated,
    )


def _rank(rows: Sequence[StudyRow], areas: Sequence[NDArray[np.float64] | None]) -> list[Standing]:
    """Strategies from best to worst, each with the mean of its seeds."""
    labels = list(dict.fromkeys(row.label for row in rows))
    groups = {label: [i for i, row in enumerate(rows) if row.label == label] for label in labels}
    judged = {
        label: np.stack([a for i in group if (a := areas[i]) is not None])
        for label, group in groups.items()
        if all(areas[i] is not None for i in group)
    }
    held_out = len(judged) == len(labels)

    def mean(label: str, figure: str) -> float:
        return float(np.mean([getattr(rows[i], figure) for i in groups[label]]))

    def merit(label: str) -> float:
        return float(judged[label].mean()) if held_out else mean(label, "hypervolume")

    ordered = sorted(labels, key=lambda label: -merit(label))
    standings = []
    for rank, label in enumerate(ordered, start=1):
        first = rows[groups[label][0]]
        area = low = high = None
        separated = None
        if held_out:
            interval = frontier.bootstrap_area(judged[label], rng=np.random.default_rng(0))
            area, low, high = float(judged[label].mean()), interval.low, interval.high
            if rank > 1:
                separated = _separated(judged[ordered[0]], judged[label])
        standings.append(
            Standing(
                rank=rank, label=label, strategy=first.strategy, space=first.space,
                seeds=[rows[i].seed for i in groups[label]],
                heldout_area=area, area_low=low, area_high=high, separated=separated,
                **{
                    figure: mean(label, figure)
                    for figure in (
                        "hypervolume", "igd_plus", "epsilon", "hausdorff", "front_size",
                        "evaluations", "cost", "executed", "seconds",
                    )
                },
            )
        )  # fmt: skip
    return standings


def _separated(best: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether the paired bootstrap interval of the difference in area excludes 0.

    Seeds are paired in order; a strategy that ran once is compared with every seed of the other.
    """
    rows = max(len(best), len(other))
    difference = np.resize(best, (rows, best.shape[1])) - np.resize(other, (rows, other.shape[1]))
    interval = frontier.bootstrap_area(difference, rng=np.random.default_rng(0))
    return interval.low > 0 or interval.high < 0
