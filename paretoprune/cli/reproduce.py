"""The claims of the VisPCO paper, with our own numbers: `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretoprune.cli.app import app
from paretoprune.cli.terminal import new_console, without_library_bars


@app.command()
def reproduce(
    quick: Annotated[
        bool, typer.Option("--quick", help="A small version that takes minutes.")
    ] = False,
    only: Annotated[
        str | None, typer.Option(help="Claims to answer, 1 to 8, with commas. [default: all]")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="Of those the i-th of n shares, such as 1/3.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder; what is in it already is not run again.")
    ] = Path("paretoprune-reproduce"),
) -> None:
    """Answer the claims of the VisPCO paper with our own numbers; goes on where it stopped."""
    from paretoprune.experiments.reproduce.cached_runs import FULL, QUICK
    from paretoprune.experiments.reproduce.run import SUMMARY_NAME, parse_claims

    claims = parse_claims(only, shard)
    without_library_bars()
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from paretoprune.experiments.reproduce.run import reproduce as run

    console = new_console()
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        line = bar.add_task("reading what is there", total=None)
        found = run(
            out, QUICK if quick else FULL, claims,
            observe=lambda what: bar.update(line, description=what),
        )  # fmt: skip
    for finding in found:
        console.print(f"{finding.number}. {finding.title}: {finding.sentence}")
    console.print(f"In {out}: {SUMMARY_NAME}, and a folder per claim with table and figure")
