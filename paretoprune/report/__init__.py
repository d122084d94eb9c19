"""Terminal tables, figures and the HTML report, drawn from a `results.Summary` alone.

Nothing here needs the model or torch, so a report can be written again from a results folder. Every
name in a summary (labels, knobs, models) may come from a foreign file: all text is escaped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paretoprune.comparison.gradients import Gradients
    from paretoprune.comparison.results import Summary
    from paretoprune.compression.kept import Examples

HTML_NAME = "report.html"
FIGURE_NAME = "front.png"
TABLE_NAME = "ranking.md"
GAP_NAME = "gap.png"

__all__ = ["FIGURE_NAME", "GAP_NAME", "HTML_NAME", "TABLE_NAME", "write_report"]


def write_report(
    folder: Path,
    summary: Summary,
    examples: Examples | None = None,
    gradients: Gradients | None = None,
    *,
    observe: Callable[[int, int], None] | None = None,
) -> None:
    """Write report.html, front.png and ranking.md into `folder`, whole or not at all.

    `examples` are pictures for the page with the tokens that the best schedules keep of them;
    `gradients` the curves and relaxation gaps of gradient searches, with which gap.png is written,
    too. `observe` is called with done and total, in files.

    Raises `BrokenFileError` naming the file that cannot be written.
    """
    from paretoprune.files import write_whole
    from paretoprune.report.figures import write_front_png
    from paretoprune.report.gradient_plots import write_gap_png
    from paretoprune.report.html import write_html
    from paretoprune.report.ranking import ranking_markdown

    steps: list[Callable[[], None]] = [
        lambda: write_html(summary, folder / HTML_NAME, examples, gradients),
        lambda: write_front_png(summary, folder / FIGURE_NAME),
        lambda: write_whole(folder / TABLE_NAME, ranking_markdown(summary).encode("utf-8")),
    ]
    if gradients is not None and any(study.points for study in gradients.studies):
        steps.append(lambda: write_gap_png(gradients, folder / GAP_NAME))
    for done, step in enumerate(steps):
        if observe is not None:
            observe(done, len(steps))
        step()
