"""From a comparison to one configuration of its front, and its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paretoprune.comparison.results import FrontPoint, Summary, schedule_file
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.files import write_json
from paretoprune.frontier import Bound, choose
from paretoprune.schedules.files import write_schedule

ALIASES = {"flops": "compute"}
"""Words of the command line for objectives."""


@dataclass(frozen=True)
class Pick:
    """A chosen configuration: `rule` says how it was chosen, `of` among how many of the front."""

    point: FrontPoint
    rule: str
    of: int


def pick(summary: Summary, bounds: Sequence[Bound] = (), *, knee: bool = False) -> Pick:
    """Choose one configuration of the union front, by what the search split says of it.

    `frontier.choose` says which, and what it raises. Held-out data choose nothing.
    """
    points = [p for p in summary.front if p.on_union]
    if not points:
        raise InvalidValueError("the comparison has no front to pick from")
    directions = {o.name: o.direction for o in summary.objectives}
    choice = choose(
        [p.search for p in points],
        directions,
        [replace(bound, objective=_objective(bound.objective, directions)) for bound in bounds],
        at_knee=knee,
    )
    return Pick(points[choice.index], choice.rule, choice.of)


def _objective(name: str, known: Mapping[str, str]) -> str:
    for objective in (name.replace("-", "_"), ALIASES.get(name, name)):
        if objective in known:
            return objective
    raise UnknownNameError("objective of this comparison", name, known)


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
