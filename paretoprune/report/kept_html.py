"""The HTML report's section of example pictures: what the best schedules keep, layer by layer.

Every picture is stored once and drawn over with SVG shapes. Without a script all layers stand in a
row; the page's script shows one at a time and adds a slider.
"""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paretoprune.compression.kept import EXAMPLES_NAME, SIGNATURES, Example, Examples, Pruned, State
from paretoprune.errors import BrokenFileError
from paretoprune.report import words
from paretoprune.report.blocks import section
from paretoprune.report.overlay import line_ends

MOST_CHARACTERS = 900_000
"""Of the section: examples that do not fit any more are left out."""
CLASSES = {State.GONE: "gone", State.MERGED: "merged"}
KINDS = {"picture": "", "whole": "whole picture, ", "tiles": "tiles, ", "frame": "frame, "}
PIXELATED = 200
"""Pictures of at most so many pixels a side are enlarged without smoothing."""


def kept_section(examples: Examples | None) -> str:
    """Heading, explanation, legend and one article per example; empty without examples."""
    if examples is None or not examples.examples:
        return ""
    articles: list[str] = []
    room = MOST_CHARACTERS
    left_out = 0
    for number, example in enumerate(examples.examples):
        name = f"kept-{number}"
        article = _article(example, name)
        if len(article) > room / 2:
            article = _article(example, name, outlined=False)
        if len(article) > room:
            left_out += 1
            continue
        articles.append(article)
        room -= len(article)
    who = html.escape(f"{words.plain(examples.label)}, seed {examples.seed}")
    told = (
        f"Visual tokens that are left in each decoder layer, with configurations of the best front "
        f"({who}) that the search split picks at given budgets; points are numbered as in the "
        "table above. The pictures are the first held-out samples of their question families: "
        "nothing was chosen by its answer."
    )
    if left_out:
        told += f" {left_out} more would make this page too large; they are in {EXAMPLES_NAME}."
    body = f"<p>{told}</p>\n{_legend(examples)}\n"
    body += f'<div class="grid">\n{chr(10).join(articles)}\n</div>'
    return section("What the best schedules keep", body, "examples")


def _legend(examples: Examples) -> str:
    keys = [("clear", "kept"), ("gone", "dropped")]
    if any(s.merged for e in examples.examples for p in e.pruned for s in p.steps):
        keys.append(("merged", "merged into a kept token"))
    if any(len(line_ends(e, view)) for e in examples.examples for view in range(len(e.views))):
        keys.append(("ends", "bar at the right: tokens at line ends"))
    told = "".join(f'<li><span class="key {name}"></span> {text}</li>' for name, text in keys)
    return f'<ul class="legend">{told}</ul>'


def _article(example: Example, name: str, *, outlined: bool = True) -> str:
    """One question with a slider and a strip per schedule; lines around kept tokens cost space."""
    layers = max((len(one.keep) for one in example.pruned), default=1)
    sizes = [_size(content) for content in example.pictures]
    images = "".join(
        f'<image id="{name}-p{number}" width="{wide}" height="{high}" href="{_data(content)}"'
        + (' class="pixels"' if max(wide, high) <= PIXELATED else "")
        + "/>"
        + _hatch(f"{name}-h{number}", max(wide, high))
        for number, (content, (wide, high)) in enumerate(zip(example.pictures, sizes, strict=True))
    )
    family = "" if example.family is None else f"{words.plain(example.family, 40)}: "
    answers = [f"dense answer {words.said(example.dense_answer, example.dense_right)}"]
    if example.answer is not None:
        answers.insert(0, f"known answer {words.plain(example.answer, 60)}")
    start = _first_loss(example)
    slider = (
        f'<p class="slider" hidden><label for="{name}-layer">Decoder layer</label> '
        f'<input type="range" id="{name}-layer" min="0" max="{layers - 1}" value="{start}" '
        f'step="1"> <output for="{name}-layer">{start}</output></p>'
    )
    strips = "\n".join(_strip(example, one, name, sizes, outlined) for one in example.pruned)
    return (
        f'<article class="example">\n<h3>{html.escape(family + words.plain(example.question, 300))}'
        f"</h3>\n<p>{html.escape('; '.join(answers))}</p>\n"
        f'<svg class="defs" aria-hidden="true"><defs>{images}</defs></svg>\n{slider}\n'
        f'<div class="strips">\n{strips}\n</div>\n</article>'
    )


def _hatch(name: str, side: int) -> str:
    """Diagonal lines for merged tokens, as wide as suits a picture of so many pixels."""
    return (
        f'<pattern id="{name}" width="4" height="4" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45) scale({side / 100:g})"><rect width="4" height="4" '
        'fill="#56b4e9"/><rect width="1.2" height="4" fill="#005a96"/></pattern>'
    )


def _first_loss(example: Example) -> int:
    """The first layer at which every schedule has dropped something, else the last one."""
    found = [one.changes[1] if len(one.changes) > 1 else one.changes[0] for one in example.pruned]
    return max(found, default=0)


def _strip(
    example: Example, one: Pruned, name: str, sizes: list[tuple[int, int]], outlined: bool
) -> str:
    states = example.states(one)
    frames = []
    for step, span, state in zip(one.steps, one.spans(), states, strict=True):
        told = f"{words.span(span)}: {words.kept(len(step.kept), example.tokens)}"
        drawn = "".join(
            _view(
                example,
                view,
                state,
                name,
                sizes,
                f"{KINDS[seen.kind]}{told} visual tokens kept",
                outlined,
            )
            for view, seen in enumerate(example.views)
        )
        first, last = span
        frames.append(
            f'<li data-first="{first}" data-last="{last}"><div class="views">{drawn}</div>'
            f"<p>{told}</p></li>"
        )
    title, pruner = html.escape(words.plain(one.label, 60)), html.escape(words.plain(one.pruner))
    answer = html.escape(words.said(one.answer, one.right))
    return (
        f'<div class="kept"><h4>{title}</h4>\n<p>{pruner}<br>answer {answer}</p>\n'
        f"<ol>\n{chr(10).join(frames)}\n</ol></div>"
    )


def _view(
    example: Example,
    view: int,
    state: NDArray[np.int8],
    name: str,
    sizes: list[tuple[int, int]],
    told: str,
    outlined: bool,
) -> str:
    picture = example.views[view].picture
    wide, high = sizes[picture]
    tokens = example.of_view(view)
    boxes = example.places[tokens] * np.array([high, wide, high, wide])
    drawn = [f'<use href="#{name}-p{picture}"/>']
    if not _covers(example.places[tokens]):
        outside = f"M0 0H{wide}V{high}H0Z{_path(boxes)}"
        drawn.append(f'<path class="unseen" fill-rule="evenodd" d="{outside}"/>')
    for kind, css in CLASSES.items():
        path = _path(boxes[state[tokens] == kind])
        if path:
            fill = f' fill="url(#{name}-h{picture})"' if kind == State.MERGED else ""
            drawn.append(f'<path class="{css}"{fill} d="{path}"/>')
    if outlined and (state[tokens] != State.KEPT).any():
        drawn.append(f'<path class="outline" d="{_outline(boxes[state[tokens] == State.KEPT])}"/>')
    ends = line_ends(example, view)
    full = float(wide)
    if len(ends):
        full = round(wide * 1.06, 1)
        drawn += [_bar(example, ends[state[ends] == kind], kind, wide, high) for kind in State]
    return (
        f'<svg viewBox="0 0 {full:g} {high}" role="img" aria-label="{html.escape(told)}">'
        f"{''.join(drawn)}</svg>"
    )


def _bar(example: Example, tokens: NDArray[np.int64], kind: State, wide: int, high: int) -> str:
    """Marks of line ends in one state, right of the picture."""
    boxes = example.places[tokens] * np.array([high, wide, high, wide])
    boxes[:, 1], boxes[:, 3] = 1.03 * wide, 1.06 * wide
    css = {**CLASSES, State.KEPT: "end"}[kind]
    return f'<path class="{css} bar" d="{_path(boxes)}"/>' if len(tokens) else ""


def _covers(boxes: NDArray[np.float64]) -> bool:
    """Whether boxes [n, 4] that do not overlap fill the picture."""
    return float((boxes[:, 2:] - boxes[:, :2]).prod(1).sum()) > 0.999


def _path(boxes: NDArray[np.float64]) -> str:
    """Boxes [n, 4] as one path; neighbours in a row are one rectangle."""
    runs: list[list[float]] = []
    for top, left, bottom, right in boxes.round(1).tolist():
        if right <= left or bottom <= top:
            continue
        if runs and runs[-1][0] == top and runs[-1][2] == bottom and runs[-1][3] == left:
            runs[-1][3] = right
        else:
            runs.append([top, left, bottom, right])
    return "".join(
        f"M{x:g} {y:g}h{right - x:.5g}v{down - y:.5g}h{x - right:.5g}z"
        for y, x, down, right in runs
    )


def _outline(boxes: NDArray[np.float64]) -> str:
    """The border of what boxes [n, 4] cover: sides that no two of them share."""
    sides: Counter[tuple[float, float, float, float]] = Counter()
    for top, left, bottom, right in boxes.round(1).tolist():
        if right > left and bottom > top:
            sides.update(
                [(left, top, right, top), (left, bottom, right, bottom), (left, top, left, bottom),
                 (right, top, right, bottom)]
            )  # fmt: skip
    return "".join(
        f"M{x:g} {y:g}" + (f"H{across:g}" if y == down else f"V{down:g}")
        for (x, y, across, down), times in sides.items()
        if times == 1
    )


def _size(content: bytes) -> tuple[int, int]:
    """Width and height of a stored picture; raises `BrokenFileError` if it is none."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG"]) as found:
            return found.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenFileError(f"a picture of the examples cannot be read: {error}") from error


def _data(content: bytes) -> str:
    kind = next(kind for start, kind in SIGNATURES.items() if content.startswith(start))
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def has_slider(sections: Iterable[str]) -> bool:
    """Whether any section needs the page's script for a slider."""
    return any('class="slider"' in section for section in sections)
