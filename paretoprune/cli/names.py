"""What is there: `list`."""

from __future__ import annotations

from typing import Annotated

import typer

from paretoprune.cli.app import app


@app.command("list")
def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(help="strategy, pruner, kernel, adapter, task or problem; all by default."),
    ] = None,
) -> None:
    """List strategies, pruners, kernels, adapters, tasks and problems, one line each."""
    from paretoprune.registry import ALL, find_registry

    chosen = ALL if kind is None else (find_registry(kind),)
    for registry in chosen:
        typer.echo(f"{registry.kind}:")
        entries = list(registry)
        width = max((len(e.name) for e in entries), default=0)
        for entry in entries:
            origin = "" if entry.origin == "built in" else f" (from {entry.origin})"
            typer.echo(f"  {entry.name:{width}}  {entry.summary}{origin}")
