"""Published presets compared with the found front: their table, its terms, and a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from paretoprune.comparison.results import FrontPoint, PresetPoint, Summary
from paretoprune.report import display
from paretoprune.report.display import LEVEL, MISSING
from paretoprune.report.table import Column, Table

NO_RIVAL = "none"
"""Stands where the found front has no point at no higher cost than a preset."""


def names(point: PresetPoint) -> list[str]:
    """All names of a preset: `fastv:k=2,r=0.5`, `= k=3,r=0.5` where two are the same here."""
    first, *others = [display.plain(name, 60) for name in point.names]
    return [first, *(f"= {other.removeprefix(f'{method(point)}:')}" for other in others)]


def method(point: PresetPoint) -> str:
    """The method of a preset, such as `fastv`."""
    return point.names[0].partition(":")[0]


def by_method(points: Sequence[PresetPoint]) -> dict[str, list[PresetPoint]]:
    """Points by method, in the order in which methods come."""
    groups: dict[str, list[PresetPoint]] = {}
    for point in points:
        groups.setdefault(method(point), []).append(point)
    return groups


def presets_table(summary: Summary, *, full: bool = False) -> Table:
    """Score, cost, the found front's score at no higher cost, gain, verdict, saving, dominated.

    On a page (`full`) with keep schedules and sources.
    """
    points = summary.presets
    separator = " " if full else "\n"
    raised = [o for o in summary.objectives if o.direction == "max"]
    quality = raised[0].name if len(raised) == 1 else None
    cost = next((o.name for o in summary.objectives if o.direction == "min"), None)

    def score(point: PresetPoint | FrontPoint) -> str:
        if quality is None:
            return MISSING
        heldout = point.heldout is not None and quality in point.heldout
        values = point.heldout if heldout and point.heldout else point.search
        return display.number(values.get(quality))

    def rival_score(point: PresetPoint) -> str:
        if quality is None:
            return MISSING
        if point.rival is None or not 0 <= point.rival < len(summary.front):
            return NO_RIVAL
        return score(summary.front[point.rival])

    columns = [
        Column(
            "preset", [separator.join(names(point)) for point in points], "wide",
            meaning="name, and other names of the same configuration",
        ),
        Column(display.plain(quality or "score", 20), [score(point) for point in points]),
        Column(
            display.plain(cost or "cost", 20),
            [display.with_error(p.search, {}, cost) if cost else MISSING for p in points],
        ),
        Column("front", [rival_score(point) for point in points]),
        Column("gain", [gain(point) for point in points]),
        Column("", [_level_mark(point) for point in points], "text"),
        Column("saves", [_saving(point.saved) for point in points]),
        Column("dom", ["yes" if point.dominated else "no" for point in points], "text"),
    ]  # fmt: skip
    if full and any(point.keep is not None for point in points):
        schedules = [display.schedule(p.keep) if p.keep else MISSING for p in points]
        columns.append(Column("keep schedule", schedules, "wide", unit="%"))
    if full:
        about = ["; ".join(display.plain(text, 200) for text in point.about) for point in points]
        columns.append(Column("published", about, "wide"))
    return Table("Published presets", columns, _explanation(summary))


def gain(point: PresetPoint) -> str:
    """Score by which the found front is better at no higher cost: `+0.12 [0.05, 0.19]`."""
    if point.gain is None:
        return MISSING
    if point.gain_low is None or point.gain_high is None:
        return f"{point.gain:+.2f}"
    low, high = display.number(point.gain_low, 2), display.number(point.gain_high, 2)
    return f"{point.gain:+.2f} [{low}, {high}]"


def _level_mark(point: PresetPoint) -> str:
    """`≈` where the interval of the gain includes 0; else nothing."""
    if point.gain_low is None or point.gain_high is None:
        return ""
    return LEVEL if point.gain_low <= 0 <= point.gain_high else ""


def _saving(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:+.0f}" if abs(value) >= 100 else f"{value:+.2f}"


def _explanation(summary: Summary) -> str:
    heldout = any(point.heldout is not None for point in summary.presets)
    split = "held-out" if heldout else "search"
    interval = f" [95 %]; {LEVEL}: includes 0" if heldout else ""
    return (
        f"Front: {split} score of what the search split picks of the union front at no higher "
        f"cost; gain: how much higher it is{interval}. Saves: cost of the preset minus that of "
        "the cheapest point that scores no lower (search). Dom: dominated by the union front "
        "(search). Presets are neither searched, charged nor ranked."
    )


def presets_finding(summary: Summary) -> str:
    """Number of presets that the found front dominates, and that it exceeds significantly."""
    points = summary.presets
    if not points:
        return ""
    count = display.counted(len(points), "published preset")
    dominated = sum(point.dominated for point in points)
    dominates = f"Of {count}, the found front dominates {dominated} on the search split"
    known = [p for p in points if p.gain_low is not None and p.gain_high is not None]
    if not known:
        return f"{dominates}."
    above = sum((p.gain_low or 0) > 0 for p in known)
    below = sum((p.gain_high or 0) < 0 for p in known)
    cheaper = sum(point.rival is None for point in points)
    sentence = (
        f"{dominates}; held out, at no higher cost, it scores higher than {above}, level with "
        f"{len(known) - above - below} and lower than {below}"
    )
    if cheaper:
        sentence += f"; {cheaper} {'is' if cheaper == 1 else 'are'} cheaper than all of it"
    return f"{sentence}."
