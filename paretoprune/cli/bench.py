"""The project's benchmarks: `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretoprune.cli.app import app
from paretoprune.cli.options import Device
from paretoprune.cli.terminal import new_console, without_library_bars


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="Benchmark: evaluation, prefill, latency, memory, kernels, operators, "
            "gradient-bias, gradient-step, search-cost, kill9."
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="Model by name; operators and search-cost take several, with commas, and all for "
            "all embedded ones."
        ),
    ] = "mini-llava",
    search_size: Annotated[
        int | None, typer.Option(min=8, help="Samples of the search split. [default: its own]")
    ] = None,
    heldout_size: Annotated[int, typer.Option(min=8, help="Samples of the held-out split.")] = 512,
    repeats: Annotated[
        int, typer.Option(min=3, help="Timed repeats, of which the median counts.")
    ] = 3,
    device: Device = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="A small version of gradient-bias or search-cost.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds per strategy: search-cost. [default: 5]")
    ] = None,
    first_seed: Annotated[
        int, typer.Option(min=0, help="The first of them; the seed of kill9.")
    ] = 0,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy", "-s", help="Strategies of search-cost and kill9. [default: theirs]"
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Grid that search-cost compares with. [default: grid:fine]"),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Part of search-cost's runs, such as 1/4; runs that exist are kept."),
    ] = None,
    kills: Annotated[int, typer.Option(min=1, help="Processes that kill9 kills.")] = 200,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Database for the logs of kill9; postgresql for a throwaway server. "
            "[default: files]"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write the figures to.")] = None,
) -> None:
    """Run one of the project's benchmarks and print its figures."""
    from paretoprune.experiments.bench import find

    benchmark = find(name)
    without_library_bars()
    benchmark(
        new_console(), model=model, search_size=search_size, heldout_size=heldout_size,
        repeats=repeats, device=device, out=out,
        quick=quick, seeds=seeds, first_seed=first_seed, strategy=strategy, reference=reference,
        shard=shard, kills=kills, storage=storage,
    )  # fmt: skip
