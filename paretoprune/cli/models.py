"""Looking at one model: `check-model`."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from paretoprune.cli.app import app
from paretoprune.cli.options import Attn, Device, Dtype, Pruner, Remote
from paretoprune.cli.terminal import new_console, without_library_bars


@app.command("check-model")
def check_model(
    model: Annotated[
        str, typer.Argument(help="Embedded mini-model, checkpoint directory, or hub name.")
    ],
    pruner: Pruner = "fastv",
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attn: Attn = "auto",
    trust_remote_code: Remote = False,
) -> None:
    """Check that a model can be pruned: its own logits, knobs, dimensions, the cost of dense."""
    without_library_bars()
    from paretoprune.deploy.model_check import check_model as run
    from paretoprune.report.model import print_model_check

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the check itself prints the note
        found = run(
            model, pruner=pruner, dtype=dtype, device=device, attn=attn,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
    print_model_check(new_console(), found)
    if found.problem is not None:
        raise typer.Exit(2)
