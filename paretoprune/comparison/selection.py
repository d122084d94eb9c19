"""From a front to one configuration: the best within bounds, or the knee."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from paretoprune import frontier
from paretoprune.comparison.results import FrontPoint, ObjectiveInfo, Summary, schedule_file
from paretoprune.errors import InvalidValueError, UnknownNameError, share_hint
from paretoprune.files import write_whole
from paretoprune.schedules.files import write_schedule


@dataclass(frozen=True, slots=True)
class Bound:
    """An objective's value on the search split is at most (`max`) or at least (`min`) `value`."""

    objective: str
    side: Literal["max", "min"]
    value: float

    @classmethod
    def parse(cls, side: Literal["max", "min"], text: str) -> Bound:
        """Read `NAME=VALUE`; raises `InvalidValueError`."""
        name, equals, value = (part.strip() for part in text.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (name and equals and math.isfinite(number)):
            raise InvalidValueError(f"--{side} takes NAME=VALUE, such as compute=0.4; got {text!r}")
        return cls(name, side, number)

    def holds(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value <= self.value if self.side == "max" else value >= self.value

    def __str__(self) -> str:
        return f"{self.objective} {'≤' if self.side == 'max' else '≥'} {self.value:g}"


@dataclass(frozen=True)
class Pick:
    """A chosen configuration: `rule` says how it was chosen, `of` among how many of the front."""

    point: FrontPoint
    rule: str
    of: int


def pick(summary: Summary, bounds: Sequence[Bound] = (), *, knee: bool = False) -> Pick:
    """Choose one configuration of the union front, by what the search split says of it.

    Within the bounds it is the one of the best maximised objective, or of the lowest first cost
    where only that objective is bounded; ties go to the cheaper one. With `knee`, or without
    bounds, it is the front's knee (see `frontier.knee`), of what lies within the bounds. Held-out
    data choose nothing. Raises `UnknownNameError` for a bound on what is no objective, and
    `InvalidValueError` where nothing lies within the bounds.
    """
    objectives = {o.name: o for o in summary.objectives}
    bounds = [_named(bound, objectives) for bound in bounds]
    points = [p for p in summary.front if p.on_union]
    if not points:
        raise InvalidValueError("the comparison has no front to pick from")
    for bound in bounds:
        _question(bound, objectives[bound.objective], points)
    within = [p for p in points if all(b.holds(p.search[b.objective]) for b in bounds)]
    if not within:
        raise InvalidValueError(_nothing_within(points, bounds))
    costs = np.array([[_cost(p, o) for o in summary.objectives] for p in within])
    told = " and ".join(map(str, bounds))
    if knee or not bounds:
        chosen = within[frontier.knee(costs)]
        return Pick(chosen, f"the knee of the front{f' with {told}' if told else ''}", len(within))
    up = [o for o in summary.objectives if o.direction == "max"]
    down = [o for o in summary.objectives if o.direction == "min"]
    only_quality = bool(up and down) and {b.objective for b in bounds} <= {o.name for o in up}
    first, *others = [*down, *up] if only_quality else [*up, *down]
    chosen = min(within, key=lambda p: [_cost(p, o) for o in (first, *others)])
    best = "highest" if first.direction == "max" else "lowest"
    return Pick(chosen, f"the {best} {first.name} with {told}", len(within))


def _cost(point: FrontPoint, objective: ObjectiveInfo) -> float:
    value = point.search[objective.name]
    return -value if objective.direction == "max" else value


def _named(bound: Bound, objectives: dict[str, ObjectiveInfo]) -> Bound:
    name = bound.objective.replace("-", "_")
    if name not in objectives:
        raise UnknownNameError("objective of this comparison", bound.objective, objectives)
    return Bound(name, bound.side, bound.value)


def _question(bound: Bound, objective: ObjectiveInfo, points: Sequence[FrontPoint]) -> None:
    """Raise where a percentage was given for an objective on the scale from 0 to 1."""
    is_share = {objective.reference, objective.best} == {0.0, 1.0}
    if is_share and bound.value > 2 > max(p.search[objective.name] for p in points):
        raise InvalidValueError(
            f"{objective.name} goes from 0 to 1, got {bound.value:g}{share_hint(bound.value)}"
        )


def _nothing_within(points: Sequence[FrontPoint], bounds: Sequence[Bound]) -> str:
    for bound in bounds:
        values = [p.search[bound.objective] for p in points]
        if not any(map(bound.holds, values)):
            least = bound.side == "max"
            nearest = min(values) if least else max(values)
            return (
                f"no configuration of the front has {bound}; "
                f"the {'lowest' if least else 'highest'} is {nearest:.4g}"
            )
    return f"no configuration of the front has {' and '.join(map(str, bounds))} at once"


def write_pick(file: Path, summary: Summary, chosen: Pick) -> None:
    """Write the pick: a schedule file where it has a keep schedule alone, else its knobs as JSON.

    Raises `BrokenFileError` where the file cannot be written.
    """
    point = chosen.point
    if point.keep is not None:
        write_schedule(file, schedule_file(summary, point))
        return
    content = {
        "format": "paretoprune-pick/1",
        "problem": summary.problem,
        "space": point.space,
        "knobs": point.knobs,
        "chosen_as": chosen.rule,
        "found_by": f"{point.label} seed {point.seed}",
        "search": point.search,
        "heldout": point.heldout,
        "heldout_error": point.heldout_error,
    }
    write_whole(file, (json.dumps(content, indent=1) + "\n").encode("utf-8"))
