"""Kept tokens of pictures, as typed data: drawings and reports are made from this alone.

A record holds one question with its pictures, where each visual token stands in them, and what each
pruner left in every decoder layer. Nothing here needs a model or torch.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    Base64Bytes,
    Field,
    model_validator,
)

from paretoprune.files import StoredModel, read_stored, write_stored

EXAMPLES_NAME = "examples.json"
MAX_TOKENS = 100_000
SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
"""First bytes of the picture formats that a record may hold."""


class State(IntEnum):
    """State of a visual token: dropped, merged into another one, or kept."""

    GONE = 0
    MERGED = 1
    KEPT = 2


def _is_picture(content: bytes) -> bytes:
    if not content.startswith(tuple(SIGNATURES)):
        raise ValueError("a picture must be a PNG or JPEG file, in base64")
    return content


PictureFile = Annotated[Base64Bytes, AfterValidator(_is_picture)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Token = Annotated[int, Field(ge=0, lt=MAX_TOKENS)]


class SeenAs(StoredModel):
    """One way in which the model sees a picture: see `adapters.token_geometry.View`.

    `picture` indexes the record's pictures.
    """

    picture: int = Field(ge=0)
    kind: Literal["picture", "whole", "tiles", "frame"] = "picture"


class Step(StoredModel):
    """From decoder layer `layer` on, the visual tokens `kept` are present, by number.

    `merged` are pairs: a token dropped at this layer, and the kept token it was merged into.
    """

    layer: int = Field(ge=0)
    kept: list[Token]
    merged: list[tuple[Token, Token]] = Field(default=[])


class Pruned(StoredModel):
    """Visual tokens of one question that one pruner and keep schedule keep, and the answer.

    `steps` say what changes at which layer; the first is at layer 0. `right` compares the answer
    with the known one, token by token (None: not known). `label` is how it is called in a drawing.
    """

    label: str
    pruner: str
    keep: list[Share] = Field(min_length=1)
    steps: list[Step] = Field(min_length=1)
    answer: str
    right: bool | None = None

    @property
    def changes(self) -> list[int]:
        """Layers before which tokens leave, and layer 0."""
        return [step.layer for step in self.steps]

    def spans(self) -> list[tuple[int, int]]:
        """First and last layer of every run of layers with the same tokens."""
        ends = [*self.changes, len(self.keep)]
        return [(start, end - 1) for start, end in pairwise(ends)]

    def counts(self) -> list[int]:
        """Visual tokens present in each layer."""
        return [
            len(step.kept)
            for step, (first, last) in zip(self.steps, self.spans(), strict=True)
            for _ in range(first, last + 1)
        ]


class Example(StoredModel):
    """One question about some pictures, and the visual tokens that each of `pruned` keeps.

    `pictures` are PNG or JPEG files. Token i is seen in `views[view[i]]`, at `boxes[i]`: top, left,
    bottom, right in 0..1 of that picture; boxes without width are tokens that end a line of tiles.
    `answer` is the known answer, if there is one; `dense_answer` the unpruned model's.
    """

    question: str
    answer: str | None = None
    family: str | None = None
    sample: str | None = None
    model: str
    pictures: list[PictureFile] = Field(min_length=1)
    views: list[SeenAs] = Field(min_length=1)
    view: list[int] = Field(max_length=MAX_TOKENS)
    boxes: list[tuple[Share, Share, Share, Share]] = Field(max_length=MAX_TOKENS)
    dense_answer: str
    dense_right: bool | None = None
    pruned: list[Pruned]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        tokens = len(self.view)
        if len(self.boxes) != tokens:
            raise ValueError(f"{len(self.boxes)} boxes for {tokens} visual tokens")
        if any(not 0 <= number < len(self.views) for number in self.view):
            raise ValueError(f"a token's view must be in 0..{len(self.views) - 1}")
        if any(seen.picture >= len(self.pictures) for seen in self.views):
            raise ValueError(f"a view's picture must be in 0..{len(self.pictures) - 1}")
        if any(top > bottom or left > right for top, left, bottom, right in self.boxes):
            raise ValueError("a box must have top <= bottom and left <= right")
        for one in self.pruned:
            layers = one.changes
            if layers != sorted(set(layers)) or layers[0] != 0 or layers[-1] >= len(one.keep):
                raise ValueError(f"steps must rise from layer 0 to at most {len(one.keep) - 1}")
            named = [t for step in one.steps for t in (*step.kept, *sum(step.merged, ()))]
            if named and max(named) >= tokens:
                raise ValueError(f"there are {tokens} visual tokens, got number {max(named)}")
        return self

    @property
    def tokens(self) -> int:
        """Visual tokens of the prompt."""
        return len(self.view)

    @cached_property
    def box_array(self) -> NDArray[np.float64]:
        """The boxes as an array, float64 [tokens, 4]."""
        return np.asarray(self.boxes, dtype=np.float64).reshape(-1, 4)

    def of_view(self, number: int) -> NDArray[np.int64]:
        """Numbers of the tokens that are seen in a view, int64 [n]."""
        return np.flatnonzero(np.asarray(self.view, dtype=np.int64) == number)

    def states(self, pruned: Pruned) -> NDArray[np.int8]:
        """`State` of every token from each of the steps on: int8 [steps, tokens]."""
        carrier = np.arange(self.tokens)  # the token that holds what token i was; -1: none
        states = np.zeros((len(pruned.steps), self.tokens), dtype=np.int8)
        for number, step in enumerate(pruned.steps):
            present = np.zeros(self.tokens, dtype=bool)
            present[step.kept] = True
            onward = np.where(present, np.arange(self.tokens), -1)
            for source, target in step.merged:
                onward[source] = target if present[target] else -1
            carrier = np.where(carrier >= 0, onward[carrier], -1)
            states[number] = np.where(carrier >= 0, State.MERGED, State.GONE)
            states[number, present] = State.KEPT
        return states


class Examples(StoredModel):
    """Examples of a results folder; `label` and `seed` name their study."""

    format: Literal["paretoprune-examples/1"] = "paretoprune-examples/1"
    label: str
    seed: int
    examples: list[Example]


def write_examples(folder: Path, examples: Examples) -> None:
    """Write `examples.json` into a results folder, whole or not at all."""
    write_stored(folder / EXAMPLES_NAME, examples, indent=None)


def read_examples(folder: Path) -> Examples | None:
    """Read `examples.json` of a results folder; None without one.

    Raises `BrokenFileError` naming the fault.
    """
    file = folder / EXAMPLES_NAME
    return read_stored(file, "results file", Examples) if file.exists() else None
