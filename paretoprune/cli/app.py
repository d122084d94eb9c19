"""The application that every command registers itself with."""

from __future__ import annotations

from typing import Annotated

import typer

from paretoprune import __version__

app = typer.Typer(
    help="Find the best quality-cost trade-offs of compressed vision-language models, and say "
    "which search found them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
zoo_app = typer.Typer(help="The embedded mini-models.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(zoo_app, name="zoo")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"paretoprune {__version__}")
        raise typer.Exit
