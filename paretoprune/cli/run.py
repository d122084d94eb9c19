"""Runs a study: one comparison, or several with a folder each and one overview; prints both."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from paretoprune.cli.terminal import (
    interrupted_by_signals,
    new_console,
    without_library_bars,
)
from paretoprune.comparison.configuration import STUDY_NAME, StudyFile, write_study
from paretoprune.comparison.preparation import (
    completed,
    executor_of,
    loading_of,
    prepared,
    stored_loading,
)
from paretoprune.comparison.sweep import Case
from paretoprune.core.options import is_location
from paretoprune.errors import ParetopruneError

if TYPE_CHECKING:
    from rich.console import Console

    from paretoprune.comparison.compare import Comparison
    from paretoprune.comparison.log import StudyLog
    from paretoprune.comparison.reference import Reference
    from paretoprune.compression.workers import Placement
    from paretoprune.core.problem import Problem


def run(study: StudyFile, cases: Sequence[Case], folder: Path, *, resume: bool = False) -> None:
    """Run all cases of a study into `folder`, or go on with them.

    Mistakes show before the first one is paid for. With several cases, one that cannot be run is
    named and the others go on; the exit code is then 2, as it is where held-out data fail.
    """
    console = new_console()
    cases = prepared(cases)
    with interrupted_by_signals() as signals:
        if len(cases) == 1 and not cases[0].folder:
            try:
                interrupted, failure = run_case(console, cases[0].study, folder)
            except KeyboardInterrupt:  # between two searches, for instance
                if not (folder / STUDY_NAME).exists():
                    raise
                interrupted, failure = True, None
            failed = failure is not None
            if failed:
                typer.echo(f"paretoprune: {failure}", err=True)
        else:
            interrupted, failed = run_sweep(console, study, cases, folder, resume=resume)
    if interrupted:
        from rich.text import Text

        from paretoprune.report.table import show

        flags = " ".join([shlex.quote(str(folder)), *study.flags_to_confirm().values()])
        show(console, Text(f"Go on with: paretoprune compare --resume {flags}"))
        raise typer.Exit(signals.exit_code)
    if failed:
        raise typer.Exit(2)


def run_sweep(
    console: Console, study: StudyFile, cases: Sequence[Case], folder: Path, *, resume: bool
) -> tuple[bool, bool]:
    """Run several cases, each into its folder, and write their overview.

    Returns whether they were interrupted, and whether one of them failed.
    """
    from paretoprune.comparison.sweep import CaseRecord, Matrix, is_finished, write_matrix
    from paretoprune.report.overview import print_overview, write_overview

    records = [CaseRecord.of(case) for case in cases]
    write_matrix(folder, Matrix(cases=records))
    if not resume:
        write_study(folder / STUDY_NAME, study)
    interrupted = failed = False
    for number, case in enumerate(cases):
        own = folder / case.folder
        if resume and is_finished(own):
            continue
        console.rule(f"{number + 1} of {len(cases)}: {case.folder}", align="left")
        failure = None
        try:
            interrupted, failure = run_case(console, case.study, own)
        except KeyboardInterrupt:  # between two studies: while a model loads, for instance
            interrupted = True
        except ParetopruneError as error:
            failure = str(error)
            records[number] = CaseRecord.of(case, failure=failure)
        if failure is not None:
            failed = True
            typer.echo(f"paretoprune: {case.folder}: {failure}", err=True)
        if interrupted:
            break
    write_matrix(folder, Matrix(cases=records))
    write_overview(folder)
    print_overview(console, folder)
    return interrupted, failed


def run_case(console: Console, study: StudyFile, folder: Path) -> tuple[bool, str | None]:
    """Run one comparison into `folder` and print it; the settings are there before it starts.

    Studies that the folder already holds are not run again. Returns whether it was interrupted, in
    any phase, and the failure after the searches.
    """
    with executor_of(study) as executor:
        return _run_case(console, study, folder, executor)


def _run_case(
    console: Console, study: StudyFile, folder: Path, executor: Placement | None
) -> tuple[bool, str | None]:
    from paretoprune.comparison import compare
    from paretoprune.comparison.log import StudyLog
    from paretoprune.comparison.provenance import begin
    from paretoprune.comparison.results import write_results
    from paretoprune.comparison.trackers import Trackers
    from paretoprune.core.capabilities import notes_of
    from paretoprune.report.progress import SearchProgress
    from paretoprune.report.terminal import print_summary, print_written

    if not is_location(study.problem):  # a user's own may need no library of models at all
        without_library_bars()
    loading = loading_of(study)
    placed = {} if executor is None else {"executor": executor}
    problem = load_with_status(console, study.problem, loading | placed)
    study = completed(study, problem)
    specs = study.specs()
    compare.check(problem, specs, study.seed_list, study.budget)
    for note in notes_of(problem):
        console.print(note)
    trackers = Trackers.named(study.track)  # before anything is written: it may be missing
    begin(folder, problem, study)
    with StudyLog(folder, storage=study.storage) as log:
        reference = None
        if study.reference is not None:
            reference = evaluate_reference(console, problem, study.reference, log)
        named = {"problem": study.problem, "reference": study.reference}
        with SearchProgress(console) as progress, trackers:
            comparison = compare.compare(
                problem, specs, budget=study.budget, seeds=study.seed_list, log=log,
                observe=trackers.after(progress), reference=reference, resume=True,
                settings=named | stored_loading(loading),
            )  # fmt: skip
            trackers.finish(comparison.summary)
        write_results(folder, comparison.summary)
        print_summary(console, comparison.summary)  # before the gap, which may take long
        console.print()
        interrupted = _report(console, comparison, reference, folder)
    print_written(console, folder)
    return interrupted, comparison.summary.failure


def _report(
    console: Console, comparison: Comparison, reference: Reference | None, folder: Path
) -> bool:
    """Measure relaxation gaps, run example pictures and write the report.

    Ctrl-C ends the measuring; the report holds what was measured. Returns whether it was pressed,
    now or during the search.
    """
    from paretoprune.comparison.examples import examples_of
    from paretoprune.comparison.gap import gradients_of
    from paretoprune.comparison.gradients import write_gradients
    from paretoprune.compression.kept import write_examples
    from paretoprune.report import write_report
    from paretoprune.report.progress import phase

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
        console.print(
            "Interrupted: the ranking is complete, relaxation gaps or examples are missing."
        )
    try:
        with phase(console, "report") as observe:
            write_report(folder, comparison.summary, examples, gradients, observe=observe)
    except KeyboardInterrupt:
        interrupted = True
    return interrupted


def evaluate_reference(
    console: Console, problem: Problem, name: str, log: StudyLog | None = None
) -> Reference:
    """Evaluate an exhaustive grid with a progress bar, and print its size, cost and front."""
    from paretoprune.comparison.reference import reference_front
    from paretoprune.report.progress import phase

    recorder = None if log is None else log.study(f"reference {name}", problem, {}, resume=True)
    with phase(console, f"reference {name}") as observe:
        reference = reference_front(problem, name, recorder=recorder, observe=observe)
    stored = reference.stored()
    console.print(
        f"Reference {name}: {stored.evaluations} configurations in {stored.seconds:.0f} s, "
        f"{len(stored.costs)} on the front, hypervolume {stored.hypervolume:.3f}; cost "
        f"{stored.cost:.0f} dense passes, {stored.executed:.0f} of them computed after sharing."
    )
    return reference


def load_with_status(console: Console, name: str, options: dict[str, Any]) -> Problem:
    """A problem by name, with a spinner while model and data load."""
    from paretoprune.compression.named import load_named_problem

    with console.status(f"loading {options.get('model', name)} and its data"):
        return load_named_problem(name, **options)
