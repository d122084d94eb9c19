"""The output of `paretoprune show`: a drawing of kept tokens per pruner and layer, and a table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch
from numpy.typing import NDArray
from rich.console import Console

from paretoprune.compression.kept import Example, Pruned, State
from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.report import display
from paretoprune.report.figures import FORMATS, new_figure, save_figure
from paretoprune.report.overlay import (
    GONE_COLOUR,
    HATCH_COLOUR,
    LINE_END,
    MERGED_COLOUR,
    Pixels,
    line_ends,
    panel,
    token_map,
)
from paretoprune.report.table import Column, Table, show

DPI = 120
MAX_COLUMNS = 8
"""Layers side by side; more go on in the next line."""
PANEL_INCHES, LABEL_INCHES, TITLE_INCHES = 1.9, 1.7, 0.45
HEADER_INCHES = 2.3

Layers: TypeAlias = Sequence[int] | Literal["all"] | None
"""Layers to draw: None for those before which tokens are dropped."""


def layers_to_draw(pruned: Pruned, layers: Layers) -> list[tuple[int, int]]:
    """Runs of layers that are drawn as one: where tokens leave (None), or each layer by itself.

    Raises `InvalidValueError` for a layer that the decoder does not have.
    """
    if layers is None:
        return pruned.spans()
    last = len(pruned.keep) - 1
    if layers == "all":
        layers = range(last + 1)
    for layer in layers:
        if not 0 <= layer <= last:
            raise InvalidValueError(f"the decoder has layers 0 to {last}, got layer {layer}")
    return [(layer, layer) for layer in sorted(set(layers))]


def kept_figure(example: Example, layers: Layers = None) -> Figure:
    """The picture and the answers on top, then a line of pictures per pruner."""
    lines: list[tuple[Pruned, list[tuple[int, int]]]] = []
    for pruned in example.pruned:
        spans = layers_to_draw(pruned, layers)
        starts = range(0, len(spans), MAX_COLUMNS)
        lines += [(pruned, spans[start : start + MAX_COLUMNS]) for start in starts]
    columns = max([3, *(len(spans) for _, spans in lines)])
    whole = panel(example, np.full(example.tokens, State.KEPT, np.int8))
    high = PANEL_INCHES * float(np.clip(whole.shape[0] / whole.shape[1], 0.4, 2.0))
    heights = [HEADER_INCHES] + [high + TITLE_INCHES] * len(lines)
    size = (LABEL_INCHES + columns * PANEL_INCHES, sum(heights) + 0.4)
    figure = new_figure(size)
    grid = figure.add_gridspec(
        1 + len(lines), 1 + columns, height_ratios=heights,
        width_ratios=[LABEL_INCHES] + [PANEL_INCHES] * columns,
    )  # fmt: skip
    _draw_header(figure, grid, example, whole)
    states = {id(pruned): example.states(pruned) for pruned in example.pruned}
    before: Pruned | None = None
    for row, (pruned, spans) in enumerate(lines, start=1):
        label = "" if pruned is before else _row_label(pruned)
        before = pruned
        _write(figure.add_subplot(grid[row, 0]), label, size="medium")
        for column, span in enumerate(spans, start=1):
            axes = figure.add_subplot(grid[row, column])
            _draw_layer(axes, example, pruned, span, states[id(pruned)])
    figure.legend(handles=_legend(example, states.values()), loc="outside lower center", ncols=3,
                  frameon=False)  # fmt: skip
    return figure


def write_kept_figure(example: Example, file: Path, layers: Layers = None) -> None:
    """Write the drawing in the format of the file's suffix, whole or not at all.

    Raises `InvalidValueError` for another suffix and `BrokenFileError` where writing fails.
    """
    kind = _format_of(file)
    save_figure(kept_figure(example, layers), file, DPI, kind)


def _format_of(file: Path) -> str:
    """`png`, `svg` or `pdf` by suffix; raises `InvalidValueError` for others."""
    kind = file.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise InvalidValueError(
            f"the drawing {file} must end in .{', .'.join(FORMATS)}, not {file.suffix or 'nothing'}"
        )
    return kind


def check_file(file: Path) -> Path:
    """The file itself, if a drawing can be written there; checked before anything is computed.

    Raises `InvalidValueError` for a suffix that is none of `FORMATS`, and `BrokenFileError` where
    the folder is missing or the file is a folder.
    """
    _format_of(file)
    if file.is_dir():
        raise BrokenFileError(f"cannot write {file}: it is a folder")
    if not file.parent.is_dir():
        raise BrokenFileError(f"cannot write {file}: there is no folder {file.parent}")
    return file


def parse_layers(text: str) -> Layers:
    """Layers as they are written: `changes` (None), `all`, or numbers such as `0,4,7`."""
    if text == "changes":
        return None
    if text == "all":
        return "all"
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidValueError(
            f"layers must be changes, all or numbers such as 0,4,7, got {text!r}"
        ) from None


def _draw_header(figure: Figure, grid: GridSpec, example: Example, whole: Pixels) -> None:
    left = figure.add_subplot(grid[0, 0:2])
    left.imshow(whole)
    left.set_axis_off()
    lines = [
        textwrap.fill(display.plain(example.question, 300), 60),
        "",
        f"dense answer: {display.answer(example.dense_answer, example.dense_right)}",
    ]
    if example.answer is not None:
        lines.append(f"known answer: {display.plain(example.answer, 60)}")
    lines += ["", f"{display.plain(example.model, 60)}, {example.tokens} visual tokens"]
    _write(figure.add_subplot(grid[0, 2:]), "\n".join(lines), size="large")


def _row_label(pruned: Pruned) -> str:
    label = textwrap.fill(display.plain(pruned.label, 80), 18)
    answer = textwrap.fill(display.answer(pruned.answer, pruned.right), 20)
    return f"{label}\n\nanswer:\n{answer}"


def _write(axes: Axes, text: str, size: str) -> None:
    axes.set_axis_off()
    axes.text(
        0.0, 0.97, text, transform=axes.transAxes, va="top", ha="left", fontsize=size,
        parse_math=False,
    )  # fmt: skip


def _draw_layer(
    axes: Axes,
    example: Example,
    pruned: Pruned,
    span: tuple[int, int],
    states: NDArray[np.int8],
) -> None:
    step = int(np.searchsorted(pruned.changes, span[0], side="right")) - 1
    axes.imshow(panel(example, states[step]))
    axes.set_axis_off()
    count = len(pruned.steps[step].kept)
    axes.set_title(
        f"{display.span(span)}\n{display.kept_of(count, example.tokens)}", fontsize="small"
    )


def _legend(example: Example, states: Iterable[NDArray[np.int8]]) -> list[Patch]:
    drawn = {state for rows in states for state in np.unique(rows).tolist()}

    def shade(colour: tuple[int, int, int]) -> tuple[float, float, float]:
        red, green, blue = colour
        return red / 255, green / 255, blue / 255

    made = [Patch(facecolor="white", edgecolor="black", label="kept: the picture as it is")]
    if State.GONE in drawn:
        made.append(Patch(facecolor=shade(GONE_COLOUR), label="dropped"))
    if State.MERGED in drawn:
        made.append(
            Patch(
                facecolor=shade(MERGED_COLOUR), edgecolor=shade(HATCH_COLOUR), hatch="////",
                label="merged into a kept token",
            )
        )  # fmt: skip
    views = range(len(example.views))
    if any(len(line_ends(example, view)) for view in views):
        made.append(Patch(facecolor=shade(LINE_END[State.KEPT]), label="bar: tokens at line ends"))
    if any((token_map(example, view, (64, 64)) < 0).any() for view in views):
        made.append(Patch(facecolor="white", edgecolor="#cccccc", label="faded: no token sees it"))
    return made


def print_kept(console: Console, example: Example, file: Path) -> None:
    """Print the question, the answers, visual tokens per layer, and the file that was written."""
    known = "" if example.answer is None else f"; known answer {display.plain(example.answer, 60)}"
    dense = display.answer(example.dense_answer, example.dense_right)
    merged = [sum(len(step.merged) for step in pruned.steps) for pruned in example.pruned]
    columns = [
        Column("pruner", [display.plain(pruned.label, 60) for pruned in example.pruned], "text"),
        Column("answer", [display.answer(p.answer, p.right) for p in example.pruned], "text"),
        Column(
            "visual tokens per layer", [display.runs(p.counts()) for p in example.pruned], "wide"
        ),
    ]
    if any(merged):
        columns.append(Column("merged", [str(count) for count in merged]))
    show(
        console,
        f"{display.plain(example.model, 60)}: {display.plain(example.question, 300)}",
        f"dense answer {dense}{known}; {example.tokens} visual tokens",
        Table("Kept tokens", columns).rich(titled=False),
        f"written to {file}",
    )
