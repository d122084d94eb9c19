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
    """Write report.html, front.png and ranking.md again from a results folder, and print it."""
    from paretoprune.kept import read_examples
    from paretoprune.report import write_report
    from paretoprune.report.terminal import print_summary
    from paretoprune.results import read_summary

    summary = read_summary(results)
    write_report(results, summary, read_examples(results))
    print_summary(new_console(), summary, results)
