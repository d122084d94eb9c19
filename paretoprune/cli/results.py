"""What is done with results folders: `report`, `figures`, `rank`."""

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
    from paretoprune.comparison.gradients import read_gradients
    from paretoprune.comparison.sweep import read_matrix, read_summaries
    from paretoprune.compression.kept import read_examples
    from paretoprune.report import write_report
    from paretoprune.report.terminal import print_summary, print_written

    console = new_console()
    for name, summary in read_summaries(results).items():
        folder = results / name
        write_report(folder, summary, read_examples(folder), read_gradients(folder))
        print_summary(console, summary)
        print_written(console, folder)
    if read_matrix(results) is not None:
        from paretoprune.report.overview import print_overview, write_overview

        write_overview(results)
        print_overview(console, results)


@app.command()
def figures(
    results: Annotated[Path, typer.Argument(help="Results folder of compare or search.")],
    style: Annotated[str, typer.Option(help="What the figures are for: paper.")] = "paper",
    columns: Annotated[
        str, typer.Option(help="Width: single or double, in columns of a paper.")
    ] = "single",
    formats: Annotated[
        str, typer.Option("--format", help="pdf, svg, png, or several with commas.")
    ] = "pdf",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to. [default: figures, in the results]")
    ] = None,
) -> None:
    """Draw the figures of a results folder for a paper: fronts, attainment, anytime, schedules."""
    from paretoprune.comparison.results import read_summary
    from paretoprune.errors import UnknownNameError
    from paretoprune.report.figures import write_figures

    if style != "paper":
        raise UnknownNameError("figure style", style, ("paper",))
    kinds = [kind.strip() for kind in formats.split(",")]
    summary = read_summary(results)
    for file in write_figures(summary, out or results / "figures", formats=kinds, columns=columns):
        typer.echo(f"written to {file}")


@app.command()
def rank(
    results: Annotated[
        list[Path], typer.Argument(help="Results folders, one per problem; two or more.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File for the critical-difference diagram: .pdf, .svg or .png."),
    ] = None,
) -> None:
    """Rank strategies over several comparisons, and say which ranks are not separated."""
    from paretoprune.comparison.results import read_summary
    from paretoprune.report.overview import print_ranks, rank_problems

    found = rank_problems([(folder, read_summary(folder)) for folder in results])
    print_ranks(new_console(), found)
    if out is not None:
        from paretoprune.report.figures import write_rank_diagram

        write_rank_diagram(found.ranks, out)
        typer.echo(f"written to {out}")
