"""The embedded mini-models: `zoo list` and `zoo train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretoprune.cli.app import zoo_app
from paretoprune.cli.terminal import new_console, without_library_bars


@zoo_app.command("list")
def zoo_list() -> None:
    """List the embedded mini-models with their held-out accuracy."""
    from paretoprune.zoo.catalogue import describe

    for line in describe():
        typer.echo(line)


@zoo_app.command("train")
def zoo_train(
    name: Annotated[str, typer.Argument(help="Mini-model to train.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Checkpoint directory. [default: the package's own weights]"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps. [default: the mini-model's own]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and batches.")] = 0,
    heldout_size: Annotated[
        int, typer.Option(min=8, help="Held-out samples for the final accuracies.")
    ] = 4096,
) -> None:
    """Train a mini-model on MiniVQA; run again after an interruption to go on."""
    from paretoprune.experiments.training.command import train_and_report

    without_library_bars()
    train_and_report(
        new_console(), name, out=out, steps=steps, seed=seed, heldout_size=heldout_size
    )
