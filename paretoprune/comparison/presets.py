"""Published presets compared with a front: on the same data, not ranked, charged to no search.

The search split picks the best point of the found front that costs no more than the preset.
Held-out data decide which of the two scores higher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretoprune import frontier
from paretoprune.comparison.results import PresetPoint
from paretoprune.core.capabilities import HasPresets, relative_outcomes
from paretoprune.core.problem import Evaluation, Problem, costs_matrix
from paretoprune.core.study import evaluate_each

CHUNK = 8
"""Presets that are evaluated together: those of one paper share layers."""
SLACK = 1e-9
"""Tolerance of comparisons of costs, for rounding."""


@dataclass(frozen=True)
class EvaluatedPreset:
    """Presets that are the same configuration on this model, evaluated on both splits."""

    names: tuple[str, ...]
    about: tuple[str, ...]
    search: Evaluation
    heldout: Evaluation | None = None


@dataclass(frozen=True)
class FrontEntry:
    """A point of the found front: its number among the summary's points, and both evaluations."""

    number: int
    search: Evaluation
    heldout: Evaluation | None = None


def evaluate_presets(
    problem: Problem, observe: Callable[[int, int], None] | None = None
) -> list[EvaluatedPreset]:
    """Evaluate a problem's published presets; equal configurations once.

    One that fails on either split is left out. `observe` is called with done and total.
    """
    groups: dict[str, list[int]] = {}
    published = problem.published() if isinstance(problem, HasPresets) else []
    for number, preset in enumerate(published):
        groups.setdefault(problem.identity(preset.candidate), []).append(number)
    candidates = [published[numbers[0]].candidate for numbers in groups.values()]
    if not candidates:
        return []
    search: list[Evaluation] = []
    held: list[Evaluation | None] = []
    for start in range(0, len(candidates), CHUNK):
        if observe is not None:
            observe(start, len(candidates))
        part = candidates[start : start + CHUNK]
        search += evaluate_each(problem, part)
        heldout = problem.heldout
        held += [None] * len(part) if heldout is None else evaluate_each(heldout, part)
    return [
        EvaluatedPreset(
            tuple(published[i].name for i in numbers), tuple(published[i].about for i in numbers),
            on_search, on_heldout,
        )
        for numbers, on_search, on_heldout in zip(groups.values(), search, held, strict=True)
        if on_search.complete and (on_heldout is None or on_heldout.complete)
    ]  # fmt: skip


def compare_presets(
    problem: Problem, presets: Sequence[EvaluatedPreset], entries: Sequence[FrontEntry]
) -> list[PresetPoint]:
    """Set each preset against the found front, the union of all studies; cheapest first."""
    lowered = [o.name for o in problem.objectives if o.direction == "min"]
    points = [_compared(problem, preset, entries) for preset in presets]
    return sorted(points, key=lambda p: [p.search[name] for name in lowered])


def _compared(
    problem: Problem, preset: EvaluatedPreset, entries: Sequence[FrontEntry]
) -> PresetPoint:
    rival = _rival(problem, preset.search, entries)
    judged = preset.heldout or preset.search
    gain, low, high = _gain(problem, rival, preset)
    detail = preset.search.detail
    return PresetPoint(
        names=list(preset.names),
        about=list(preset.about),
        keep=detail.get("keep"),
        pruner=detail.get("pruner"),
        pruner_settings=detail.get("pruner_settings", {}),
        search=dict(preset.search.objectives),
        search_error=dict(preset.search.standard_errors),
        heldout=dict(preset.heldout.objectives) if preset.heldout else None,
        heldout_error=dict(preset.heldout.standard_errors) if preset.heldout else {},
        metrics=dict(judged.metrics),
        dominated=_is_dominated(problem, preset.search, entries),
        rival=None if rival is None else rival.number,
        gain=gain,
        gain_low=low,
        gain_high=high,
        saved=_saved(problem, preset.search, entries),
    )


def _costs(problem: Problem, evaluations: Sequence[Evaluation]) -> NDArray[np.float64]:
    return costs_matrix(evaluations, problem.objectives)


def _is_dominated(problem: Problem, preset: Evaluation, entries: Sequence[FrontEntry]) -> bool:
    """Whether a found point is no worse in any objective and better in one, on the search split."""
    preset_costs = _costs(problem, [preset])[0]
    front_costs = _costs(problem, [f.search for f in entries])
    return bool(((front_costs <= preset_costs).all(1) & (front_costs < preset_costs).any(1)).any())


def _quality(problem: Problem) -> str | None:
    """Name of the one objective to raise; None where there is not exactly one."""
    raised = [o.name for o in problem.objectives if o.direction == "max"]
    return raised[0] if len(raised) == 1 else None


def _rival(
    problem: Problem, preset: Evaluation, entries: Sequence[FrontEntry]
) -> FrontEntry | None:
    """The point that the search split picks at no higher cost; of equal scores the first."""
    quality = _quality(problem)
    lowered = [o.name for o in problem.objectives if o.direction == "min"]
    affordable = [
        f
        for f in entries
        if all(f.search.objectives[n] <= preset.objectives[n] + SLACK for n in lowered)
    ]
    if quality is None or not affordable:
        return None
    return max(affordable, key=lambda f: f.search.objectives[quality])


def _gain(
    problem: Problem, rival: FrontEntry | None, preset: EvaluatedPreset
) -> tuple[float | None, float | None, float | None]:
    """By how much the rival scores higher, and the 95 % interval, paired by held-out sample.

    Without held-out data the search split's difference, which is the rival's luck as well, so it
    gets no interval.
    """
    quality = _quality(problem)
    if rival is None or quality is None:
        return None, None, None
    if rival.heldout is None or preset.heldout is None or problem.heldout is None:
        gain = rival.search.objectives[quality] - preset.search.objectives[quality]
        return gain, None, None
    gain = rival.heldout.objectives[quality] - preset.heldout.objectives[quality]
    preset_outcomes, rival_outcomes = preset.heldout.outcomes, rival.heldout.outcomes
    if preset_outcomes is None or rival_outcomes is None or len(preset_outcomes) < 2:
        return gain, None, None
    relative = relative_outcomes(problem.heldout, rival_outcomes) - relative_outcomes(
        problem.heldout, preset_outcomes
    )
    interval = frontier.bootstrap_mean(relative, rng=np.random.default_rng(0))
    return gain, interval.low, interval.high


def _saved(problem: Problem, preset: Evaluation, entries: Sequence[FrontEntry]) -> float | None:
    """Cost saved by the cheapest found point that scores no lower, on the search split.

    In the first cost; negative where it costs more, None where no found point scores as high.
    """
    quality = _quality(problem)
    cost = next((o.name for o in problem.objectives if o.direction == "min"), None)
    if quality is None or cost is None:
        return None
    as_good = [
        f.search.objectives[cost]
        for f in entries
        if f.search.objectives[quality] >= preset.objectives[quality]
    ]
    return preset.objectives[cost] - min(as_good) if as_good else None
