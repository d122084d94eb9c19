"""Colours and markers of strategies, the same in every figure and table of a report.

The colours are those of Okabe and Ito (2008), distinct with any kind of colour vision, without
the yellow that vanishes on white and with a grey for the black that vanishes on dark pages. Colours
and markers have different periods, so 56 strategies look different; print in grey works by marker.
"""

from __future__ import annotations

from dataclasses import dataclass

from paretoprune.comparison.results import Summary

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#808080")
MARKERS = (
    ("o", "circle", "●"),
    ("s", "square", "■"),
    ("D", "diamond", "◆"),
    ("^", "triangle-up", "▲"),
    ("v", "triangle-down", "▼"),
    ("P", "cross", "✚"),
    ("X", "x", "✖"),
    ("*", "star", "★"),
)


@dataclass(frozen=True)
class Look:
    """Style of a strategy: a colour, and one marker as matplotlib, plotly and text name it."""

    colour: str
    marker: str
    symbol: str
    glyph: str


def look(place: int) -> Look:
    """The look of the strategy at `place`, counted from 0."""
    return Look(COLOURS[place % len(COLOURS)], *MARKERS[place % len(MARKERS)])


def looks(summary: Summary) -> dict[str, Look]:
    """A look per strategy label, in the order in which they were run: no rank changes a colour."""
    labels = dict.fromkeys(
        [row.label for row in summary.studies]
        + [row.label for row in summary.standings]
        + [point.label for point in summary.front]
    )
    return {label: look(place) for place, label in enumerate(labels)}
