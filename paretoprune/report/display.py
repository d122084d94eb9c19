"""Numbers, names and labels as every table and figure shows them: plain text, nothing escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

from paretoprune.comparison.results import FrontPoint, Standing

MISSING = "-"
"""Stands where there is no value."""
LEVEL = "≈"
"""Marks values that are not significantly different from the best, or from cheaper points."""
MAX_LAYERS = 12
"""Keep schedules of more layers are written with repeats, such as `2×100 30×25`."""


def plain(text: object, most: int = 120) -> str:
    """`text` on one line of printable characters, cut to `most`.

    Control characters, line breaks and direction marks in foreign names do not reach the terminal
    or the page.
    """
    shown = "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}"
        for c in str(text)[: most + 1]
    )
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def number(value: float | None, decimals: int = 3) -> str:
    """A figure with fixed decimals; `-` where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def p_value(value: float) -> str:
    """A p-value to three digits, `<0.001` below that."""
    return "<0.001" if value < 0.001 else number(value)


def amount(value: float | None) -> str:
    """A cost, count or time of any size, with about three digits."""
    return amounts([value])[0]


def amounts(values: Sequence[float | None]) -> list[str]:
    """Costs, counts or times of one column, all with the decimals that the largest needs."""
    known = [abs(v) for v in values if v is not None and math.isfinite(v)]
    most = max(known, default=0.0)
    whole = most >= 99.95 or all(v == round(v) for v in known)
    decimals = 0 if whole else 1 if most >= 9.995 else 2
    return [number(v, decimals) for v in values]


def counts(values: Sequence[float]) -> list[str]:
    """Mean counts of one column: one decimal where any is not whole."""
    decimals = 0 if all(v == round(v) for v in values) else 1
    return [number(v, decimals) for v in values]


def area(row: Standing) -> str:
    """Held-out front area with its 95 % interval: `0.712 [0.69, 0.73]`, or `-`."""
    if row.heldout_area is None:
        return MISSING
    if row.area_low is None or row.area_high is None:
        return number(row.heldout_area)
    decimals = 2 if row.area_high - row.area_low >= 0.015 else 3
    low, high = number(row.area_low, decimals), number(row.area_high, decimals)
    return f"{number(row.heldout_area)} [{low}, {high}]"


def with_error(values: Mapping[str, float], errors: Mapping[str, float], name: str) -> str:
    """An objective's value with its standard error where there is one: `0.912 ±0.018`."""
    value, error = values.get(name), errors.get(name)
    large = value is not None and math.isfinite(value) and abs(value) >= 100
    decimals = 0 if large else 3  # bytes and tokens, not ratios
    suffix = f" ±{number(error, decimals)}" if error and value is not None else ""
    return number(value, decimals) + suffix


def level_mark(point: FrontPoint) -> str:
    """`≈` where a front point is not significantly better than cheaper ones; else nothing."""
    return LEVEL if point.separated is False else ""


def schedule(keep: Sequence[float]) -> str:
    """A keep schedule in percent per layer: `100 100 50 50`; long ones with repeats."""
    return runs([f"{100 * share:.0f}" for share in keep])


def layer_chart(keep: Sequence[float]) -> str:
    """A keep schedule as a bar per layer, `█▆▆▃▁ `: height is the share, a blank is nothing."""
    bars = " ▁▂▃▄▅▆▇█"
    return "".join(bars[0 if share <= 0 else max(1, round(share * 8))] for share in keep)


def runs(values: Sequence[object]) -> str:
    """One value per layer: `100 100 50 50`; of many layers with repeats, such as `2×100 30×25`."""
    if len(values) <= MAX_LAYERS:
        return " ".join(str(value) for value in values)
    repeats = [(value, len(list(group))) for value, group in groupby(values)]
    return " ".join(str(value) if times == 1 else f"{times}×{value}" for value, times in repeats)


def configuration(point: FrontPoint) -> str:
    """The keep schedule of a point where it has one, else its knobs."""
    if point.keep is not None:
        keep = schedule(point.keep)
        return keep if point.policy is None else f"{keep} on average, policy {point.policy}"
    return ", ".join(f"{plain(name, 40)}={knob(value)}" for name, value in point.knobs.items())


def operator(point: FrontPoint) -> str:
    """The pruner of a point with its settings: `dart visual_pivots=8 text_pivots=4`, or `-`."""
    if point.pruner is None:
        return MISSING
    settings = [f"{plain(name, 40)}={knob(value)}" for name, value in point.pruner_settings.items()]
    return " ".join([plain(point.pruner, 40), *settings])


def has_operators(points: Sequence[FrontPoint]) -> bool:
    """Whether the points differ in their pruner or its settings."""
    return len({operator(point) for point in points}) > 1


def knob(value: float | int | str) -> str:
    """A knob's value, floats to three digits."""
    return f"{value:.3g}" if isinstance(value, float) else plain(value, 40)


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 study`, `2 studies`."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def span(layers: tuple[int, int]) -> str:
    """Decoder layers that keep the same tokens: `layer 2`, `layers 2-5`."""
    first, last = layers
    return f"layer {first}" if first == last else f"layers {first}-{last}"


def kept_of(count: int, of: int) -> str:
    """Visual tokens that are kept: `36 of 144`."""
    return f"{count} of {of}"


def answer(text: str, right: bool | None) -> str:
    """An answer, and whether it is right where that is known: `red (right)`."""
    verdict = {None: "", True: " (right)", False: " (wrong)"}[right]
    return f"{plain(text, 80) or '(nothing)'}{verdict}"
