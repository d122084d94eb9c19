"""Using the results of a search: `pick`, `evaluate`, `export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from paretoprune.cli.app import USE, app
from paretoprune.cli.options import Results, option, with_settings
from paretoprune.cli.terminal import free_file, new_console, without_library_bars
from paretoprune.comparison.configuration import HOW_MUCH
from paretoprune.errors import InvalidValueError

if TYPE_CHECKING:
    from paretoprune.schedules.presets import Preset

File = TypeVar("File")
OptionalSchedule = Annotated[
    Path | None,
    typer.Argument(help="Schedule or policy file (JSON) as a search writes it, unless --preset."),
]
PresetName = Annotated[
    str | None,
    option(
        "--preset",
        help="Published configuration instead of a file, such as fastv:k=2,r=0.5; see list preset.",
    ),
]


def _file_or_preset(
    schedule: Path | None, preset: str | None, read: Callable[[Path], File]
) -> File | Preset:
    """The content of the file, or the preset; raises unless exactly one is named."""
    from paretoprune.schedules.presets import find_preset

    if schedule is not None and preset is None:
        return read(schedule)
    if preset is not None and schedule is None:
        return find_preset(preset)
    raise InvalidValueError("name either a schedule file or a --preset")


@app.command(rich_help_panel=USE)
def pick(
    results: Results,
    max_compute: Annotated[
        float | None, option(help="Relative compute at most this, such as 0.4.")
    ] = None,
    min_score: Annotated[
        float | None, option(help="Relative score at least this, such as 0.9.")
    ] = None,
    most: Annotated[
        list[str] | None,
        option("--max", help="Any objective at most a value: NAME=VALUE. Repeat for several."),
    ] = None,
    least: Annotated[
        list[str] | None,
        option("--min", help="Any objective at least a value: NAME=VALUE. Repeat for several."),
    ] = None,
    knee: Annotated[
        bool,
        option("--knee", help="The knee of the front within the bounds; the rule without bounds."),
    ] = False,
    out: Annotated[
        Path | None,
        option(help="JSON file to write, new.", default="pick.json, numbered"),
    ] = None,
) -> None:
    """Pick the best configuration within bounds, or the knee.

    Bounds are on the search split. Expect the held-out score, which is printed
    with it.
    """
    from paretoprune.comparison.results import read_summary
    from paretoprune.comparison.selection import pick as choose
    from paretoprune.comparison.selection import write_pick
    from paretoprune.frontier import Bound
    from paretoprune.report.picked import print_pick, print_sensitivity

    bounds = [
        *([] if max_compute is None else [Bound.parse("max", f"compute={max_compute}")]),
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


@app.command(rich_help_panel=USE)
@with_settings(
    "per_picture", "model", "task", "data", "data_seed", "batch", "dtype", "device", "attn",
    "trust_remote_code", single=True,
)  # fmt: skip
def evaluate(
    schedule: OptionalSchedule = None,
    preset: PresetName = None,
    pruner: Annotated[
        str | None,
        option(
            help="Another pruner: name, name:knob=value,... or file.py:Class of your own.",
            default="the file's or preset's own",
        ),
    ] = None,
    compute: Annotated[
        float | None,
        option(help="Relative compute, 0 to 1, that a policy aims at.", default="its own"),
    ] = None,
    split: Annotated[str, option(help="Split: search or heldout.", panel=HOW_MUCH)] = "heldout",
    size: Annotated[
        int | None,
        option(
            min=2,
            help="Samples of the split.",
            default="512, or all that the data have",
            panel=HOW_MUCH,
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Score a schedule or policy: quality, compute and cache."""
    from paretoprune.pruning.policies.files import check_budget, read_policy
    from paretoprune.schedules.presets import Preset

    check_budget(compute)
    content = _file_or_preset(schedule, preset, read_policy)
    if isinstance(content, Preset) and compute is not None:
        raise InvalidValueError("--compute is a policy's; a --preset has its own")
    if split not in ("search", "heldout"):
        raise InvalidValueError(f"--split must be search or heldout, got {split!r}")

    without_library_bars()
    from paretoprune.compression.score import score_schedule
    from paretoprune.pruning.operators import pruner_of
    from paretoprune.report.schedule import print_scored

    about = content if isinstance(content, Preset) else content.about
    scored_as = content if isinstance(content, Preset) else content.policy
    if compute is not None and not isinstance(scored_as, Preset):
        scored_as = scored_as.at(compute)
    settings["per_picture"] |= not isinstance(about, Preset) and about.per_picture
    scored = score_schedule(
        scored_as, pruner=pruner_of(about) if pruner is None else pruner, split=split, size=size,
        **settings,
    )  # fmt: skip
    print_scored(new_console(), scored)


@app.command(rich_help_panel=USE)
def export(
    schedule: OptionalSchedule = None,
    preset: PresetName = None,
    *,
    to: Annotated[
        str,
        option(
            help="checkpoint (paretoprune.json in a checkpoint directory), lightcompress (YAML) or "
            "card (a section for a model card, Markdown)."
        ),
    ],
    out: Annotated[
        Path | None,
        option(
            help="Checkpoint directory, or file that does not exist yet. Without it a card is "
            "printed."
        ),
    ] = None,
) -> None:
    """Put a schedule in a checkpoint, a model card or another tool."""
    from paretoprune.errors import UnknownNameError
    from paretoprune.schedules.files import read_schedule
    from paretoprune.schedules.presets import Preset

    formats = ("checkpoint", "lightcompress", "card")
    if to not in formats:
        raise UnknownNameError("export format", to, formats)
    content = _file_or_preset(schedule, preset, read_schedule)
    if to == "checkpoint":
        without_library_bars()
        from paretoprune.deploy.views import save_with_checkpoint

        typer.echo(f"written to {save_with_checkpoint(_needed(out, to), content)}")
        return
    if isinstance(content, Preset):
        content = content.content(content.layers)
    if to == "lightcompress":
        from paretoprune.deploy.lightcompress import write_lightcompress

        write_lightcompress(_needed(out, to), content)
        typer.echo(f"written to {out}")
        return
    from paretoprune.report.schedule import card_markdown

    card = card_markdown(content, "schedule.json" if schedule is None else schedule.name)
    if out is None:
        typer.echo(card, nl=False)
        return
    from paretoprune.files import write_whole

    if out.exists():
        raise InvalidValueError(f"--out {out} exists; name another file")
    write_whole(out, card.encode("utf-8"))
    typer.echo(f"written to {out}")


def _needed(out: Path | None, to: str) -> Path:
    if out is None:
        raise InvalidValueError(f"--to {to} needs --out")
    return out
