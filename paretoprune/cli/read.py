"""Reading results: `report`, `rank`, `show`, `fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paretoprune.cli.app import READ, app
from paretoprune.cli.options import Results, given_settings, option, with_settings
from paretoprune.cli.terminal import free_file, new_console, without_library_bars
from paretoprune.comparison.configuration import MODEL, RISKY

if TYPE_CHECKING:
    from paretoprune.comparison.gradients import Gradients
    from paretoprune.comparison.results import Summary


@app.command(rich_help_panel=READ)
@with_settings(*RISKY, single=True, default="as in the results")
def report(
    context: typer.Context,
    results: Results,
    gap: Annotated[
        bool,
        option(
            "--gap",
            help="Print the relaxation gap of gradient searches too: what they predicted and what "
            "was measured.",
        ),
    ] = False,
    reference: Annotated[
        str | None,
        option(
            help="With --gap: evaluate an exhaustive grid, grid:fine, grid:medium or grid:coarse, "
            "and measure the distance to it.",
            default="the grid that the results have, if any",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        option(help="Folder to draw the figures for a paper in, one panel per file."),
    ] = None,
    formats: Annotated[
        str, option("--format", help="Of --figures: pdf, svg, png, several with commas.")
    ] = "pdf",
    columns: Annotated[
        str, option(help="Width of --figures in columns of a paper: single or double.")
    ] = "single",
    **_: Any,
) -> None:
    """Print results, and write report.html and the figures again.

    Of several comparisons, all of them and the overview. --reference loads the
    problem; if that runs code of your own, repeat the option that names it.
    """
    from paretoprune.comparison.gradients import read_gradients
    from paretoprune.comparison.sweep import read_matrix, read_summaries
    from paretoprune.compression.kept import read_examples
    from paretoprune.report import GAP_NAME, write_report
    from paretoprune.report.figures import write_figures
    from paretoprune.report.gradients import print_gap
    from paretoprune.report.terminal import print_summary, print_written

    kinds = [kind.strip() for kind in formats.split(",")]
    gap = gap or reference is not None
    console = new_console()
    for name, summary in read_summaries(results).items():
        folder = results / name
        drawn = []
        if figures is not None:
            drawn = write_figures(summary, figures / name, formats=kinds, columns=columns)
        gradients = _gaps(context, folder, summary, reference) if gap else read_gradients(folder)
        write_report(folder, summary, read_examples(folder), gradients)
        print_summary(console, summary)
        if gap and gradients is not None:
            print_gap(console, gradients, f"In {folder}: {GAP_NAME}, gradients.json")
        print_written(console, folder)
        for file in drawn:
            typer.echo(f"written to {file}")
    if read_matrix(results) is not None:
        from paretoprune.report.overview import print_overview, write_overview

        write_overview(results)
        print_overview(console, results)


def _gaps(
    context: typer.Context, folder: Path, summary: Summary, reference: str | None
) -> Gradients:
    """The relaxation gaps of a results folder, against a reference where one is named."""
    from paretoprune.comparison.gradients import read_gaps, write_gradients
    from paretoprune.comparison.reference import parse_reference

    gradients = read_gaps(folder)
    if reference is None:
        return gradients
    from paretoprune.cli.run import evaluate_reference, load_with_status
    from paretoprune.comparison.gap import against
    from paretoprune.comparison.preparation import loading_again

    parse_reference(reference)
    options = loading_again(summary, given_settings(context))
    without_library_bars()
    console = new_console()
    problem = load_with_status(console, *options)
    gradients = against(gradients, evaluate_reference(console, problem, reference).stored())
    write_gradients(folder, gradients)
    return gradients


@app.command(rich_help_panel=READ)
def rank(
    results: Annotated[
        list[Path], typer.Argument(help="Results folders, one per problem; two or more.")
    ],
    out: Annotated[
        Path | None,
        option(help="File for the critical-difference diagram: .pdf, .svg or .png."),
    ] = None,
) -> None:
    """Rank strategies over several comparisons.

    It says which ranks are not significantly different.
    """
    from paretoprune.comparison.results import read_summary
    from paretoprune.report.overview import print_ranks, rank_problems

    ranking = rank_problems([(folder, read_summary(folder)) for folder in results])
    print_ranks(new_console(), ranking)
    if out is not None:
        from paretoprune.report.figures import write_rank_diagram

        write_rank_diagram(ranking.ranks, out)
        typer.echo(f"written to {out}")


@app.command(rich_help_panel=READ)
@with_settings(
    "per_picture", "model", "task", "data", "data_seed", "dtype", "device", "attn",
    "trust_remote_code", single=True,
)  # fmt: skip
def show(
    schedule: Annotated[
        str | None,
        typer.Argument(
            help="Schedule file; or one ratio per layer, such as 1,1,0.5,0.5 or 2x1,30x0.25; or "
            "keep=R,layer=K: all tokens before layer K, the ratio R from there on.",
            show_default="keep=0.25,layer=2, or none with --preset",
        ),
    ] = None,
    preset: Annotated[
        list[str] | None,
        option(
            help="Published configuration to draw, such as fastv:k=2,r=0.5, or all of a method, "
            "such as fastv. Repeat for several."
        ),
    ] = None,
    pruner: Annotated[
        list[str] | None,
        option(help="Pruner to draw. Repeat for several.", default="the file's, else fastv"),
    ] = None,
    layers: Annotated[
        str,
        option(help="Layers to draw: changes (where tokens leave), all, or such as 0,4,7."),
    ] = "changes",
    out: Annotated[
        Path | None,
        option(help="File to write: .png, .svg or .pdf.", default="kept.png, numbered"),
    ] = None,
    image: Annotated[
        list[Path] | None,
        option(
            help="Picture file to ask about. Repeat for several in one question.",
            panel=MODEL,
        ),
    ] = None,
    question: Annotated[
        str | None,
        option(
            help="Question; needed with --image.",
            default="the sample's",
            panel=MODEL,
        ),
    ] = None,
    sample: Annotated[
        int,
        option(
            min=0,
            max=9999,
            help="Number of the held-out sample, without --image.",
            panel=MODEL,
        ),
    ] = 0,
    new_tokens: Annotated[int, option(min=1, help="Longest answer, in tokens.", panel=MODEL)] = 32,
    **settings: Any,
) -> None:
    """Draw the visual tokens that a schedule keeps of a picture.

    One row per pruner, one column per layer.
    """
    from paretoprune.report.kept_figure import (
        check_file,
        parse_layers,
        print_kept,
        write_kept_figure,
    )

    chosen = parse_layers(layers)
    file = check_file(out or free_file(Path("kept.png")))
    without_library_bars()
    from paretoprune.compression.show import show_schedule

    settings["per_picture"] = settings["per_picture"] or None
    example = show_schedule(
        schedule, presets=preset or (), ranking=pruner or (), images=image or (),
        question=question, sample=sample, new_tokens=new_tokens, **settings,
    )  # fmt: skip
    write_kept_figure(example, file, chosen)
    print_kept(new_console(), example, file)


@app.command(rich_help_panel=READ)
def fit(
    schedule: Annotated[Path, typer.Argument(help="Schedule file (JSON) as a search writes it.")],
    kernel: Annotated[
        str | None,
        option(help="Kernel to fit.", default="all that fit the number of layers"),
    ] = None,
    levels: Annotated[int, option(min=1, max=1000, help="Steps of the keep-ratio lattice.")] = 72,
) -> None:
    """Find the kernel parameters closest to a schedule."""
    from paretoprune.errors import UnsupportedError
    from paretoprune.registry import kernels, pruners
    from paretoprune.report.schedule import print_fits
    from paretoprune.schedules.files import read_schedule
    from paretoprune.schedules.kernels import fitting_kernels

    content = read_schedule(schedule)
    if kernel is not None:
        kernels.entry(kernel)
    first = pruners.load(content.pruner).first_layer
    fitting = fitting_kernels(content.schedule.layers, levels, first)
    if kernel in fitting.left_out:
        raise UnsupportedError(fitting.left_out[kernel])
    chosen = [k for name, k in fitting.kernels.items() if kernel in (None, name)]
    left_out = fitting.left_out if kernel is None else {}
    print_fits(new_console(), content.schedule, [k.fit(content.schedule) for k in chosen], left_out)
