"""Which knobs move which objective, as a section of the report and a terminal table."""

from __future__ import annotations

import html
from collections.abc import Sequence

from paretoprune.comparison.results import Sensitivity, Summary
from paretoprune.report import words
from paretoprune.report.blocks import Head, section, table

MEANING = (
    "Importance: how much of the explained variance (R²) is lost when the knob's values are "
    "shuffled, ± standard error over five folds; around 0, the knob does not matter where it was "
    "searched."
)
WEAK = 0.2
"""Below this R², the fit says too little for its importances to be read."""


def rows(found: Sequence[Sensitivity]) -> list[list[str]]:
    """Cells of one line per objective and knob, the most important first: plain text."""
    lines = []
    for one in found:
        for place, knob in enumerate(sorted(one.knobs, key=lambda k: -k.mean)):
            weak = " (weak fit)" if one.explained < WEAK else ""
            objective = f"{words.plain(one.objective, 40)}, R² {one.explained:.2f}{weak}"
            told = f"{words.number(knob.mean)} ±{words.number(knob.error)}"
            lines.append([objective if not place else "", words.plain(knob.knob, 40), told])
    return lines


def sensitivity_section(summary: Summary) -> str:
    """One table per space that has enough evaluations; nothing without one."""
    parts = []
    for space in dict.fromkeys(one.space for one in summary.sensitivity):
        found = [one for one in summary.sensitivity if one.space == space]
        heads = [Head("objective", kind="text"), Head("knob", kind="text"), Head("importance")]
        cells = [[html.escape(cell) for cell in row] for row in rows(found)]
        told = html.escape(words.plain(space, 40))
        parts.append(
            f"<p>Space {told}, {found[0].evaluations} configurations.</p>"
            + table(f"Knobs of {space}", heads, cells)
        )
    if not parts:
        return ""
    return section("Which knobs matter", "".join(parts) + f"<p>{html.escape(MEANING)}</p>")
