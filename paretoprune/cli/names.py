"""What is there: `list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from paretoprune.cli.app import app

if TYPE_CHECKING:
    from paretoprune.registry import Entry, Registry


@app.command("list")
def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="strategy, pruner, kernel, policy, adapter, task, problem or preset; all by "
            "default."
        ),
    ] = None,
) -> None:
    """List what has a name: strategies, pruners, kernels, policies, adapters and so on.

    Plug-ins stand with the package they come from, unusable ones with the reason.
    """
    from paretoprune.registry import ALL, find_registry, unread_packages

    chosen = ALL if kind is None else (find_registry(kind),)
    for registry in chosen:
        typer.echo(f"{registry.kind}:")
        entries, skipped = registry.surveyed()
        lines = [line for entry in entries for line in _lines(registry, entry)]
        lines += [(one.name, f"skipped: {one.reason} (from {one.origin})") for one in skipped]
        width = max((len(name) for name, _ in lines), default=0)
        for name, told in lines:
            typer.echo(f"  {name:{width}}  {told}")
    for package, reason in unread_packages().items():
        typer.echo(f"skipped: {package}: {reason}")


def _lines(registry: Registry, entry: Entry) -> list[tuple[str, str]]:
    """Names and what they are: of a preset's method, all its presets."""
    from paretoprune.schedules.presets import find_presets

    origin = f" (from {entry.origin})" if entry.is_plugin else ""
    if registry.kind == "preset":
        return [(preset.name, preset.summary + origin) for preset in find_presets(entry.name)]
    return [(entry.name, entry.summary + origin)]
