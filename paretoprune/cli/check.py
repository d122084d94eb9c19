"""Checking before a search: `check-model`, `data`, `list`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from paretoprune.cli.app import CHECK, app
from paretoprune.cli.options import option, with_settings
from paretoprune.cli.terminal import new_console, without_library_bars
from paretoprune.errors import UnknownNameError
from paretoprune.registry import ALL, find_registry, unread_packages

MODEL_KIND = "model"


@app.command("check-model", rich_help_panel=CHECK)
@with_settings("pruner", "dtype", "device", "attn", "trust_remote_code", single=True)
def check_model(
    model: Annotated[
        str, typer.Argument(help="Embedded mini-model, checkpoint directory, or hub name.")
    ],
    **settings: Any,
) -> None:
    """Check that a model can be pruned.

    Its logits are compared with those of its own forward pass. Knobs,
    dimensions and the cost of the dense model are printed.
    """
    without_library_bars()
    from paretoprune.deploy.model_check import check_model as run
    from paretoprune.report.model import print_model_check

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the check itself prints the note
        result = run(model, **settings)
    print_model_check(new_console(), result)
    if result.problem is not None:
        raise typer.Exit(2)


@app.command(rich_help_panel=CHECK)
def data(
    data: Annotated[
        str, typer.Argument(help="Data of a task: a file, a folder, or a hub name owner/name.")
    ],
    task: Annotated[
        str | None,
        option(
            help="Task that reads them: name or name:option=value,...",
            default="pictures for a folder, else llava-instruct",
        ),
    ] = None,
    areas: Annotated[
        Path | None,
        option(
            help="PNG file to draw the areas of calibration pictures in, as they are and with "
            "areas=uniform."
        ),
    ] = None,
) -> None:
    """Check the data of a search: samples, pictures and their areas."""
    from paretoprune.report.figures import write_areas_png
    from paretoprune.tasks.areas import equalised
    from paretoprune.tasks.load import describe, load_task, pictures_of

    name = task if task is not None else ("pictures" if Path(data).is_dir() else "llava-instruct")
    reader = load_task(name, data)
    for line in describe(reader):
        typer.echo(line)
    if areas is not None:
        pictures = pictures_of(name, reader)
        even = equalised(pictures.sizes, low=pictures.low, high=pictures.high)
        write_areas_png(pictures.sizes, even, areas)
        typer.echo(f"written to {areas}")


@app.command("list", rich_help_panel=CHECK)
def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(
            help=", ".join(registry.kind for registry in ALL) + f" or {MODEL_KIND}.",
            show_default="all",
        ),
    ] = None,
) -> None:
    """List all names: strategies, pruners, tasks, models and so on.

    Plug-ins are listed with their package, unusable ones with the reason.
    """
    from paretoprune.schedules.presets import find_presets
    from paretoprune.zoo.catalogue import describe

    if kind is not None and kind.lower() not in (MODEL_KIND, f"{MODEL_KIND}s"):
        try:
            registries = [find_registry(kind)]
        except UnknownNameError:
            raise UnknownNameError("kind", kind, [*(r.kind for r in ALL), MODEL_KIND]) from None
    else:
        registries = list(ALL) if kind is None else []
    for registry in registries:
        entries, skipped = registry.surveyed()
        lines = []
        for entry in entries:
            origin = f" (from {entry.origin})" if entry.is_plugin else ""
            named = find_presets(entry.name) if registry.kind == "preset" else [entry]
            lines += [(one.name, one.summary + origin) for one in named]
        lines += [(one.name, f"skipped: {one.reason} (from {one.origin})") for one in skipped]
        width = max((len(name) for name, _ in lines), default=0)
        typer.echo(f"{registry.kind}:")
        for name, summary in lines:
            typer.echo(f"  {name:{width}}  {summary}")
    if kind is None or not registries:
        typer.echo(f"{MODEL_KIND}:")
        for line in describe():
            typer.echo(f"  {line}")
    for package, reason in unread_packages().items():
        typer.echo(f"skipped: {package}: {reason}")
