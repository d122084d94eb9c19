"""The drawing of `paretoprune show`: pruners from top to bottom, decoder layers from left to right.

matplotlib, as for the other figures: it brings a font, lays out text, and writes PNG, SVG and PDF.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch
from numpy.typing import NDArray

from paretoprune.compression.kept import Example, Pruned, State
from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.report import words
from paretoprune.report.files import write_whole
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

FORMATS = ("png", "svg", "pdf")
DPI = 120
MOST_COLUMNS = 8
"""Layers side by side; more go on in the next line."""
PANEL_INCHES, LABEL_INCHES, TITLE_INCHES = 1.9, 1.7, 0.45
HEADER_INCHES = 2.3

Layers: TypeAlias = Sequence[int] | Literal["all"] | None
"""Which layers are drawn: None for those before which tokens leave."""


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
    for one in example.pruned:
        spans = layers_to_draw(one, layers)
        starts = range(0, len(spans), MOST_COLUMNS)
        lines += [(one, spans[start : start + MOST_COLUMNS]) for start in starts]
    columns = max([3, *(len(spans) for _, spans in lines)])
    whole = panel(example, np.full(example.tokens, State.KEPT, np.int8))
    high = PANEL_INCHES * float(np.clip(whole.shape[0] / whole.shape[1], 0.4, 2.0))
    heights = [HEADER_INCHES] + [high + TITLE_INCHES] * len(lines)
    size = (LABEL_INCHES + columns * PANEL_INCHES, sum(heights) + 0.4)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        1 + len(lines), 1 + columns, height_ratios=heights,
        width_ratios=[LABEL_INCHES] + [PANEL_INCHES] * columns,
    )  # fmt: skip
    _draw_header(figure, grid, example, whole)
    states = {id(one): example.states(one) for one in example.pruned}
    before: Pruned | None = None
    for row, (one, spans) in enumerate(lines, start=1):
        told = "" if one is before else _row_label(one)
        before = one
        _write(figure.add_subplot(grid[row, 0]), told, size="medium")
        for column, span in enumerate(spans, start=1):
            _draw_layer(figure.add_subplot(grid[row, column]), example, one, span, states[id(one)])
    figure.legend(handles=_legend(example, states.values()), loc="outside lower center", ncols=3,
                  frameon=False)  # fmt: skip
    return figure


def write_kept_figure(example: Example, file: Path, layers: Layers = None) -> None:
    """Write the drawing in the format of the file's suffix, whole or not at all.

    Raises `InvalidValueError` for another suffix and `BrokenFileError` where writing fails.
    """
    kind = format_of(file)
    figure = kept_figure(example, layers)
    stream = io.BytesIO()
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # shown as an empty box
        figure.savefig(stream, format=kind, dpi=DPI, metadata=metadata[kind])
    write_whole(file, stream.getvalue())


def format_of(file: Path) -> str:
    """`png`, `svg` or `pdf` by suffix; raises `InvalidValueError` for others."""
    kind = file.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise InvalidValueError(
            f"the drawing {file} must end in .{', .'.join(FORMATS)}, not {file.suffix or 'nothing'}"
        )
    return kind


def check_file(file: Path) -> Path:
    """The file itself, if a drawing can be written there; told before anything is computed.

    Raises `InvalidValueError` for a suffix that is none of `FORMATS`, and `BrokenFileError` where
    the folder is missing or the file is a folder.
    """
    format_of(file)
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
    told = [
        textwrap.fill(words.plain(example.question, 300), 60),
        "",
        f"dense answer: {words.said(example.dense_answer, example.dense_right)}",
    ]
    if example.answer is not None:
        told.append(f"known answer: {words.plain(example.answer, 60)}")
    told += ["", f"{words.plain(example.model, 60)}, {example.tokens} visual tokens"]
    _write(figure.add_subplot(grid[0, 2:]), "\n".join(told), size="large")


def _row_label(one: Pruned) -> str:
    label = textwrap.fill(words.plain(one.label, 80), 18)
    answer = textwrap.fill(words.said(one.answer, one.right), 20)
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
    one: Pruned,
    span: tuple[int, int],
    states: NDArray[np.int8],
) -> None:
    step = int(np.searchsorted(one.changes, span[0], side="right")) - 1
    axes.imshow(panel(example, states[step]))
    axes.set_axis_off()
    count = len(one.steps[step].kept)
    axes.set_title(f"{words.span(span)}\n{words.kept(count, example.tokens)}", fontsize="small")


def _legend(example: Example, states: Iterable[NDArray[np.int8]]) -> list[Patch]:
    found = {state for one in states for state in np.unique(one).tolist()}

    def shade(colour: tuple[int, int, int]) -> tuple[float, float, float]:
        red, green, blue = colour
        return red / 255, green / 255, blue / 255

    made = [Patch(facecolor="white", edgecolor="black", label="kept: the picture as it is")]
    if State.GONE in found:
        made.append(Patch(facecolor=shade(GONE_COLOUR), label="dropped"))
    if State.MERGED in found:
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
