"""The project's evidence: `bench`, `reproduce`, `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretoprune.cli.app import EVIDENCE, app
from paretoprune.cli.options import option, with_settings
from paretoprune.cli.terminal import new_console, without_library_bars
from paretoprune.comparison.configuration import HOW_MUCH, INFRASTRUCTURE, MODEL
from paretoprune.core.options import split_specs
from paretoprune.experiments.bench import BENCHMARKS


@app.command(rich_help_panel=EVIDENCE)
@with_settings("device", single=True)
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"Benchmark: {', '.join(BENCHMARKS)}.")],
    model: Annotated[
        str,
        option(
            help="Model by name; operators and search-cost take several with commas, or all for "
            "all embedded ones.",
            panel=MODEL,
        ),
    ] = "mini-llava",
    search_size: Annotated[
        int | None,
        option(
            min=8,
            help="Samples of the search split.",
            default="the benchmark's own",
            panel=HOW_MUCH,
        ),
    ] = None,
    heldout_size: Annotated[
        int, option(min=8, help="Samples of the held-out split.", panel=HOW_MUCH)
    ] = 512,
    repeats: Annotated[
        int,
        option(min=3, help="Timed repeats; the median counts.", panel=HOW_MUCH),
    ] = 3,
    quick: Annotated[
        bool,
        option(
            "--quick",
            help="A small version of gradient-bias or search-cost.",
            panel=HOW_MUCH,
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        option(
            min=1,
            help="Seeds per strategy of search-cost.",
            default="5",
            panel=HOW_MUCH,
        ),
    ] = None,
    first_seed: Annotated[
        int,
        option(min=0, help="First seed; the seed of kill9.", panel=HOW_MUCH),
    ] = 0,
    kills: Annotated[int, option(min=1, help="Processes that kill9 kills.", panel=HOW_MUCH)] = 200,
    strategy: Annotated[
        list[str] | None,
        option(
            "--strategy",
            "-s",
            help="Strategy of search-cost or kill9. Repeat for several.",
            default="the benchmark's own",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        option(help="Grid that search-cost compares with.", default="grid:fine"),
    ] = None,
    shard: Annotated[
        str | None,
        option(
            help="Part of the runs of search-cost, such as 1/4; existing runs are kept.",
            panel=INFRASTRUCTURE,
        ),
    ] = None,
    storage: Annotated[
        str | None,
        option(
            help="Database for the logs of kill9; postgresql for a throwaway server.",
            default="files",
            panel=INFRASTRUCTURE,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option(help="JSON file to write the figures to.", panel=INFRASTRUCTURE),
    ] = None,
    **_: str,
) -> None:
    """Run a benchmark of the project, and print its figures."""
    from paretoprune.experiments.bench import find

    benchmark = find(name)
    without_library_bars()
    options = {key: value for key, value in context.params.items() if key != "name"}
    if strategy is not None:
        options["strategy"] = [spec for text in strategy for spec in split_specs(text)]
    benchmark(new_console(), **options)


@app.command(rich_help_panel=EVIDENCE)
def reproduce(
    quick: Annotated[bool, option("--quick", help="A small version that takes minutes.")] = False,
    only: Annotated[
        str | None,
        option(help="Claims to answer, 1 to 8, with commas.", default="all"),
    ] = None,
    shard: Annotated[
        str | None, option(help="Part of them, such as 1/3: the first of three.")
    ] = None,
    out: Annotated[Path, option(help="Folder; its existing runs are kept.")] = Path(
        "paretoprune-reproduce"
    ),
) -> None:
    """Answer the claims of the VisPCO paper with our own numbers.

    After an interruption it goes on where it stopped.
    """
    from paretoprune.experiments.reproduce.cached_runs import FULL, QUICK
    from paretoprune.experiments.reproduce.run import SUMMARY_NAME, parse_claims

    claims = parse_claims(only, shard)
    without_library_bars()
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from paretoprune.experiments.reproduce.run import reproduce as run

    console = new_console()
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        line = bar.add_task("reading existing runs", total=None)
        findings = run(
            out, QUICK if quick else FULL, claims,
            observe=lambda what: bar.update(line, description=what),
        )  # fmt: skip
    for finding in findings:
        console.print(f"{finding.number}. {finding.title}: {finding.sentence}")
    console.print(f"In {out}: {SUMMARY_NAME}, and a folder per claim with table and figure")


@app.command(rich_help_panel=EVIDENCE)
def train(
    name: Annotated[str, typer.Argument(help="Embedded mini-model to train; see list model.")],
    out: Annotated[
        Path | None,
        option(help="Checkpoint directory.", default="the package's own weights"),
    ] = None,
    steps: Annotated[
        int | None,
        option(min=1, help="Training steps.", default="the mini-model's own"),
    ] = None,
    seed: Annotated[int, option(min=0, help="Seed of weights and batches.")] = 0,
    heldout_size: Annotated[
        int, option(min=8, help="Held-out samples for the final accuracies.")
    ] = 4096,
) -> None:
    """Train an embedded mini-model on MiniVQA.

    After an interruption it goes on where it stopped.
    """
    from paretoprune.experiments.training.command import train_and_report

    without_library_bars()
    train_and_report(
        new_console(), name, out=out, steps=steps, seed=seed, heldout_size=heldout_size
    )
