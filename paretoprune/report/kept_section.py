"""The HTML report's section of example pictures: visual tokens that the best schedules keep.

Every picture is stored once and drawn over with SVG shapes. Without a script all layers stand in a
row; the page's script shows one at a time and adds a slider.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from paretoprune.compression.kept import EXAMPLES_NAME, SIGNATURES, Example, Examples, Pruned, State
from paretoprune.report import display
from paretoprune.report.overlay import line_ends, stored_picture
from paretoprune.report.page import Section, data_url, render

MAX_CHARACTERS = 900_000
"""Limit of the section: examples that do not fit any more are left out."""
CLASSES = {State.GONE: "gone", State.MERGED: "merged"}
KINDS = {"picture": "", "whole": "whole picture, ", "tiles": "tiles, ", "frame": "frame, "}
PIXELATED = 200
"""Pictures of at most so many pixels a side are enlarged without smoothing."""


@dataclass(frozen=True)
class Pictures:
    """A legend, CSS class to text, and articles, HTML already."""

    kind: ClassVar[str] = "pictures"
    legend: Mapping[str, str]
    articles: Sequence[str]


def kept_section(examples: Examples | None) -> Section | None:
    """Explanation, legend and one article per example; None without examples."""
    if examples is None or not examples.examples:
        return None
    articles: list[str] = []
    room = MAX_CHARACTERS
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
    text = (
        f"Visual tokens that are left in each decoder layer, with configurations of the best front "
        f"({display.plain(examples.label)}, seed {examples.seed}) that the search split picks at "
        "given budgets; points are numbered as in the table above. The pictures are the first "
        "held-out samples of their question families: nothing was chosen by its answer."
    )
    if left_out:
        text += f" {left_out} more would make this page too large; they are in {EXAMPLES_NAME}."
    pictures = Pictures(_legend(examples), articles)
    return Section("What the best schedules keep", [text, pictures], "examples")


def _legend(examples: Examples) -> dict[str, str]:
    keys = {"clear": "kept", "gone": "dropped"}
    if any(s.merged for e in examples.examples for p in e.pruned for s in p.steps):
        keys["merged"] = "merged into a kept token"
    if any(len(line_ends(e, view)) for e in examples.examples for view in range(len(e.views))):
        keys["ends"] = "bar at the right: tokens at line ends"
    return keys


def _article(example: Example, name: str, *, outlined: bool = True) -> str:
    """One question with a slider and a strip per schedule; lines around kept tokens cost space."""
    sizes = [_size(content) for content in example.pictures]
    family = "" if example.family is None else f"{display.plain(example.family, 40)}: "
    answers = [f"dense answer {display.answer(example.dense_answer, example.dense_right)}"]
    if example.answer is not None:
        answers.insert(0, f"known answer {display.plain(example.answer, 60)}")
    return render(
        "example.html",
        name=name,
        title=family + display.plain(example.question, 300),
        answers="; ".join(answers),
        pictures=[
            {
                "width": width, "height": height, "address": _address(content),
                "pixelated": max(width, height) <= PIXELATED,
                "hatch_scale": f"{max(width, height) / 100:g}",
            }
            for content, (width, height) in zip(example.pictures, sizes, strict=True)
        ],
        layers=max((len(pruned.keep) for pruned in example.pruned), default=1),
        start=_first_loss(example),
        strips=[_strip(example, pruned, sizes, outlined) for pruned in example.pruned],
    )  # fmt: skip


def _first_loss(example: Example) -> int:
    """The first layer at which every schedule has dropped something, else the last one."""
    layers = [p.changes[1] if len(p.changes) > 1 else p.changes[0] for p in example.pruned]
    return max(layers, default=0)


def _strip(
    example: Example, pruned: Pruned, sizes: Sequence[tuple[int, int]], outlined: bool
) -> dict[str, Any]:
    """One schedule: a frame per run of layers with the same tokens."""
    frames = []
    steps = zip(pruned.steps, pruned.spans(), example.states(pruned), strict=True)
    for step, (first, last), state in steps:
        count = display.kept_of(len(step.kept), example.tokens)
        caption = f"{display.span((first, last))}: {count}"
        views = [
            _view(example, view, state, sizes, outlined)
            | {"alt": f"{KINDS[seen.kind]}{caption} visual tokens kept"}
            for view, seen in enumerate(example.views)
        ]
        frames.append({"first": first, "last": last, "caption": caption, "views": views})
    return {
        "title": display.plain(pruned.label, 60), "pruner": display.plain(pruned.pruner),
        "answer": display.answer(pruned.answer, pruned.right), "frames": frames,
    }  # fmt: skip


def _view(
    example: Example, view: int, state: NDArray[np.int8], sizes: Sequence[tuple[int, int]],
    outlined: bool,
) -> dict[str, Any]:  # fmt: skip
    """Shapes over one picture: areas without a token, dropped and merged tokens, line ends."""
    picture = example.views[view].picture
    width, height = sizes[picture]
    tokens = example.of_view(view)
    boxes = example.box_array[tokens] * np.array([height, width, height, width])
    shapes: list[dict[str, Any]] = []
    if not _covers(example.box_array[tokens]):
        shapes.append({"css": "unseen", "path": f"M0 0H{width}V{height}H0Z{_path(boxes)}"})
    for kind, css in CLASSES.items():
        path = _path(boxes[state[tokens] == kind])
        if path:
            shapes.append({"css": css, "path": path, "hatched": kind == State.MERGED})
    if outlined and (state[tokens] != State.KEPT).any():
        shapes.append({"css": "outline", "path": _outline(boxes[state[tokens] == State.KEPT])})
    ends = line_ends(example, view)
    for kind in State if len(ends) else ():
        marked = ends[state[ends] == kind]
        bars = example.box_array[marked] * np.array([height, width, height, width])
        bars[:, 1], bars[:, 3] = 1.03 * width, 1.06 * width
        if len(marked):
            css = {**CLASSES, State.KEPT: "end"}[kind]
            shapes.append({"css": f"{css} bar", "path": _path(bars)})
    full_width = round(width * 1.06, 1) if len(ends) else width
    return {
        "picture": picture, "width": f"{full_width:g}", "height": height, "shapes": shapes,
    }  # fmt: skip


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
    """The border of the area under boxes [n, 4]: sides that no two of them share."""
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
    with stored_picture(content) as picture:
        return picture.size


def _address(content: bytes) -> str:
    kind = next(kind for start, kind in SIGNATURES.items() if content.startswith(start))
    return data_url(kind, content)
