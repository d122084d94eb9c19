"""The relaxation gap: a gradient search's predicted and measured values of its configurations.

Every configuration of a strategy's best front is run once more as the search saw it: real-valued
keep ratios, soft masks, nothing rounded. The difference to its evaluation is the gap. It is a
measurement: no study is charged for it, and no search sees it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.comparison.gradients import (
    GapPoint,
    Gradients,
    GradientStudy,
    GridPoint,
    RoundRow,
    SplitFigures,
)
from paretoprune.comparison.ranking import Study, hypervolume_of
from paretoprune.comparison.reference import Reference
from paretoprune.comparison.results import ReferenceFront
from paretoprune.core.capabilities import relaxation_of
from paretoprune.core.problem import Evaluation, Problem
from paretoprune.core.trace import SearchTrace, causes
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.policies.base import Policy
from paretoprune.search.gradient.relaxation import adaptive


def gradients_of(
    problem: Problem,
    studies: Sequence[Study],
    *,
    reference: Reference | None = None,
    observe: Callable[[int, int], None] | None = None,
) -> Gradients | None:
    """Curves of every gradient study, and the gap of the best seed's front; None without one.

    The best seed of a strategy is that of highest hypervolume: running every seed's points again
    would take as long as the searches. `observe` is called with done and total.
    After Ctrl-C the gap covers the measured points, marked `interrupted`.
    """
    traced = [study for study in studies if study.trace is not None]
    if not traced:
        return None
    best: dict[str, Study] = {}
    for study in sorted(traced, key=lambda s: -hypervolume_of(problem, s.evaluations)):
        best.setdefault(study.spec.label, study)
    wanted = [
        (label, trial)
        for label, study in best.items()
        for trial in sorted(study.front)
        if _is_relaxed(study.evaluations[trial])
    ]
    points: dict[str, list[GapPoint]] = {label: [] for label in best}
    interrupted = False
    try:
        for done, (label, trial) in enumerate(wanted):
            if observe is not None:
                observe(done, len(wanted))
            with contextlib.suppress(UnsupportedError):  # a task that decodes freely
                points[label].append(gap_point(problem, best[label].evaluations[trial], trial))
    except KeyboardInterrupt:
        interrupted = True
    found = [
        _study(study, study.trace, points[label] if best[label] is study else [])
        for study in traced
        if study.trace is not None
        for label in [study.spec.label]
    ]
    stored = Gradients(studies=found, interrupted=interrupted)
    return stored if reference is None else against(stored, reference.stored())


def gap_point(problem: Problem, evaluation: Evaluation, trial: int) -> GapPoint:
    """Run one returned configuration as it was before rounding.

    A policy decides anew; keep ratios are then means over the samples.
    """
    policy, relaxed = evaluation.candidate.policy, evaluation.candidate.relaxed or {}
    keep = (
        adaptive(problem).decisions(policy)
        if isinstance(policy, Policy)
        else np.asarray(relaxed["keep"], dtype=np.float64)
    )
    soft = relaxation_of(problem).figures(
        keep, tau=float(relaxed.get("tau", 1.0)), mask=relaxed.get("mask", "rank")
    )
    return GapPoint(
        trial=trial,
        relaxed_keep=np.atleast_2d(keep).mean(0).tolist(),
        keep=list(evaluation.detail.get("keep", [])),
        soft=SplitFigures(
            score=soft.score, compute=soft.compute, kl=soft.divergence, lost=soft.loss
        ),
        hard=SplitFigures(
            score=evaluation.objectives["score"],
            compute=evaluation.objectives["compute"],
            kl=evaluation.metrics["kl_to_dense"],
            lost=evaluation.metrics["lost_to_dense"],
        ),
    )


def against(found: Gradients, reference: ReferenceFront) -> Gradients:
    """The same with each point's nearest point of an exhaustive front.

    `reference.costs` are normalised: 1 - score and compute, clipped to 0..1.
    """
    costs = np.asarray(reference.costs, dtype=np.float64)
    grid = np.stack([1 - costs[:, 0], costs[:, 1]], axis=1)
    studies = [
        study.model_copy(
            update={
                "points": [
                    p.model_copy(update={"grid": nearest(p.hard, grid)}) for p in study.points
                ]
            }
        )
        for study in found.studies
    ]
    return found.model_copy(update={"reference": reference.name, "studies": studies})


def nearest(point: SplitFigures, grid: NDArray[np.float64]) -> GridPoint:
    """The nearest row of a grid's front, `[points, 2]`: score and compute."""
    away = np.hypot(grid[:, 0] - point.score, grid[:, 1] - point.compute)
    place = int(np.argmin(away))
    affordable = grid[grid[:, 1] <= point.compute + 1e-9, 0]
    return GridPoint(
        score=float(grid[place, 0]),
        compute=float(grid[place, 1]),
        distance=float(away[place]),
        ahead=float(affordable.max()) - point.score if len(affordable) else None,
    )


def _is_relaxed(evaluation: Evaluation) -> bool:
    return evaluation.complete and bool(evaluation.candidate.relaxed)


def _study(study: Study, trace: SearchTrace, points: list[GapPoint]) -> GradientStudy:
    return GradientStudy(
        label=study.spec.label,
        seed=study.result.seed,
        loss=trace.loss,
        budgets=list(trace.budgets),
        rounds=[
            RoundRow(
                spent=r.spent, divergence=r.divergence, constraint=list(r.constraint),
                kept=list(r.kept), multiplier=list(r.multiplier),
            )
            for r in trace.rounds
        ],
        points=points,
        warnings=causes(trace),
    )  # fmt: skip
