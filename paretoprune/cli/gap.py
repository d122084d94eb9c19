"""What a gradient search believed and what it found: `gap`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paretoprune.cli.app import app
from paretoprune.cli.terminal import new_console

if TYPE_CHECKING:
    from paretoprune.comparison.results import ReferenceFront, Summary


@app.command()
def gap(
    results: Annotated[Path, typer.Argument(help="Results folder of compare or search.")],
    reference: Annotated[
        str | None,
        typer.Option(
            help="Also evaluate an exhaustive grid and measure the distance to it: grid:fine, "
            "grid:medium or grid:coarse. [default: the one that the results have, if any]",
        ),
    ] = None,
) -> None:
    """Print how far what a gradient search returned is from what it believed: the relaxation gap.

    Prints a table, writes gap.png and, with --reference, the report again.
    """
    from paretoprune.comparison.gradients import read_gradients, write_gradients
    from paretoprune.comparison.results import read_summary
    from paretoprune.errors import UnsupportedError
    from paretoprune.report import GAP_NAME
    from paretoprune.report.gap_figure import write_gap_png
    from paretoprune.report.gap_table import print_gap

    console = new_console()
    summary = read_summary(results)
    found = read_gradients(results)
    if found is None or not any(study.points for study in found.studies):
        raise UnsupportedError(
            f"{results} holds no gradient search with a relaxation gap: it was written without "
            "one, or interrupted; search with a strategy such as 'gradient'"
        )
    if reference is not None:
        from paretoprune.comparison.gap import against
        from paretoprune.compression.kept import read_examples
        from paretoprune.report import write_report

        found = against(found, _reference_again(summary, reference))
        write_gradients(results, found)
        write_report(results, summary, read_examples(results), found)
    write_gap_png(found, results / GAP_NAME)
    print_gap(console, found, f"In {results}: {GAP_NAME}, gradients.json")


def _reference_again(summary: Summary, name: str) -> ReferenceFront:
    """The exhaustive front of the problem that a results folder is about."""
    from paretoprune.cli.run import LOADING, evaluate_reference, load_with_status
    from paretoprune.cli.terminal import without_library_bars
    from paretoprune.comparison.reference import parse_reference

    parse_reference(name)
    without_library_bars()
    console = new_console()
    known = dict(summary.settings)
    named = {key: "decoder_batch" if key == "batch" else key for key in LOADING}
    options = {
        key: known[name]
        for key, name in named.items()
        if known["problem"] == "compression" and (key != "per_picture" or name in known)
    }
    problem = load_with_status(console, str(known["problem"]), options)
    return evaluate_reference(console, problem, name).stored()
