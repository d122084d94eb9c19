"""From a front to a decision: `pick`, `card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paretoprune.cli.app import app
from paretoprune.cli.terminal import free_file, new_console
from paretoprune.errors import InvalidValueError


@app.command()
def pick(
    results: Annotated[Path, typer.Argument(help="Results folder of compare or search.")],
    max_flops: Annotated[
        float | None, typer.Option(help="Relative compute u at most this, such as 0.4.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Score at least this.")] = None,
    most: Annotated[
        list[str] | None,
        typer.Option("--max", help="Any objective at most a value, as NAME=VALUE; repeatable."),
    ] = None,
    least: Annotated[
        list[str] | None,
        typer.Option("--min", help="Any objective at least a value, as NAME=VALUE; repeatable."),
    ] = None,
    knee: Annotated[
        bool,
        typer.Option("--knee", help="The knee of what is within the bounds. [default without any]"),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="JSON file to write, new. [default: pick.json, numbered]"),
    ] = None,
) -> None:
    """Pick one configuration: the best within bounds, or the knee; print it and export it.

    Bounds are on the search split; the held-out score beside them is what to expect.
    """
    from paretoprune.comparison.results import read_summary
    from paretoprune.comparison.selection import pick as choose
    from paretoprune.comparison.selection import write_pick
    from paretoprune.frontier import Bound
    from paretoprune.report.picked import print_pick, print_sensitivity

    bounds = [
        *([] if max_flops is None else [Bound.parse("max", f"flops={max_flops}")]),
        *([] if min_score is None else [Bound.parse("min", f"score={min_score}")]),
        *(Bound.parse("max", text) for text in most or []),
        *(Bound.parse("min", text) for text in least or []),
    ]
    if out is not None and out.exists():
        raise InvalidValueError(f"--out {out} exists; name another file")
    summary = read_summary(results)
    chosen = choose(summary, bounds, knee=knee)
    file = out or free_file(Path("pick.json"))
    write_pick(file, summary, chosen)
    console = new_console()
    print_pick(console, summary, chosen, file)
    print_sensitivity(console, summary)


@app.command()
def card(
    schedule: Annotated[Path, typer.Argument(help="Schedule file (JSON), as a search writes it.")],
) -> None:
    """Print a model-card section for a saved schedule, in GitHub-flavoured Markdown."""
    from paretoprune.report.schedule import card_markdown
    from paretoprune.schedules.files import read_schedule

    typer.echo(card_markdown(read_schedule(schedule), schedule.name), nl=False)
