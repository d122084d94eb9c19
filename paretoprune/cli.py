"""The command line: parses and prints, decides nothing. Heavy imports wait until a command runs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paretoprune import __version__
from paretoprune.errors import InvalidValueError, ParetopruneError

if TYPE_CHECKING:
    from rich.console import Console

    from paretoprune.problem import Problem
    from paretoprune.reference import Reference

app = typer.Typer(
    help="Find the best quality-cost trade-offs of compressed vision-language models, and say "
    "which search found them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
zoo_app = typer.Typer(help="The embedded mini-models.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(zoo_app, name="zoo")

DEFAULT_OUT = Path("paretoprune-results")
DEFAULT_BUDGET = 15.0

Model = Annotated[
    str,
    typer.Option(help="Embedded mini-model, checkpoint directory, or hub name owner/model."),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="Data that candidates are scored on. [default: what an embedded mini-model was "
        "trained on, else minivqa]"
    ),
]
Pruner = Annotated[
    str,
    typer.Option(
        help="Operator that decides which visual tokens go, as name or name:knob=value,...; "
        "several with commas, or all, of which the search chooses."
    ),
]
SearchKnobs = Annotated[
    bool | None,
    typer.Option(
        "--pruner-knobs/--no-pruner-knobs",
        help="Search the pruners' own knobs too. [default: with several pruners]",
    ),
]
SearchSize = Annotated[
    int, typer.Option(min=8, help="Samples of the search split, 8 or more.", show_default=True)
]
HeldoutSize = Annotated[int, typer.Option(min=8, help="Samples of the held-out split, 8 or more.")]
DataSeed = Annotated[int, typer.Option(min=0, help="Seed that the splits are drawn with.")]
Levels = Annotated[
    int | None,
    typer.Option(min=1, help="Steps of the keep-ratio lattice; by default multiples of 8 tokens."),
]
Batch = Annotated[int, typer.Option(min=1, help="Samples per decoder batch, 1 or more.")]
Dtype = Annotated[str, typer.Option(help="Weights and activations: float32, bfloat16, float16.")]
Device = Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")]
Attn = Annotated[
    str,
    typer.Option(
        help="Attention backend: auto (what transformers prefers for the model), sdpa, eager, "
        "flash_attention_2."
    ),
]
Remote = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run Python code that comes with the checkpoint. Off by default.",
    ),
]
Objectives = Annotated[
    str,
    typer.Option(
        help="score and one or more costs: flops, latency_ms, kv_bytes, peak_memory_bytes, "
        "visual_tokens."
    ),
]
ReferenceName = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help="Exhaustive front that IGD+, epsilon and Hausdorff refer to: grid:fine, grid:medium "
        "or grid:coarse. [default: the union front]",
    ),
]
Budget = Annotated[
    float,
    typer.Option(
        help="Search cost per study in dense-pass equivalents (one: the dense decoder over the "
        "search split); more than 0."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Results folder, new or empty. [default: paretoprune-results, numbered]"),
]
ProblemName = Annotated[
    str, typer.Option("--problem", help="Problem to search: token-pruning, zdt1 or dtlz2.")
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"paretoprune {__version__}")
        raise typer.Exit


@app.command()
def compare(
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            "-s",
            help="Strategy to compare, as name or name:option=value,...; repeat for several. "
            "[default: random, grid:space=single-step, tpe, nsga2, pymoo-nsga2, gradient]",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per strategy: 0 to N-1.")] = 2,
    budget: Budget = DEFAULT_BUDGET,
    model: Model = "mini-llava",
    task: Task = None,
    pruner: Pruner = "fastv",
    search_knobs: SearchKnobs = None,
    search_size: SearchSize = 160,
    heldout_size: HeldoutSize = 256,
    data_seed: DataSeed = 0,
    levels: Levels = None,
    objectives: Objectives = "score,flops",
    reference: ReferenceName = None,
    batch: Batch = 64,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attn: Attn = "auto",
    trust_remote_code: Remote = False,
    problem: ProblemName = "token-pruning",
    out: Out = None,
) -> None:
    """Search with several strategies at equal cost and rank them on held-out data."""
    from paretoprune.problems.costs import parse_objectives
    from paretoprune.specs import default_strategies

    costs = parse_objectives(objectives)[1:]
    names = list(
        strategy or default_strategies(costs, gradient=_is_relaxable(pruner, search_knobs))
    )
    _compare(names, list(range(seeds)), budget, out, problem, locals())


@app.command()
def search(
    strategy: Annotated[str, typer.Argument(help="Strategy, as name or name:option=value,...")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    budget: Budget = DEFAULT_BUDGET,
    model: Model = "mini-llava",
    task: Task = None,
    pruner: Pruner = "fastv",
    search_knobs: SearchKnobs = None,
    search_size: SearchSize = 160,
    heldout_size: HeldoutSize = 256,
    data_seed: DataSeed = 0,
    levels: Levels = None,
    objectives: Objectives = "score,flops",
    reference: ReferenceName = None,
    batch: Batch = 64,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attn: Attn = "auto",
    trust_remote_code: Remote = False,
    problem: ProblemName = "token-pruning",
    out: Out = None,
) -> None:
    """Search with one strategy and one seed."""
    _compare([strategy], [seed], budget, out, problem, locals())


def _is_relaxable(pruner: str, search_knobs: bool | None) -> bool:
    """Whether gradient strategies can search it: a single pruner that is top-k of a score."""
    if pruner == "fastv":
        return True  # the default is known without loading torch
    from paretoprune.pruning.operators import Operators

    only = Operators.of(pruner, search_knobs=search_knobs).only
    return only is not None and only.relaxable


LOADING = (
    "model", "task", "pruner", "search_knobs", "search_size", "heldout_size", "data_seed", "levels",
    "objectives", "batch", "dtype", "device", "attn", "trust_remote_code",
)  # fmt: skip


def _compare(
    names: list[str],
    seeds: list[int],
    budget: float,
    out: Path | None,
    problem_name: str,
    options: dict[str, Any],
) -> None:
    from paretoprune.registry import problems
    from paretoprune.specs import StrategySpec

    if not budget > 0:
        raise InvalidValueError(f"--budget must be more than 0 dense passes, got {budget:g}")
    specs = [StrategySpec.parse(name) for name in names]  # mistakes show before torch loads
    problems.entry(problem_name)
    wanted = options["reference"]
    if wanted is not None:
        from paretoprune.reference import parse_reference

        parse_reference(wanted)
    loading = {key: options[key] for key in LOADING} if problem_name == "token-pruning" else {}
    shown = {"decoder_batch" if key == "batch" else key: v for key, v in loading.items()}
    folder = _free_folder(out)

    from paretoprune.comparison import check
    from paretoprune.comparison import compare as run
    from paretoprune.examples import examples_of
    from paretoprune.kept import write_examples
    from paretoprune.log import StudyLog
    from paretoprune.report import write_report
    from paretoprune.report.terminal import SearchProgress, print_summary
    from paretoprune.results import write_results

    console = _console()
    _without_library_bars()
    task = _load(console, problem_name, loading)
    check(task, specs, seeds, budget)
    for note in task.notes():
        console.print(note)
    found = None if wanted is None else _reference(console, task, wanted)
    with StudyLog(folder) as log, SearchProgress(console) as progress:
        comparison = run(
            task, specs, budget=budget, seeds=seeds, log=log, observe=progress,
            settings={"problem": problem_name, "reference": wanted, **shown}, reference=found,
        )  # fmt: skip
    write_results(folder, comparison.summary)
    examples = None if comparison.summary.interrupted else examples_of(comparison)
    if examples is not None:
        write_examples(folder, examples)
    write_report(folder, comparison.summary, examples)
    print_summary(console, comparison.summary, folder)
    if comparison.summary.interrupted:
        raise typer.Exit(130)


def _reference(console: Console, task: Problem, name: str) -> Reference:
    from rich.progress import Progress

    from paretoprune.reference import reference_front

    with Progress(console=console, transient=True) as bar:
        line = bar.add_task(f"reference {name}", total=None)
        found = reference_front(
            task, name, observe=lambda done, total: bar.update(line, completed=done, total=total)
        )
    stored = found.stored()
    console.print(
        f"Reference {name}: {stored.evaluations} configurations in {stored.seconds:.0f} s, "
        f"{len(stored.costs)} on the front, hypervolume {stored.hypervolume:.3f}; worth "
        f"{stored.cost:.0f} dense passes, of which {stored.executed:.0f} were run."
    )
    return found


def _load(console: Console, name: str, options: dict[str, Any]) -> Problem:
    from paretoprune.problems.load import load_named_problem

    with console.status(f"loading {options.get('model', name)} and its data"):
        return load_named_problem(name, **options)


def _free_folder(out: Path | None) -> Path:
    """The folder to write to; results that are already there are never overwritten."""
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidValueError(f"--out {out} exists and is not an empty folder; name another")
        folder = out
    else:
        folder = DEFAULT_OUT
        number = 1
        while folder.exists():
            number += 1
            folder = DEFAULT_OUT.with_name(f"{DEFAULT_OUT.name}-{number}")
    return folder


@app.command()
def evaluate(
    schedule: Annotated[Path, typer.Argument(help="Schedule file (JSON), as a search writes it.")],
    model: Model = "mini-llava",
    task: Task = None,
    pruner: Annotated[
        str | None, typer.Option(help="Pruner to use instead of the one in the file.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to score on: search or heldout.")] = "heldout",
    size: Annotated[int, typer.Option(min=8, help="Samples of the split, 8 or more.")] = 512,
    data_seed: DataSeed = 0,
    batch: Batch = 64,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attn: Attn = "auto",
    trust_remote_code: Remote = False,
) -> None:
    """Score one keep schedule on one model: quality per question family, compute, KV cache."""
    from paretoprune.schedules.files import read_schedule

    content = read_schedule(schedule)
    if split not in ("search", "heldout"):
        raise InvalidValueError(f"--split must be search or heldout, got {split!r}")

    _without_library_bars()
    from paretoprune.deploy import pruner_of
    from paretoprune.problems.score import score_schedule
    from paretoprune.report.terminal import print_scored

    scored = score_schedule(
        content.schedule, pruner=pruner or pruner_of(content), model=model, task=task, split=split,
        size=size, data_seed=data_seed, batch=batch, dtype=dtype, device=device, attn=attn,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    print_scored(_console(), scored)


@app.command()
def fit(
    schedule: Annotated[Path, typer.Argument(help="Schedule file (JSON), as a search writes it.")],
    kernel: Annotated[
        str | None, typer.Option(help="Kernel to fit; every one that has room by default.")
    ] = None,
    levels: Annotated[
        int, typer.Option(min=1, max=1000, help="Steps of the keep-ratio lattice.")
    ] = 72,
) -> None:
    """Read the pattern of a schedule: the closest parameters of each kernel, and how close."""
    from paretoprune.errors import UnsupportedError
    from paretoprune.registry import kernels, pruners
    from paretoprune.schedules.files import read_schedule

    content = read_schedule(schedule)
    if kernel is not None:
        kernels.entry(kernel)
    first = pruners.load(content.pruner).first_layer
    from paretoprune.report.fits import print_fits
    from paretoprune.schedules.kernels import fitting_kernels

    found = fitting_kernels(content.schedule.layers, levels, first)
    if kernel in found.left_out:
        raise UnsupportedError(found.left_out[kernel])
    chosen = [k for name, k in found.kernels.items() if kernel in (None, name)]
    left_out = found.left_out if kernel is None else {}
    print_fits(_console(), content.schedule, [k.fit(content.schedule) for k in chosen], left_out)


@app.command()
def show(
    schedule: Annotated[
        str,
        typer.Option(
            help="Schedule file; or one ratio per layer, such as 1,1,0.5,0.5 or 2x1,30x0.25; or "
            "keep=R,layer=K: everything before layer K, the share R from there on."
        ),
    ] = "keep=0.25,layer=2",
    pruner: Annotated[
        list[str] | None,
        typer.Option(
            help="Pruner to draw; repeat for several. [default: the schedule file's, else fastv]"
        ),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="Picture file to ask about; repeat for several in one question."),
    ] = None,
    question: Annotated[
        str | None, typer.Option(help="Question. [default: the sample's; needed with --image]")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, max=9999, help="Number of the held-out sample, without --image.")
    ] = 0,
    layers: Annotated[
        str,
        typer.Option(help="Layers to draw: changes (where tokens leave), all, or such as 0,4,7."),
    ] = "changes",
    model: Model = "mini-llava",
    task: Task = None,
    data_seed: DataSeed = 0,
    new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 32,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attn: Attn = "auto",
    trust_remote_code: Remote = False,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .png, .svg or .pdf. [default: kept.png, numbered]"),
    ] = None,
) -> None:
    """Draw which visual tokens a schedule keeps of a picture, per layer and pruner."""
    from paretoprune.report.kept_figure import check_file, parse_layers, write_kept_figure

    drawn = parse_layers(layers)
    file = check_file(out or _free_file(Path("kept.png")))
    _without_library_bars()
    from paretoprune.problems.show import show_schedule
    from paretoprune.report.kept_table import print_kept

    example = show_schedule(
        schedule, ranking=pruner or (), images=image or (), question=question, sample=sample,
        model=model, task=task, data_seed=data_seed, new_tokens=new_tokens, dtype=dtype,
        device=device, attn=attn, trust_remote_code=trust_remote_code,
    )  # fmt: skip
    write_kept_figure(example, file, drawn)
    print_kept(_console(), example, file)


def _free_file(file: Path) -> Path:
    """The file itself, or the first numbered one that does not exist."""
    found, number = file, 1
    while found.exists():
        number += 1
        found = file.with_name(f"{file.stem}-{number}{file.suffix}")
    return found


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
    _without_library_bars()
    from paretoprune.problems.model_check import check_model as run
    from paretoprune.report.model_check import print_model_check

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the check itself prints the note
        found = run(
            model, pruner=pruner, dtype=dtype, device=device, attn=attn,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
    print_model_check(_console(), found)
    if found.verification.problem is not None:
        raise typer.Exit(2)


@app.command()
def export(
    schedule: Annotated[Path, typer.Argument(help="Schedule file (JSON), as a search writes it.")],
    to: Annotated[
        str,
        typer.Option(
            help="checkpoint (paretoprune.json in a checkpoint directory) or lightcompress (YAML)."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Checkpoint directory, or YAML file that does not exist yet.")
    ],
) -> None:
    """Put a schedule where it is used: beside a checkpoint, or in another tool's format."""
    from paretoprune.errors import UnknownNameError
    from paretoprune.schedules.files import read_schedule

    content = read_schedule(schedule)
    if to == "checkpoint":
        _without_library_bars()
        from paretoprune.deploy import save_beside

        typer.echo(f"written to {save_beside(out, content)}")
    elif to == "lightcompress":
        from paretoprune.schedules.lightcompress import write_lightcompress

        write_lightcompress(out, content)
        typer.echo(f"written to {out}")
    else:
        raise UnknownNameError("export format", to, ("checkpoint", "lightcompress"))


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Results folder of compare or search.")],
) -> None:
    """Write report.html, front.png and ranking.md again from a results folder, and print it."""
    from paretoprune.kept import read_examples
    from paretoprune.report import write_report
    from paretoprune.report.terminal import print_summary
    from paretoprune.results import read_summary

    summary = read_summary(results)
    write_report(results, summary, read_examples(results))
    print_summary(_console(), summary, results)


@app.command("list")
def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(help="strategy, pruner, kernel, adapter, task or problem; all by default."),
    ] = None,
) -> None:
    """List strategies, pruners, kernels, adapters, tasks and problems, one line each."""
    from paretoprune.registry import ALL, find_registry

    chosen = ALL if kind is None else (find_registry(kind),)
    for registry in chosen:
        typer.echo(f"{registry.kind}:")
        entries = list(registry)
        width = max((len(e.name) for e in entries), default=0)
        for entry in entries:
            origin = "" if entry.origin == "built in" else f" (from {entry.origin})"
            typer.echo(f"  {entry.name:{width}}  {entry.summary}{origin}")


@app.command()
def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="Benchmark: evaluation, prefill, latency, memory, log, kernels, operators."
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
    out: Annotated[Path | None, typer.Option(help="JSON file to write the figures to.")] = None,
) -> None:
    """Run one of the project's benchmarks and print its figures."""
    from paretoprune.bench import find

    benchmark = find(name)
    _without_library_bars()
    benchmark(
        _console(), model=model, search_size=search_size, heldout_size=heldout_size,
        repeats=repeats, device=device, out=out,
    )  # fmt: skip


@zoo_app.command("list")
def zoo_list() -> None:
    """List the embedded mini-models with their held-out accuracy."""
    from paretoprune.zoo.catalogue import describe

    for line in describe():
        typer.echo(line)


@zoo_app.command("train")
def zoo_train(
    name: Annotated[str, typer.Argument(help="Mini-model to train.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Checkpoint directory. [default: the package's own weights]"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps. [default: the mini-model's own]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and batches.")] = 0,
    heldout_size: Annotated[
        int, typer.Option(min=8, help="Held-out samples for the final accuracies.")
    ] = 4096,
) -> None:
    """Train a mini-model on MiniVQA; run again after an interruption to go on."""
    from paretoprune.zoo.command import train_and_report

    _without_library_bars()
    train_and_report(_console(), name, out=out, steps=steps, seed=seed, heldout_size=heldout_size)


def _without_library_bars() -> None:
    """Keep libraries from writing into our output: the process is the command's own."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    logging.disable_progress_bar()
    hub.set_verbosity_error()  # it prints each of its retries
    warnings.formatwarning = lambda message, *_, **__: f"paretoprune: note: {message}\n"


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def main() -> None:
    """Entry point: user errors become one sentence on standard error and exit code 2."""
    try:
        app()
    except ParetopruneError as error:
        typer.echo(f"paretoprune: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
