"""Searching: `compare`, `search`, `init`, `rerun`. All of them run a `StudyFile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paretoprune.cli.app import SEARCH, app
from paretoprune.cli.options import (
    SETTINGS,
    Results,
    given_options,
    given_settings,
    option,
    with_settings,
)
from paretoprune.cli.terminal import free_folder, new_console, resumed_folder
from paretoprune.comparison.configuration import (
    INFRASTRUCTURE,
    PLACES,
    StudyFile,
    read_study,
)
from paretoprune.errors import InvalidValueError


@app.command(rich_help_panel=SEARCH)
@with_settings(*SETTINGS)
def compare(
    context: typer.Context,
    config: Annotated[
        Path | None,
        option(
            help="Study file (TOML) as init writes one; options given here come before it.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        option(
            help="Results folder of an interrupted comparison: go on with it as it was started. "
            "Options that differ are refused.",
        ),
    ] = None,
    **_: Any,
) -> None:
    """Search with several strategies at equal cost, and rank them.

    The ranking is on held-out data. Several models, tasks or pruners are
    compared one combination after the other.
    """
    from paretoprune.cli.run import run
    from paretoprune.comparison.sweep import cases_of, resumed

    if resume is not None:
        study, cases = resumed(resume, given_options(context))
        run(study, cases, resumed_folder(resume), resume=True)
        return
    given = given_settings(context)
    study = (StudyFile() if config is None else read_study(config)).changed(given)
    study.confirm(given)
    run(study, cases_of(study), free_folder(study.out))


@app.command(rich_help_panel=SEARCH)
@with_settings(*(name for name in SETTINGS if name not in ("strategy", "seeds")))
def search(
    context: typer.Context,
    strategy: Annotated[
        str, typer.Argument(help="Strategy: name, name:option=value,... or file.py:Class.")
    ],
    seed: Annotated[int, option(min=0, help="Seed of the search.")] = 0,
    plan: Annotated[
        bool,
        option(
            "--plan",
            help="Print the memory and time of a gradient step, and stop. Only the model's "
            "configuration is read.",
        ),
    ] = False,
    **_: Any,
) -> None:
    """Search with one strategy and one seed, without a ranking."""
    from paretoprune.search.specs import StrategySpec

    StrategySpec.parse(strategy)  # raises where it names several
    study = StudyFile().changed(given_settings(context) | {"strategy": [strategy], "seeds": [seed]})
    if plan:
        _print_plan(study)
        return
    from paretoprune.cli.run import run
    from paretoprune.comparison.sweep import cases_of

    run(study, cases_of(study), free_folder(study.out))


@app.command(rich_help_panel=SEARCH)
def init(
    file: Annotated[Path, typer.Argument(help="File to write, which does not exist yet.")] = Path(
        "study.toml"
    ),
) -> None:
    """Write a commented study file with every setting of compare."""
    from paretoprune.comparison.settings import commented_study
    from paretoprune.files import write_whole

    if file.exists():
        raise InvalidValueError(f"{file} exists; name another file")
    write_whole(file, commented_study().encode("utf-8"))
    typer.echo(f"written to {file}; run it with: paretoprune compare --config {file}")


@app.command(rich_help_panel=SEARCH)
@with_settings(*PLACES)
@with_settings("strategy", "problem", "pruner", "track", default="the study's")
@with_settings("trust_remote_code")
def rerun(
    context: typer.Context,
    results: Results,
    out: Annotated[
        Path | None,
        option(
            help="Results folder, new or empty.",
            default="RESULTS-rerun, numbered",
            panel=INFRASTRUCTURE,
        ),
    ] = None,
    **_: Any,
) -> None:
    """Run a study again from its results, and compare the fronts.

    It runs in this process, with its log in the folder, unless options say
    otherwise. Code of your own, remote code and trackers are used only if the
    options repeat them. Exit code 1 if fronts differ.
    """
    from paretoprune.cli.run import run
    from paretoprune.comparison.provenance import compared
    from paretoprune.comparison.sweep import read_summaries, started_again

    before = read_summaries(results)
    given = given_settings(context)
    study, cases = started_again(results, given)
    default = results.with_name(f"{results.resolve().name}-rerun")
    folder = free_folder(out, default=default)
    run(study, cases, folder)
    after = read_summaries(folder)
    all_equal = True
    for name in before | after:
        equal, lines = compared(results / name, folder / name, before.get(name), after.get(name))
        all_equal &= equal
        for line in lines:
            typer.echo(line)
    if not all_equal:
        raise typer.Exit(1)


def _print_plan(study: StudyFile) -> None:
    from paretoprune.compression.step_plan import gradient_strategy, plan_step
    from paretoprune.report.model import print_plan

    strategy = gradient_strategy(study.strategy[0])
    console = new_console()
    for model in study.model:
        with console.status("trying a step through a few layers"):
            plan = plan_step(
                model, strategy, dtype=study.dtype, device=study.device,
                trust_remote_code=study.trust_remote_code,
            )  # fmt: skip
        print_plan(console, plan)
