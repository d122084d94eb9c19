"""Ranks finished studies: indicators on the search split, held-out area, ranking, intervals."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretoprune import frontier
from paretoprune.comparison.presets import EvaluatedPreset, FrontEntry, compare_presets
from paretoprune.comparison.reference import Reference
from paretoprune.comparison.results import (
    FrontPoint,
    ObjectiveInfo,
    PairRow,
    Sensitivity,
    Standing,
    StudyRow,
    Summary,
)
from paretoprune.core.capabilities import CanMeasure, HasParts, notes_of, relative_outcomes
from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.study import StudyResult
from paretoprune.core.trace import SearchTrace, causes
from paretoprune.frontier.importance import knob_importances
from paretoprune.search.specs import StrategySpec

PACKAGES = ("paretoprune", "torch", "transformers", "optuna", "pymoo", "moocore", "numpy")


@dataclass
class Study:
    """One study of a comparison, with its front and the front's held-out evaluations.

    `front` indexes `result.evaluations`; `heldout` are the evaluations of those candidates on the
    held-out problem, in the same order (None where there is none); `trace` is what a gradient
    search saw of its rounds.
    """

    spec: StrategySpec
    space: str
    result: StudyResult
    front: list[int] = field(default_factory=list)
    heldout: list[Evaluation] | None = None
    trace: SearchTrace | None = None

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations, in order."""
        return self.result.evaluations

    def front_candidates(self) -> list[Candidate]:
        """Candidates of the front."""
        return [self.evaluations[i].candidate for i in self.front]


def _values(problem: Problem, evaluations: Sequence[Evaluation]) -> NDArray[np.float64]:
    rows = [[e.objectives[o.name] for o in problem.objectives] for e in evaluations if e.complete]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(problem.objectives))


def _costs(problem: Problem, evaluations: Sequence[Evaluation]) -> NDArray[np.float64]:
    return frontier.normalise(_values(problem, evaluations), problem.objectives)


def hypervolume_of(problem: Problem, evaluations: Sequence[Evaluation]) -> float:
    """Hypervolume of the evaluations so far; 0 without any."""
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
    outcomes = [e.outcomes if e.complete else None for e in study.heldout]
    if len(problem.objectives) != 2 or len(found) != 2 or any(o is None for o in outcomes):
        return None
    quality, cost = found["max"], found["min"]
    relative = relative_outcomes(heldout, np.stack([o for o in outcomes if o is not None]))
    chosen = [study.evaluations[i] for i in study.front]
    return frontier.heldout_front_area_samples(
        np.array([e.objectives[quality.name] for e in chosen]),
        # budgets are shares of the way from the text-only to the dense cost
        (np.array([e.objectives[cost.name] for e in chosen]) - cost.best)
        / (cost.reference - cost.best),
        relative,
    )


def summarise(
    problem: Problem,
    studies: Sequence[Study],
    *,
    settings: dict[str, Any],
    interrupted: bool = False,
    reference: Reference | None = None,
    presets: Sequence[EvaluatedPreset] = (),
    failure: str | None = None,
) -> Summary:
    """Rank finished studies: indicators on the search split, held-out area, ranking, intervals.

    `presets` are compared with the union front, and change nothing else; `failure` is what went
    wrong after the searches.
    """
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
        for verdict in frontier.significantly_better(
            [s.evaluations[i] for i in s.front], problem.objectives
        )
    ]
    points = [
        _front_point(problem, s, place, number in union, apart[number])
        for number, (s, place) in enumerate((s, p) for s in useful for p in range(len(s.front)))
    ]
    notes = [*notes_of(problem), *_failures(studies), *_without_front(studies), *_warnings(studies)]
    notes += [f"Ranked by hypervolume: {failure}."] if failure else []
    standings, pairs = _rank(rows, areas)
    if not interrupted:
        points = _measured(problem, pooled, points, notes)
    heldout = problem.heldout if any(s.heldout for s in useful) else None
    found = [
        FrontEntry(n, s.evaluations[i], _judged(s, s.front.index(i)))
        for n, (s, i) in enumerate(pooled)
        if n in union
    ]
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
        standings=standings,
        studies=rows,
        front=points,
        interrupted=interrupted,
        failure=failure,
        reference=None if reference is None else reference.stored(),
        presets=compare_presets(problem, presets, found),
        pairs=pairs,
        notes=notes,
        sensitivity=[
            Sensitivity.model_validate(asdict(one))
            for one in knob_importances(problem, [e for s in studies for e in s.evaluations])
        ],
    )


def _warnings(studies: Sequence[Study]) -> list[str]:
    """Warnings of gradient searches, each cause once with its studies."""
    found: dict[str, list[str]] = {}
    for study in studies:
        for cause in causes(study.trace) if study.trace is not None else ():
            found.setdefault(cause, []).append(f"{study.spec.label} seed {study.result.seed}")
    return [f"{', '.join(who)}: {cause}." for cause, who in found.items()]


def _failures(studies: Sequence[Study]) -> list[str]:
    """Number of failed evaluations, and the failure of the first; [] where none failed."""
    everything = [e for s in studies for e in s.evaluations]
    failed = [e.failure for e in everything if e.failure is not None]
    if not failed:
        return []
    return [f"{len(failed)} of {len(everything)} evaluations failed; the first: {failed[0]}."]


def _without_front(studies: Sequence[Study]) -> list[str]:
    """The studies that are in no table, because nothing that they evaluated succeeded."""
    empty = [f"{s.spec.label} seed {s.result.seed}" for s in studies if not s.front]
    return [f"Without any result: {', '.join(empty)}."] if empty else []


def _measured(
    problem: Problem,
    pooled: Sequence[tuple[Study, int]],
    points: Sequence[FrontPoint],
    notes: list[str],
) -> list[FrontPoint]:
    """The points; those of the union front with the problem's repeated measurements."""
    indices = [i for i, point in enumerate(points) if point.on_union]
    candidates = [s.evaluations[trial].candidate for s, trial in (pooled[i] for i in indices)]
    found = problem.measure(candidates) if isinstance(problem, CanMeasure) else None
    changed = list(points)
    if found is not None:
        notes.append(found.note)
        for i, values in zip(indices, found.values, strict=False):  # a refusal has no values
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
    held = _judged(study, place)
    return FrontPoint(
        label=study.spec.label,
        seed=study.result.seed,
        trial=trial,
        space=evaluation.candidate.space,
        knobs=dict(evaluation.candidate.values),
        keep=evaluation.detail.get("keep"),
        pruner=evaluation.detail.get("pruner"),
        pruner_settings=evaluation.detail.get("pruner_settings", {}),
        parts=_parts(problem, evaluation, held),
        policy=evaluation.detail.get("policy"),
        search=dict(evaluation.objectives),
        search_error=dict(evaluation.standard_errors),
        heldout=dict(held.objectives) if held else None,
        heldout_error=dict(held.standard_errors) if held else {},
        metrics=dict(held.metrics if held else evaluation.metrics),
        on_union=on_union,
        separated=separated,
    )


def _judged(study: Study, place: int) -> Evaluation | None:
    """The held-out evaluation of a point of the front; None where there is none, or it failed."""
    held = study.heldout[place] if study.heldout else None
    return held if held is None or held.complete else None


def _parts(problem: Problem, evaluation: Evaluation, held: Evaluation | None) -> dict[str, float]:
    """Mean outcome per part of the held-out data, else of the search split's."""
    data, seen = (problem, evaluation) if held is None else (problem.heldout, held)
    if not isinstance(data, HasParts) or seen.outcomes is None:
        return {}
    return dict(data.parts(seen.outcomes))


def _rank(
    rows: Sequence[StudyRow], areas: Sequence[NDArray[np.float64] | None]
) -> tuple[list[Standing], list[PairRow]]:
    """Strategies from best to worst, each with the mean of its seeds, and their comparisons."""
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
    pairs = _pairs({label: judged[label] for label in ordered}) if held_out else []
    apart = {pair.second: pair.separated for pair in pairs if pair.first == ordered[0]}
    standings = []
    for rank, label in enumerate(ordered, start=1):
        first = rows[groups[label][0]]
        area = low = high = None
        if held_out:
            interval = frontier.bootstrap_area(judged[label], rng=np.random.default_rng(0))
            area, low, high = float(judged[label].mean()), interval.low, interval.high
        standings.append(
            Standing(
                rank=rank, label=label, strategy=first.strategy, space=first.space,
                seeds=[rows[i].seed for i in groups[label]],
                heldout_area=area, area_low=low, area_high=high, separated=apart.get(label),
                **{
                    figure: mean(label, figure)
                    for figure in (
                        "hypervolume", "igd_plus", "epsilon", "hausdorff", "front_size",
                        "evaluations", "cost", "executed", "seconds",
                    )
                },
            )
        )  # fmt: skip
    return standings, pairs


def _pairs(judged: Mapping[str, NDArray[np.float64]]) -> list[PairRow]:
    """Every strategy against every lower-ranked one, on the same held-out samples."""
    return [
        PairRow(
            first=pair.first, second=pair.second,
            difference=pair.difference.mid, low=pair.difference.low, high=pair.difference.high,
            p_value=pair.p_value, adjusted=pair.adjusted,
            effect_size=pair.effect_size if np.isfinite(pair.effect_size) else None,
            separated=pair.separated,
        )
        for pair in frontier.compare_pairs(judged, rng=np.random.default_rng(0))
    ]  # fmt: skip
