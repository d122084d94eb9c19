"""The project's benchmarks: `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretoprune.cli.app import app
from paretoprune.cli.options import Device, HeldoutSize
from paretoprune.cli.terminal import new_console, without_library_bars


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="Benchmark: evaluation, prefill, latency, memory, log, kernels, operators, "
            "gradient-bias."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Model by name; operators takes several, with commas, and all for all "
            "embedded ones."
        ),
    ] = "mini-llava",
    search_size: Annotated[
        int | None, typer.Option(min=8, help="Samples of the search split. [default: its own]")
    ] = None,
    heldout_size: HeldoutSize = 512,
    repeats: Annotated[
        int, typer.Option(min=3, help="Timed repeats, of which the median counts.")
    ] = 3,
    device: Device = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="A small version: gradient-bias.")] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file to write the figures to.")] = None,
) -> None:
    """Run one of the project's benchmarks and print its figures."""
    from paretoprune.bench import find

    benchmark = find(name)
    without_library_bars()
    benchmark(
        new_console(), model=model, search_size=search_size, heldout_size=heldout_size,
        repeats=repeats, device=device, out=out,
        quick=quick,
    )  # fmt: skip
