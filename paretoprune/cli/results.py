"""What is done with a results folder: `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretoprune.cli.app import app
from paretoprune.cli.terminal import new_console


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Results folder of compare or search.")],
) -> None:
    """Write report.html, front.png and ranking.md again from a results folder, and print it.

    Of several comparisons, all of them and the overview.
    """
    from paretoprune.kept import read_examples
    from paretoprune.matrix import read_matrix, read_summaries
    from paretoprune.report import write_report
    from paretoprune.report.terminal import print_summary

    console = new_console()
    for name, summary in read_summaries(results).items():
        folder = results / name
        write_report(folder, summary, read_examples(folder))
        print_summary(console, summary, folder)
    if read_matrix(results) is not None:
        from paretoprune.report.overview import print_overview, write_overview

        write_overview(results)
        print_overview(console, results)
