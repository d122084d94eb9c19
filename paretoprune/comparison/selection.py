"""From a comparison to one configuration of its front, and its file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paretoprune.comparison.results import FrontPoint, ObjectiveInfo, Summary, schedule_file
from paretoprune.errors import InvalidValueError, UnknownNameError, share_hint
from paretoprune.files import write_json
from paretoprune.frontier import Bound, choose
from paretoprune.schedules.files import write_schedule


@dataclass(frozen=True)
class Pick:
    """A chosen configuration: `rule` says how it was chosen, `of` among how many of the front."""

    point: FrontPoint
    rule: str
    of: int


def pick(summary: Summary, bounds: Sequence[Bound] = (), *, knee: bool = False) -> Pick:
    """Choose one configuration of the union front by its search-split values.

    `frontier.choose` has the rules and the errors. Held-out data choose nothing.
    """
    points = [p for p in summary.front if p.on_union]
    if not points:
        raise InvalidValueError("the comparison has no front to pick from")
    objectives = {o.name: o for o in summary.objectives}
    directions = {o.name: o.direction for o in summary.objectives}
    bounds = [replace(bound, objective=_objective(bound.objective, directions)) for bound in bounds]
    for bound in bounds:
        _question(bound, objectives[bound.objective], points)
    choice = choose([p.search for p in points], directions, bounds, at_knee=knee)
    return Pick(points[choice.index], choice.rule, choice.of)


def _objective(name: str, known: Mapping[str, str]) -> str:
    if (objective := name.replace("-", "_")) in known:
        return objective
    raise UnknownNameError("objective of this comparison", name, known)


def _question(bound: Bound, objective: ObjectiveInfo, points: Sequence[FrontPoint]) -> None:
    """Raise where a percentage was given for an objective on the scale from 0 to 1."""
    # a measured end of the scale may be off by rounding: -2e-19 is the best compute of mini-llava
    low, high = sorted((objective.reference, objective.best))
    is_share = math.isclose(low, 0.0, abs_tol=1e-9) and math.isclose(high, 1.0)
    if is_share and bound.value > 2 > max(p.search[objective.name] for p in points):
        raise InvalidValueError(
            f"{objective.name} goes from 0 to 1, got {bound.value:g}{share_hint(bound.value)}"
        )


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
    write_json(file, content)
