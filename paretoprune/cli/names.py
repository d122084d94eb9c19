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
    """List strategies, pruners, kernels, adapters, tasks and problems, one line each.

    Plug-ins stand with the package they come from, unusable ones with the reason.
    """
    from paretoprune.registry import ALL, find_registry, unread_packages

    chosen = ALL if kind is None else (find_registry(kind),)
    for registry in chosen:
        typer.echo(f"{registry.kind}:")
        entries, skipped = registry.surveyed()
        names = [e.name for e in entries] + [s.name for s in skipped]
        width = max(map(len, names), default=0)
        for entry in entries:
            origin = f" (from {entry.origin})" if entry.is_plugin else ""
            typer.echo(f"  {entry.name:{width}}  {entry.summary}{origin}")
        for one in skipped:
            typer.echo(f"  {one.name:{width}}  skipped: {one.reason} (from {one.origin})")
    for package, reason in unread_packages().items():
        typer.echo(f"skipped: {package}: {reason}")
