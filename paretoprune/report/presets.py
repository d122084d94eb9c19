"""Published presets beside the found front: one table for terminal and HTML, and its sentence."""

from __future__ import annotations

from collections.abc import Sequence

from paretoprune.comparison.results import FrontPoint, ObjectiveInfo, PresetPoint, Summary
from paretoprune.report import words

NOTHING_CHEAPER = "dearer"
"""Stands where all of the found front costs more than a preset."""


def names(point: PresetPoint) -> list[str]:
    """What a preset goes by: `fastv:k=2,r=0.5`, `= k=3,r=0.5` where two are the same here."""
    first, *others = [words.plain(name, 60) for name in point.names]
    method = first.partition(":")[0]
    return [first, *(f"= {other.removeprefix(f'{method}:')}" for other in others)]


def quality(summary: Summary) -> ObjectiveInfo | None:
    """The one objective to raise; None where there is not exactly one."""
    raised = [o for o in summary.objectives if o.direction == "max"]
    return raised[0] if len(raised) == 1 else None


def lowered(summary: Summary) -> ObjectiveInfo | None:
    """The first cost."""
    return next((o for o in summary.objectives if o.direction == "min"), None)


def rival(point: PresetPoint, summary: Summary) -> FrontPoint | None:
    """What the search split picks of the found front at no higher cost."""
    if point.rival is None or not 0 <= point.rival < len(summary.front):
        return None
    return summary.front[point.rival]


def judged(point: PresetPoint | FrontPoint, name: str) -> tuple[dict[str, float], str]:
    """An objective's values on held-out data if there are any, and the name of the split."""
    if point.heldout is not None and name in point.heldout:
        return point.heldout, "held-out"
    return point.search, "search"


def gain(point: PresetPoint) -> str:
    """By how much the found front scores higher at no higher cost: `+0.12 [0.05, 0.19]`."""
    if point.gain is None:
        return words.MISSING
    told = f"{point.gain:+.2f}"
    if point.gain_low is None or point.gain_high is None:
        return told
    return f"{told} [{words.number(point.gain_low, 2)}, {words.number(point.gain_high, 2)}]"


def verdict(point: PresetPoint) -> str:
    """`≈` where the interval of the gain includes 0; else nothing."""
    if point.gain_low is None or point.gain_high is None:
        return ""
    return words.LEVEL if point.gain_low <= 0 <= point.gain_high else ""


def cells(point: PresetPoint, summary: Summary) -> list[str]:
    """Score, cost, the found front's score at no higher cost, gain, verdict, saved, dominated."""
    top, cost = quality(summary), lowered(summary)
    found = rival(point, summary)
    score = words.MISSING if top is None else words.number(judged(point, top.name)[0].get(top.name))
    if top is None:
        theirs = words.MISSING
    elif found is None:
        theirs = NOTHING_CHEAPER
    else:
        theirs = words.number(judged(found, top.name)[0].get(top.name))
    price = words.MISSING if cost is None else words.figure_error(point.search, {}, cost.name)
    saved = words.MISSING if point.saved is None else _amount(point.saved)
    return [
        score, price, theirs, gain(point), verdict(point), saved, "yes" if point.dominated else "no"
    ]  # fmt: skip


def heads(summary: Summary) -> list[str]:
    """Heads of those columns."""
    top, cost = quality(summary), lowered(summary)
    return [
        words.plain(top.name, 20) if top else "score",
        words.plain(cost.name, 20) if cost else "cost",
        "front",
        "gain",
        "",
        "saves",
        "dom",
    ]


def caption(summary: Summary) -> str:
    """Terms of the table."""
    heldout = any(point.heldout is not None for point in summary.presets)
    split = "held-out" if heldout else "search"
    interval = f" [95 %]; {words.LEVEL}: includes 0" if heldout else ""
    return (
        f"Front: {split} score of what the search split picks of the union front at no higher "
        f"cost; gain: how much higher it is{interval}. Saves: cost of the preset minus that of "
        "the cheapest point that scores no lower (search). Dom: dominated by the union front "
        "(search). Presets are neither searched, charged nor ranked."
    )


def finding(summary: Summary) -> str:
    """How many presets the found front dominates, and how many it beats beyond chance."""
    points = summary.presets
    if not points:
        return ""
    count = len(points)
    noun = "published preset" if count == 1 else "published presets"
    dominated = sum(point.dominated for point in points)
    told = f"Of {count} {noun}, the found front dominates {dominated} on the search split"
    known = [p for p in points if p.gain_low is not None and p.gain_high is not None]
    if not known:
        return f"{told}."
    above = sum((p.gain_low or 0) > 0 for p in known)
    below = sum((p.gain_high or 0) < 0 for p in known)
    level = len(known) - above - below
    cheaper = sum(p.rival is None for p in points)
    told += f"; held out, at no higher cost, it scores higher than {above}, level with {level}"
    told += f" and lower than {below}"
    return f"{told}; {_are(cheaper)} cheaper than all of it." if cheaper else f"{told}."


def _are(count: int) -> str:
    return f"{count} is" if count == 1 else f"{count} are"


def _amount(value: float) -> str:
    decimals = 0 if abs(value) >= 100 else 2
    return f"{value:+.{decimals}f}"


def drawable(points: Sequence[PresetPoint]) -> dict[str, list[PresetPoint]]:
    """Points by method, in the order in which methods come."""
    found: dict[str, list[PresetPoint]] = {}
    for point in points:
        found.setdefault(point.names[0].partition(":")[0], []).append(point)
    return found
