"""The application that every command registers itself with, and the groups of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from paretoprune import __version__

SEARCH = "Search"
USE = "Use"
READ = "Read"
CHECK = "Check"
EVIDENCE = "Evidence"

app = typer.Typer(
    help="Find the best quality-cost trade-offs of compressed vision-language models, and say "
    "which search found them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"paretoprune {__version__}")
        raise typer.Exit
