"""Searching: `compare` and `search`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paretoprune.cli.app import app
from paretoprune.cli.options import (
    DEFAULT_BUDGET,
    Attn,
    Batch,
    Budget,
    Data,
    DataSeed,
    Device,
    Dtype,
    HeldoutSize,
    Levels,
    Model,
    Objectives,
    Out,
    PresetNames,
    ProblemName,
    Pruner,
    ReferenceName,
    Remote,
    Resume,
    SearchKnobs,
    SearchSize,
    Task,
    Track,
    WithPresets,
)
from paretoprune.cli.terminal import (
    free_folder,
    interrupted_by_signals,
    new_console,
    resumed_folder,
    without_library_bars,
)
from paretoprune.errors import InvalidValueError
from paretoprune.runs import Run, read_run, write_run

if TYPE_CHECKING:
    from rich.console import Console

    from paretoprune.comparison import Comparison
    from paretoprune.gradients import Gradients
    from paretoprune.log import StudyLog
    from paretoprune.problem import Problem
    from paretoprune.reference import Reference


@app.command()
def compare(
    context: typer.Context,
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
    model: Model = "mini-llava",
    task: Task = None,
    data: Data = None,
    pruner: Pruner = "fastv",
    search_knobs: SearchKnobs = None,
    search_size: SearchSize = 128,
    heldout_size: HeldoutSize = 256,
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
    problem: ProblemName = "token-pruning",
    track: Track = None,
    out: Out = None,
    resume: Resume = None,
) -> None:
    """Search with several strategies at equal cost and rank them on held-out data."""
    if resume is not None:
        run = read_run(resume)
        _check_unchanged(context, resume, run)
        options = locals() | run.options
        _compare(run.strategies, run.seeds, run.budget, resume, run.problem, options, resume=True)
        return
    names = list(strategy or [])
    if not names and problem == "token-pruning":  # mistakes show before the model loads
        from paretoprune.problems.costs import parse_objectives
        from paretoprune.specs import default_strategies

        costs = parse_objectives(objectives)[1:]
        names += default_strategies(costs, gradient=_is_relaxable(pruner, search_knobs))
    _compare(names, list(range(seeds)), budget, out, problem, locals())


@app.command()
def search(
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
    search_knobs: SearchKnobs = None,
    search_size: SearchSize = 128,
    heldout_size: HeldoutSize = 256,
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
    problem: ProblemName = "token-pruning",
    track: Track = None,
    out: Out = None,
) -> None:
    """Search with one strategy and one seed."""
    if plan:
        _plan(strategy, model, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        return
    _compare([strategy], [seed], budget, out, problem, locals())


def _plan(name: str, model: str, **options: Any) -> None:
    """Plan a gradient step of the strategy `name`."""
    from paretoprune.errors import UnsupportedError
    from paretoprune.problems.step_plan import plan_step
    from paretoprune.report.step_plan import print_plan
    from paretoprune.search.lagrangian import LagrangianSearch
    from paretoprune.specs import StrategySpec

    strategy = StrategySpec.parse(name).build()
    if not isinstance(strategy, LagrangianSearch):
        raise UnsupportedError(f"--plan plans the strategy 'gradient', not {name!r}")
    print_plan(new_console(), plan_step(model, strategy.options, **options))


def _is_relaxable(pruner: str, search_knobs: bool | None) -> bool:
    """Whether gradient strategies can search it: a single pruner that is top-k of a score."""
    if pruner == "fastv":
        return True  # the default is known without loading torch
    from paretoprune.pruning.operators import Operators

    only = Operators.of(pruner, search_knobs=search_knobs).only
    return only is not None and only.relaxable


LOADING = (
    "model", "task", "data", "pruner", "search_knobs", "search_size", "heldout_size", "data_seed",
    "levels", "objectives", "batch", "dtype", "device", "attn", "trust_remote_code",
)  # fmt: skip


def _compare(
    names: list[str],
    seeds: list[int],
    budget: float,
    out: Path | None,
    problem_name: str,
    options: dict[str, Any],
    *,
    resume: bool = False,
) -> None:
    from paretoprune.problems.locate import is_location
    from paretoprune.problems.named import options_for
    from paretoprune.registry import problems
    from paretoprune.specs import StrategySpec, fitting_strategies
    from paretoprune.track import Trackers

    if not budget > 0:
        raise InvalidValueError(f"--budget must be more than 0 dense passes, got {budget:g}")
    specs = [StrategySpec.parse(name) for name in names]  # mistakes show before torch loads
    own = is_location(problem_name)
    if not own:
        problems.entry(problem_name)
    beside = _presets(options["preset"], options["with_presets"], problem_name)
    wanted = options["reference"]
    if wanted is not None:
        from paretoprune.reference import parse_reference

        parse_reference(wanted)
    loading = options_for(problem_name, {key: options[key] for key in LOADING})
    if beside:
        loading["presets"] = beside
    shown = {"decoder_batch" if key == "batch" else key: v for key, v in loading.items()}
    trackers = Trackers.named(options["track"] or [])
    folder = resumed_folder(out) if resume and out is not None else free_folder(out)

    from rich.text import Text

    from paretoprune.comparison import check
    from paretoprune.comparison import compare as run
    from paretoprune.examples import examples_of
    from paretoprune.gradients import write_gradients
    from paretoprune.kept import write_examples
    from paretoprune.log import StudyLog
    from paretoprune.report import write_report
    from paretoprune.report.console import show
    from paretoprune.report.terminal import SearchProgress, print_summary
    from paretoprune.results import write_results

    console = new_console()
    if not own:  # a user's own problem may need no library of models at all
        without_library_bars()
    task = load_with_status(console, problem_name, loading)
    specs = specs or [StrategySpec.parse(name) for name in fitting_strategies(task)]
    check(task, specs, seeds, budget)
    for note in task.notes():
        console.print(note)
    if not resume:
        kept = {key: loading[key] for key in LOADING if key in loading}
        labels = [spec.label for spec in specs]
        write_run(
            folder,
            Run(
                strategies=labels, seeds=seeds, budget=budget, problem=problem_name,
                options={
                    "reference": wanted, **kept,
                    "with_presets": options["with_presets"], "preset": beside or None,
                    "track": options["track"],
                },
            ),
        )  # fmt: skip
    with interrupted_by_signals() as signals, StudyLog(folder) as log:
        found = None if wanted is None else evaluate_reference(console, task, wanted, log)
        with SearchProgress(console) as progress, trackers:
            comparison = run(
                task, specs, budget=budget, seeds=seeds, log=log,
                observe=trackers.beside(progress),
                settings={"problem": problem_name, "reference": wanted, **shown},
                reference=found, resume=True,
            )  # fmt: skip
            trackers.finish(comparison.summary)
        write_results(folder, comparison.summary)
        gradients = (
            None if comparison.summary.interrupted else _gradients(console, comparison, found)
        )
        if gradients is not None:
            write_gradients(folder, gradients)
        examples = None if comparison.summary.interrupted else examples_of(comparison)
        if examples is not None:
            write_examples(folder, examples)
        write_report(folder, comparison.summary, examples, gradients)
    print_summary(console, comparison.summary, folder)
    if comparison.summary.interrupted:
        show(console, Text(f"Go on with: paretoprune compare --resume {shlex.quote(str(folder))}"))
        raise typer.Exit(signals.exit_code)


def _check_unchanged(context: typer.Context, folder: Path, run: Run) -> None:
    """Refuse options that were given and are not those that the comparison was started with."""
    known = run.options | {
        "strategy": run.strategies, "seeds": len(run.seeds), "budget": run.budget,
        "problem": run.problem,
    }  # fmt: skip
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if name == "resume" or source is None or source.name != "COMMANDLINE":
            continue
        now = list(value) if name == "strategy" else str(value) if name == "task" else value
        if name not in known:
            raise InvalidValueError(
                f"--{name.replace('_', '-')} cannot be given with --resume: {folder} goes on as it "
                "was started"
            )
        if known[name] != now:
            raise InvalidValueError(
                f"cannot resume {folder} with --{name.replace('_', '-')} {value}: it was started "
                f"with {known[name]}"
            )


def _presets(named: list[str] | None, every: bool, problem: str) -> list[str]:
    """Names of the presets to set beside the front; mistakes show before torch loads."""
    from paretoprune.presets import find_presets

    wanted = named or (["all"] if every else [])
    if wanted and problem != "token-pruning":
        raise InvalidValueError(
            f"presets are token prunings; there are none for --problem {problem}"
        )
    return [preset.name for preset in find_presets(wanted)] if wanted else []


def _gradients(
    console: Console, comparison: Comparison, reference: Reference | None
) -> Gradients | None:
    """Curves and relaxation gaps of the gradient searches; Ctrl-C leaves them out."""
    from rich.progress import Progress

    from paretoprune.gap import gradients_of

    try:
        with Progress(console=console, transient=True) as bar:
            line = bar.add_task("relaxation gap", total=None)
            return gradients_of(
                comparison.problem, comparison.studies, reference=reference,
                observe=lambda done, total: bar.update(line, completed=done, total=total),
            )  # fmt: skip
    except KeyboardInterrupt:
        return None


def evaluate_reference(
    console: Console, task: Problem, name: str, log: StudyLog | None = None
) -> Reference:
    """Evaluate an exhaustive grid with a progress bar, and say what it was worth."""
    from rich.progress import Progress

    from paretoprune.reference import reference_front

    recorder = None if log is None else log.study(f"reference {name}", task, {}, resume=True)
    with Progress(console=console, transient=True) as bar:
        line = bar.add_task(f"reference {name}", total=None)
        found = reference_front(
            task, name, recorder=recorder,
            observe=lambda done, total: bar.update(line, completed=done, total=total),
        )  # fmt: skip
    stored = found.stored()
    console.print(
        f"Reference {name}: {stored.evaluations} configurations in {stored.seconds:.0f} s, "
        f"{len(stored.costs)} on the front, hypervolume {stored.hypervolume:.3f}; worth "
        f"{stored.cost:.0f} dense passes, of which {stored.executed:.0f} were run."
    )
    return found


def load_with_status(console: Console, name: str, options: dict[str, Any]) -> Problem:
    """A problem by name, with a spinner while model and data load."""
    from paretoprune.problems.named import load_named_problem

    with console.status(f"loading {options.get('model', name)} and its data"):
        return load_named_problem(name, **options)
