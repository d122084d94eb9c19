"""What is done with one schedule: `evaluate`, `fit`, `show`, `export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from paretoprune.cli.app import app
from paretoprune.cli.options import (
    Attn,
    Batch,
    Data,
    DataSeed,
    Device,
    Dtype,
    Model,
    PerPicture,
    PresetName,
    Remote,
    Task,
)
from paretoprune.cli.terminal import free_file, new_console, without_library_bars
from paretoprune.errors import InvalidValueError

if TYPE_CHECKING:
    from paretoprune.schedules.presets import Preset

File = TypeVar("File")
OptionalSchedule = Annotated[
    Path | None,
    typer.Argument(
        help="Schedule or policy file (JSON), as a search writes it; or name a --preset."
    ),
]


def _given(
    schedule: Path | None, preset: str | None, read: Callable[[Path], File]
) -> File | Preset:
    """What the file holds or the preset, whichever was named."""
    from paretoprune.schedules.presets import find_preset

    if schedule is not None and preset is None:
        return read(schedule)
    if preset is not None and schedule is None:
        return find_preset(preset)
    raise InvalidValueError("name either a schedule file or a --preset")


@app.command()
def evaluate(
    schedule: OptionalSchedule = None,
    preset: PresetName = None,
    model: Model = "mini-llava",
    task: Task = None,
    data: Data = None,
    pruner: Annotated[
        str | None, typer.Option(help="Pruner to use instead of the file's or preset's own.")
    ] = None,
    per_picture: PerPicture = False,
    compute: Annotated[
        float | None,
        typer.Option(help="Relative compute, 0..1, that a policy is to aim at instead of its own."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split to score on: search or heldout.")] = "heldout",
    size: Annotated[
        int | None,
        typer.Option(
            min=2, help="Samples of the split. [default: 512, or what the data have of it]"
        ),
    ] = None,
    data_seed: DataSeed = 0,
    batch: Batch = 64,
    dtype: Dtype = "float32",
    device: Device = "cpu",
    attn: Attn = "auto",
    trust_remote_code: Remote = False,
) -> None:
    """Score a keep schedule or policy on one model: quality per question family, compute, cache."""
    from paretoprune.pruning.policies.files import check_budget, read_policy
    from paretoprune.schedules.presets import Preset

    check_budget(compute)
    given = _given(schedule, preset, read_policy)
    if isinstance(given, Preset) and compute is not None:
        raise InvalidValueError("--compute is a policy's; a --preset has its own")
    if split not in ("search", "heldout"):
        raise InvalidValueError(f"--split must be search or heldout, got {split!r}")

    without_library_bars()
    from paretoprune.compression.score import score_schedule
    from paretoprune.pruning.operators import pruner_of
    from paretoprune.report.schedule import print_scored

    about = given if isinstance(given, Preset) else given.about
    scored_as = given if isinstance(given, Preset) else given.policy
    if compute is not None and not isinstance(scored_as, Preset):
        scored_as = scored_as.at(compute)
    scored = score_schedule(
        scored_as, pruner=pruner_of(about) if pruner is None else pruner, model=model, task=task,
        data=data, split=split, size=size, data_seed=data_seed, batch=batch, dtype=dtype,
        device=device, attn=attn, trust_remote_code=trust_remote_code,
        per_picture=per_picture or (not isinstance(about, Preset) and about.per_picture),
    )  # fmt: skip
    print_scored(new_console(), scored)


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
    from paretoprune.report.schedule import print_fits
    from paretoprune.schedules.kernels import fitting_kernels

    found = fitting_kernels(content.schedule.layers, levels, first)
    if kernel in found.left_out:
        raise UnsupportedError(found.left_out[kernel])
    chosen = [k for name, k in found.kernels.items() if kernel in (None, name)]
    left_out = found.left_out if kernel is None else {}
    print_fits(new_console(), content.schedule, [k.fit(content.schedule) for k in chosen], left_out)


@app.command()
def show(
    drawn: Annotated[
        str | None,
        typer.Argument(metavar="[SCHEDULE]", help="Schedule file (JSON); the same as --schedule."),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Schedule file; or one ratio per layer, such as 1,1,0.5,0.5 or 2x1,30x0.25; or "
            "keep=R,layer=K: everything before layer K, the share R from there on. "
            "[default: keep=0.25,layer=2, or none with --preset]"
        ),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="Published configuration to draw, such as fastv:k=2,r=0.5, or all of a method, "
            "such as fastv; repeat for several."
        ),
    ] = None,
    pruner: Annotated[
        list[str] | None,
        typer.Option(
            help="Pruner to draw; repeat for several. [default: the schedule file's, else fastv]"
        ),
    ] = None,
    per_picture: PerPicture = False,
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
    data: Data = None,
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
    from paretoprune.report.kept_figure import (
        check_file,
        parse_layers,
        print_kept,
        write_kept_figure,
    )

    if drawn is not None and schedule is not None:
        raise InvalidValueError(f"name one schedule: {drawn} or --schedule {schedule}")
    chosen = parse_layers(layers)
    file = check_file(out or free_file(Path("kept.png")))
    without_library_bars()
    from paretoprune.compression.show import show_schedule

    example = show_schedule(
        drawn if schedule is None else schedule, presets=preset or (), ranking=pruner or (),
        images=image or (), question=question, sample=sample, model=model, task=task, data=data,
        data_seed=data_seed, new_tokens=new_tokens, dtype=dtype, device=device, attn=attn,
        trust_remote_code=trust_remote_code, per_picture=per_picture or None,
    )  # fmt: skip
    write_kept_figure(example, file, chosen)
    print_kept(new_console(), example, file)


@app.command()
def export(
    schedule: OptionalSchedule = None,
    *,
    to: Annotated[
        str,
        typer.Option(
            help="checkpoint (paretoprune.json in a checkpoint directory) or lightcompress (YAML)."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Checkpoint directory, or YAML file that does not exist yet.")
    ],
    preset: PresetName = None,
) -> None:
    """Put a schedule where it is used: beside a checkpoint, or in another tool's format."""
    from paretoprune.errors import UnknownNameError
    from paretoprune.schedules.files import read_schedule

    content = _given(schedule, preset, read_schedule)
    if to == "checkpoint":
        without_library_bars()
        from paretoprune.deploy.views import save_beside

        typer.echo(f"written to {save_beside(out, content)}")
    elif to == "lightcompress":
        from paretoprune.deploy.lightcompress import write_lightcompress
        from paretoprune.schedules.presets import Preset

        published = content.content(content.layers) if isinstance(content, Preset) else content
        write_lightcompress(out, published)
        typer.echo(f"written to {out}")
    else:
        raise UnknownNameError("export format", to, ("checkpoint", "lightcompress"))
