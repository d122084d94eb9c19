"""Searching: `compare` and `search`. Both build a `StudyFile` from their flags and run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paretoprune.cli.app import app
from paretoprune.cli.options import (
    DEFAULT_BUDGET,
    Attn,
    Batch,
    Budget,
    Cluster,
    Compress,
    Data,
    DataPlaces,
    DataSeed,
    Device,
    Dtype,
    Executor,
    HeldoutSize,
    Levels,
    Model,
    Models,
    Objectives,
    Out,
    PerPicture,
    PresetNames,
    ProblemName,
    Pruner,
    PrunerKnobs,
    Pruners,
    ReferenceName,
    Remote,
    Resume,
    SearchSize,
    Storage,
    Task,
    Tasks,
    Track,
    WithPresets,
    Workers,
)
from paretoprune.cli.terminal import free_folder, new_console, resumed_folder
from paretoprune.errors import InvalidValueError

if TYPE_CHECKING:
    from paretoprune.comparison.configuration import StudyFile


@app.command()
def compare(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Study file (TOML), as paretoprune init writes one; flags come before it."
        ),
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            "-s",
            help="Strategy to compare, as name or name:option=value,...; repeat for several. "
            "[default: random, grid:space=single-step, tpe, nsga2, pymoo-nsga2, gradient, those of "
            "them that fit the problem]",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per strategy: 0 to N-1.")] = 2,
    budget: Budget = DEFAULT_BUDGET,
    model: Models = None,
    task: Tasks = None,
    data: DataPlaces = None,
    pruner: Pruners = None,
    pruner_knobs: PrunerKnobs = None,
    per_picture: PerPicture = False,
    search_size: SearchSize = None,
    heldout_size: HeldoutSize = None,
    data_seed: DataSeed = 0,
    levels: Levels = None,
    objectives: Objectives = "score,flops",
    reference: ReferenceName = None,
    with_presets: WithPresets = False,
    preset: PresetNames = None,
    batch: Batch = 64,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attn: Attn = "auto",
    trust_remote_code: Remote = False,
    problem: ProblemName = "compression",
    compress: Compress = "tokens",
    track: Track = None,
    storage: Storage = None,
    executor: Executor = "in-process",
    workers: Workers = None,
    cluster: Cluster = None,
    out: Out = None,
    resume: Resume = None,
) -> None:
    """Search with several strategies at equal cost and rank them on held-out data.

    Several models, tasks or pruners are compared one combination after the other.
    """
    from paretoprune.cli.run import run
    from paretoprune.comparison.configuration import PLACES, Case, StudyFile, read_study

    given = given_settings(context)
    if resume is not None:
        from paretoprune.comparison.sweep import cases_to_resume, study_to_resume

        study = study_to_resume(resume)
        _check_unchanged(context, resume, study)
        study.confirm(given)
        place = {name: given[name] for name in PLACES if name in given}
        cases = [Case(c.folder, c.study.changed(place)) for c in cases_to_resume(resume)]
        run(study.changed(place), cases, resumed_folder(resume), resume=True)
        return
    study = StudyFile() if config is None else read_study(config)
    study = study.changed(given)
    study.confirm(given)
    run(study, study.cases(), free_folder(study.out))


@app.command()
def search(
    context: typer.Context,
    strategy: Annotated[str, typer.Argument(help="Strategy, as name or name:option=value,...")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Print what a gradient step needs in memory and time, and stop: only the model's "
            "configuration is read.",
        ),
    ] = False,
    budget: Budget = DEFAULT_BUDGET,
    model: Model = "mini-llava",
    task: Task = None,
    data: Data = None,
    pruner: Pruner = "fastv",
    pruner_knobs: PrunerKnobs = None,
    per_picture: PerPicture = False,
    search_size: SearchSize = None,
    heldout_size: HeldoutSize = None,
    data_seed: DataSeed = 0,
    levels: Levels = None,
    objectives: Objectives = "score,flops",
    reference: ReferenceName = None,
    with_presets: WithPresets = False,
    preset: PresetNames = None,
    batch: Batch = 64,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attn: Attn = "auto",
    trust_remote_code: Remote = False,
    problem: ProblemName = "compression",
    compress: Compress = "tokens",
    track: Track = None,
    storage: Storage = None,
    executor: Executor = "in-process",
    workers: Workers = None,
    cluster: Cluster = None,
    out: Out = None,
) -> None:
    """Search with one strategy and one seed."""
    if plan:
        _plan(strategy, model, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        return
    from paretoprune.cli.run import run
    from paretoprune.comparison.configuration import StudyFile

    study = StudyFile().changed(given_settings(context) | {"strategy": strategy, "seeds": [seed]})
    run(study, study.cases(), free_folder(study.out))


def _plan(name: str, model: str, **options: Any) -> None:
    """Plan a gradient step of the strategy `name`."""
    from paretoprune.compression.step_plan import plan_step
    from paretoprune.errors import UnsupportedError
    from paretoprune.report.step_plan import print_plan
    from paretoprune.search.gradient.base import GradientStrategy
    from paretoprune.search.hybrid import Hybrid
    from paretoprune.search.specs import StrategySpec

    strategy = StrategySpec.parse(name).build()
    if isinstance(strategy, Hybrid):
        strategy = strategy.gradient
    if not isinstance(strategy, GradientStrategy):
        raise UnsupportedError(
            "--plan plans strategies that take gradient steps, such as 'gradient' and 'adaptive', "
            f"not {name!r}"
        )
    console = new_console()
    with console.status("trying a step through a few layers"):
        plan = plan_step(model, strategy, **options)
    print_plan(console, plan)


def _check_unchanged(context: typer.Context, folder: Path, study: StudyFile) -> None:
    """Refuse options that were given and are not those that the comparison was started with.

    Where it runs may change: it finds the same anywhere.
    """
    from paretoprune.comparison.configuration import PLACES

    for name, value in context.params.items():
        if name in ("resume", *PLACES) or not _is_given(context, name):
            continue
        flag = f"--{name.replace('_', '-')}"
        if name == "out" or name not in type(study).model_fields:
            raise InvalidValueError(
                f"{flag} cannot be given with --resume: {folder} goes on as it was started"
            )
        known = getattr(study, name)
        if getattr(study.changed({name: value}), name) != known:
            started = ", ".join(map(str, known)) if isinstance(known, tuple) else known
            raise InvalidValueError(
                f"cannot resume {folder} with {flag} {value}: it was started "
                + (f"without {flag}" if known in (None, ()) else f"with {started}")
            )


def given_settings(context: typer.Context) -> dict[str, Any]:
    """Settings of a study file that were given as flags; paths as text."""
    from paretoprune.comparison.configuration import StudyFile

    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in context.params.items()
        if name in StudyFile.model_fields and _is_given(context, name)
    }


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
