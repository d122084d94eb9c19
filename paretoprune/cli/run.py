"""Runs a study file: one comparison, or several with a folder each and one overview."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from paretoprune.cli.terminal import (
    interrupted_by_signals,
    new_console,
    without_library_bars,
)
from paretoprune.comparison.configuration import (
    COMPRESSION,
    STUDY_NAME,
    Case,
    StudyFile,
    write_study,
)
from paretoprune.errors import InvalidValueError, ParetopruneError

if TYPE_CHECKING:
    from rich.console import Console

    from paretoprune.comparison.compare import Comparison
    from paretoprune.comparison.log import StudyLog
    from paretoprune.comparison.reference import Reference
    from paretoprune.compression.workers import Placement
    from paretoprune.core.problem import Problem

AS_THEY_ARE = (
    "search_size", "heldout_size", "data_seed", "levels", "objectives", "batch", "dtype", "device",
    "attn", "trust_remote_code",
)  # fmt: skip
DEFAULT_OBJECTIVES = "score,flops"
LOADING = ("model", "task", "data", "pruner", "search_knobs", "per_picture", *AS_THEY_ARE)
"""What `load_problem` is given."""


def run(study: StudyFile, cases: Sequence[Case], folder: Path, *, resume: bool = False) -> None:
    """Run all cases of a study into `folder`, or go on with them.

    Mistakes show before the first one is paid for. With several cases, one that cannot be run is
    named and the others go on; the exit code is then 2, as it is where held-out data fail.
    """
    console = new_console()
    cases = [Case(case.folder, with_strategies(case.study)) for case in cases]
    for case in cases:
        check_names(case.study)
    with interrupted_by_signals() as signals:
        if len(cases) == 1 and not cases[0].folder:
            try:
                stopped, failure = run_case(console, cases[0].study, folder, resume=resume)
            except KeyboardInterrupt:  # between two searches, for instance
                if not (folder / STUDY_NAME).exists():
                    raise
                stopped, failure = True, None
            failed = failure is not None
            if failed:
                typer.echo(f"paretoprune: {failure}", err=True)
        else:
            stopped, failed = run_matrix(console, study, cases, folder, resume=resume)
    if stopped:
        from rich.text import Text

        from paretoprune.report.console import show

        flags = " ".join([shlex.quote(str(folder)), *study.flags_to_confirm().values()])
        show(console, Text(f"Go on with: paretoprune compare --resume {flags}"))
        raise typer.Exit(signals.exit_code)
    if failed:
        raise typer.Exit(2)


def run_matrix(
    console: Console, study: StudyFile, cases: Sequence[Case], folder: Path, *, resume: bool
) -> tuple[bool, bool]:
    """Run several cases, each into its folder, and write their overview.

    Returns whether they were interrupted, and whether one of them could not be run or judged.
    """
    from paretoprune.comparison.sweep import CaseRecord, Matrix, is_finished, write_matrix
    from paretoprune.report.overview import print_overview, write_overview

    check_parts(cases)
    records = [CaseRecord.of(case) for case in cases]
    write_matrix(folder, Matrix(cases=records))
    if not resume:
        write_study(folder / STUDY_NAME, study)
    interrupted = unjudged = False
    for number, case in enumerate(cases):
        own = folder / case.folder
        if resume and is_finished(own):
            continue
        console.rule(f"{number + 1} of {len(cases)}: {case.folder}", align="left")
        try:
            interrupted, failure = run_case(console, case.study, own, resume=resume)
            if failure is not None:
                unjudged = True
                typer.echo(f"paretoprune: {case.folder}: {failure}", err=True)
        except KeyboardInterrupt:  # between two studies: while a model loads, for instance
            interrupted = True
        except ParetopruneError as error:
            typer.echo(f"paretoprune: {case.folder}: {error}", err=True)
            records[number] = CaseRecord.of(case, failure=str(error))
        if interrupted:
            break
    write_matrix(folder, Matrix(cases=records))
    write_overview(folder)
    print_overview(console, folder)
    return interrupted, unjudged or any(record.failure for record in records)


def run_case(
    console: Console, study: StudyFile, folder: Path, *, resume: bool = False
) -> tuple[bool, str | None]:
    """Run one comparison into `folder` and print it; the settings are there before it starts.

    Returns whether it was interrupted, in whichever phase, and what failed after the searches.
    """
    with executor_of(study) as executor:
        return _run_case(console, study, folder, executor)


def _run_case(
    console: Console, study: StudyFile, folder: Path, executor: Placement | None
) -> tuple[bool, str | None]:
    from paretoprune.comparison.compare import check
    from paretoprune.comparison.compare import compare as search
    from paretoprune.comparison.log import StudyLog
    from paretoprune.comparison.provenance import begin
    from paretoprune.comparison.results import write_results
    from paretoprune.comparison.trackers import Trackers
    from paretoprune.compression.named import is_location
    from paretoprune.core.capabilities import notes_of
    from paretoprune.report.terminal import SearchProgress, print_summary, print_written
    from paretoprune.search.specs import StrategySpec, fitting_strategies
    from paretoprune.zoo.catalogue import default_task

    if not is_location(study.problem):  # a user's own may need no library of models at all
        without_library_bars()
    loading = loading_of(study)
    placed = {} if executor is None else {"executor": executor}
    problem = load_with_status(console, study.problem, loading | placed)
    if not study.strategy:
        study = study.changed({"strategy": list(fitting_strategies(problem))})
    if study.tokens_alone and not study.task:
        study = study.changed({"task": default_task(study.model[0])})
    specs = [StrategySpec.parse(text) for text in study.strategy]
    check(problem, specs, study.seed_list, study.budget)
    for note in notes_of(problem):
        console.print(note)
    trackers = Trackers.named(study.track)  # before anything is written: it may be missing
    begin(folder, problem, study)
    shown = {"decoder_batch" if key == "batch" else key: v for key, v in loading.items()}
    wanted = study.reference
    with StudyLog(folder, storage=study.storage) as log:
        found = None if wanted is None else evaluate_reference(console, problem, wanted, log)
        with SearchProgress(console) as progress, trackers:
            comparison = search(
                problem, specs, budget=study.budget, seeds=study.seed_list, log=log,
                observe=trackers.beside(progress), reference=found, resume=True,
                settings={"problem": study.problem, "reference": wanted, **shown},
            )  # fmt: skip
            trackers.finish(comparison.summary)
        write_results(folder, comparison.summary)
        print_summary(console, comparison.summary)  # before what may take as long as the search
        console.print()
        interrupted = _report(console, comparison, found, folder)
    print_written(console, folder)
    return interrupted, comparison.summary.failure


def with_strategies(study: StudyFile) -> StudyFile:
    """The study with its strategies written out, unless the problem has to be loaded for that."""
    if study.strategy or not study.tokens_alone:
        return study
    from paretoprune.compression.objectives import parse_objectives
    from paretoprune.search.specs import default_strategies

    costs = parse_objectives(study.objectives)[1:]
    named = default_strategies(costs, gradient=_is_relaxable(study))
    return study.changed({"strategy": list(named)})


def check_names(study: StudyFile) -> None:
    """Raise what names an unknown strategy, problem, task, objective or reference."""
    from paretoprune.comparison.reference import parse_reference
    from paretoprune.compression.named import is_location
    from paretoprune.compression.objectives import parse_objectives
    from paretoprune.registry import problems, tasks, techniques

    study.specs()
    check_places(study)
    if not is_location(study.problem):
        problems.entry(study.problem)
    for name in study.compress.split(","):
        techniques.entry(name.strip())
    if study.tokens_alone:  # others have data and objectives of their own
        for task in study.task:
            tasks.entry(task.partition(":")[0])
        parse_objectives(study.objectives)
    presets_of(study)
    if study.reference is not None:
        parse_reference(study.reference)


def check_places(study: StudyFile) -> None:
    """Raise what is wrong with the storage's address or with the executor's options."""
    if study.storage is not None:
        from paretoprune.comparison.log.place import parse_storage

        parse_storage(study.storage)
    if study.executor == "in-process":
        for name in ("workers", "cluster"):
            if getattr(study, name) is not None:
                raise InvalidValueError(f"--{name} goes with --executor ray, not with in-process")
    elif not study.tokens_alone:
        raise InvalidValueError(
            f"--executor ray evaluates --compress tokens; {_what(study)} runs in-process"
        )


def executor_of(study: StudyFile) -> AbstractContextManager[Placement | None]:
    """Where the study's evaluations run; None for this process."""
    if study.executor == "in-process":
        return nullcontext()
    from paretoprune.compression.workers import RayPlacement

    return RayPlacement(study.workers, study.cluster)


def check_parts(cases: Sequence[Case]) -> None:
    """Raise what names a model or pruner that does not exist, before the first case is run."""
    from paretoprune.pruning.operators import Operators
    from paretoprune.zoo.load import find_checkpoint

    for case in cases:
        find_checkpoint(case.study.model[0])
        Operators.of(case.study.pruner[0], search_knobs=case.study.pruner_knobs)


def loading_of(study: StudyFile) -> dict[str, Any]:
    """What `load_named_problem` is given for a study of one model, task and pruner."""
    from paretoprune.compression.named import options_for

    beside = presets_of(study)
    given = {
        "model": study.model[0],
        "task": study.task[0] if study.task else None,
        "data": study.data[0] if study.data else None,
        "pruner": study.pruner[0],
        "search_knobs": study.pruner_knobs,
        **{key: getattr(study, key) for key in AS_THEY_ARE},
        **({"per_picture": True} if study.per_picture else {}),
        **({"presets": beside} if beside else {}),
    }
    if not study.tokens_alone:
        given["compress"] = study.compress
        if study.objectives == DEFAULT_OBJECTIVES:  # of tokens; others have their own
            del given["objectives"]
    return options_for(study.problem, given)


def _what(study: StudyFile) -> str:
    if study.problem != COMPRESSION:
        return f"--problem {study.problem}"
    return f"--compress {study.compress}"


def presets_of(study: StudyFile) -> list[str]:
    """Names of the presets to set beside the front; raises what names an unknown one."""
    from paretoprune.schedules.presets import find_presets

    wanted = list(study.preset) or (["all"] if study.with_presets else [])
    if wanted and not study.tokens_alone:
        raise InvalidValueError(
            f"presets are of --compress tokens; there are none for {_what(study)}"
        )
    return [preset.name for preset in find_presets(wanted)] if wanted else []


def _is_relaxable(study: StudyFile) -> bool:
    """Whether gradient strategies can search it: a single pruner that is top-k of a score."""
    if study.pruner == ("fastv",):
        return True  # the default is known without loading torch
    from paretoprune.pruning.operators import Operators

    only = Operators.of(study.pruner[0], search_knobs=study.pruner_knobs).only
    return only is not None and only.relaxable


def _report(
    console: Console, comparison: Comparison, reference: Reference | None, folder: Path
) -> bool:
    """Measure relaxation gaps, run example pictures and write the report.

    Ctrl-C ends the measuring; the report has what there is by then. Returns whether it was pressed,
    now or while searching.
    """
    from paretoprune.comparison.examples import examples_of
    from paretoprune.comparison.gap import gradients_of
    from paretoprune.comparison.gradients import write_gradients
    from paretoprune.compression.kept import write_examples
    from paretoprune.report import write_report
    from paretoprune.report.terminal import phase

    gradients = examples = None
    interrupted = comparison.summary.interrupted
    try:
        if not interrupted and any(study.trace is not None for study in comparison.studies):
            with phase(console, "relaxation gap") as observe:
                gradients = gradients_of(
                    comparison.problem, comparison.studies, reference=reference, observe=observe
                )
        if gradients is not None:
            write_gradients(folder, gradients)
            interrupted = gradients.interrupted
        if not interrupted:
            with phase(console, "examples") as observe:
                examples = examples_of(comparison, observe=observe)
        if examples is not None:
            write_examples(folder, examples)
    except KeyboardInterrupt:
        interrupted = True
    if interrupted and not comparison.summary.interrupted:
        console.print("Interrupted: the ranking is complete, the report lacks what was to follow.")
    try:
        with phase(console, "report") as observe:
            write_report(folder, comparison.summary, examples, gradients, observe=observe)
    except KeyboardInterrupt:
        interrupted = True
    return interrupted


def evaluate_reference(
    console: Console, task: Problem, name: str, log: StudyLog | None = None
) -> Reference:
    """Evaluate an exhaustive grid with a progress bar, and say what it was worth."""
    from paretoprune.comparison.reference import reference_front
    from paretoprune.report.terminal import phase

    recorder = None if log is None else log.study(f"reference {name}", task, {}, resume=True)
    with phase(console, f"reference {name}") as observe:
        found = reference_front(task, name, recorder=recorder, observe=observe)
    stored = found.stored()
    console.print(
        f"Reference {name}: {stored.evaluations} configurations in {stored.seconds:.0f} s, "
        f"{len(stored.costs)} on the front, hypervolume {stored.hypervolume:.3f}; worth "
        f"{stored.cost:.0f} dense passes, of which {stored.executed:.0f} were run."
    )
    return found


def load_with_status(console: Console, name: str, options: dict[str, Any]) -> Problem:
    """A problem by name, with a spinner while model and data load."""
    from paretoprune.compression.named import load_named_problem

    with console.status(f"loading {options.get('model', name)} and its data"):
        return load_named_problem(name, **options)
