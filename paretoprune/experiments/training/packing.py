"""Training batches: many questions about one picture, packed into one sequence.

Each question sees the picture and itself only (block-diagonal mask) and its positions start right
behind the picture, so that training equals evaluation, where each question stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from paretoprune.tasks.minivqa.questions import FAMILIES, WARM_UP, Ask
from paretoprune.tasks.minivqa.render import Split, render
from paretoprune.tasks.minivqa.scene import Scene, draw_scene
from paretoprune.tasks.minivqa.vocabulary import CELL, COLOURS, GRID, KINDS, PATCH

IGNORE = -100
PATCH_LABELS = {"kind": len(KINDS) + 3, "colour": len(COLOURS) + 1, "value": 7}
"""Targets of the auxiliary loss on each projected patch, with the number of classes."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One training batch of B pictures of one size, with T text tokens each.

    `pictures` are `uint8 [height, width, 3]`; `tokens`, `segments`, `offsets`, `labels`, `families`
    int64 [B, T] (`segments` 0 is padding, `offsets` counts from the first text token, `labels` is
    the next token or -100, `families` indexes the family names); `patches` int64 [B, 3, visual
    tokens].
    """

    pictures: list[NDArray[np.uint8]]
    tokens: torch.Tensor
    segments: torch.Tensor
    offsets: torch.Tensor
    labels: torch.Tensor
    families: torch.Tensor
    patches: torch.Tensor


def draw_batch(
    tokenizer: PreTrainedTokenizerBase,
    rng: np.random.Generator,
    *,
    size: int,
    questions: int,
    max_things: int,
    degraded_share: float,
    split: Split = "train",
    grid: tuple[int, int] = (GRID, GRID),
) -> PackedBatch:
    """Draw `size` pictures with `questions` questions each: every family once, others at random.

    `grid` are rows and columns of the pictures' cells.
    """
    families: dict[str, Ask] = {**FAMILIES, **WARM_UP}
    names = list(families)
    vocabulary = tokenizer.get_vocab()
    eos = tokenizer.eos_token_id
    pictures, patches, rows = [], [], []
    for _ in range(size):
        scene = draw_scene(
            rng,
            max_things=max_things,
            degraded=bool(rng.random() < degraded_share),
            rows=grid[0],
            cols=grid[1],
        )
        pictures.append(render(scene, rng, split))
        patches.append(label_patches(scene))
        extra = rng.integers(0, len(FAMILIES), max(0, questions - len(names)))
        asked = [*range(len(names)), *(int(i) for i in extra)][:questions]
        row: list[tuple[int, int, int, int, int]] = []
        for segment, family in enumerate(asked, start=1):
            question, answer = families[names[family]](scene, rng)
            prompt = [vocabulary[word] for word in question.split()]
            full = [*prompt, *(vocabulary[word] for word in answer.split()), eos]
            for i, token in enumerate(full[:-1]):
                label = full[i + 1] if i + 1 >= len(prompt) else IGNORE
                row.append((token, segment, i, label, family))
        rows.append(row)
    longest = max(len(row) for row in rows)
    padding = (tokenizer.pad_token_id, 0, 0, IGNORE, 0)
    packed = np.array([row + [padding] * (longest - len(row)) for row in rows], dtype=np.int64)
    tokens, segments, offsets, labels, asked_families = torch.from_numpy(packed).unbind(-1)
    return PackedBatch(
        pictures,
        tokens,
        segments,
        offsets,
        labels,
        asked_families,
        torch.from_numpy(np.stack(patches)),
    )


def label_patches(scene: Scene) -> np.ndarray:
    """Classes of each patch of 8 x 8 pixels, row by row: `int64 [3, patches]`.

    The three labels are kind, colour and value (bar height, digit place).
    """
    per_cell = CELL // PATCH
    labels = np.zeros((3, scene.rows * per_cell, scene.cols * per_cell), dtype=np.int64)
    colours = list(COLOURS)
    plate, bar = len(KINDS) + 1, len(KINDS) + 2

    def area(row: int, col: int, cells: int = 1) -> tuple[slice, slice, slice]:
        y, x, side = row * per_cell, col * per_cell, cells * per_cell
        return slice(None), slice(y, y + side), slice(x, x + side)

    for thing in scene.things:
        labels[area(thing.row, thing.col)] = np.array(
            [KINDS.index(thing.kind) + 1, colours.index(thing.colour) + 1, 0]
        ).reshape(3, 1, 1)
    chart = scene.chart
    labels[area(chart.row, chart.col, 3)] = np.array([plate, 0, 0]).reshape(3, 1, 1)
    bottom = (chart.row + 3) * per_cell
    for i, (colour, height) in enumerate(chart.bars):
        for col in ((chart.col + i) * per_cell, (chart.col + i) * per_cell + 1):
            # a bar is one patch wide and straddles the two patches of its cell
            labels[:, bottom - height : bottom, col] = np.array(
                [bar, colours.index(colour) + 1, height]
            ).reshape(3, 1)
    for i, written in enumerate(scene.sign.digits):
        labels[area(scene.sign.row, scene.sign.col + i)] = np.array(
            [KINDS.index(written) + 1, 0, i + 1]
        ).reshape(3, 1, 1)
    return labels.reshape(3, -1)


def packed_mask(segments: torch.Tensor, prefix: int) -> torch.Tensor:
    """Block-diagonal causal mask, bool [B, 1, P + T, P + T]; True attends.

    `segments` int64 [B, T] numbers the questions; `prefix` counts the P tokens in front of them.
    """
    batch, text = segments.shape
    total = prefix + text
    causal = torch.ones(total, total, dtype=torch.bool).tril()
    whole = torch.cat([segments.new_zeros(batch, prefix), segments], dim=1)
    same = whole[:, :, None] == whole[:, None, :]
    picture = (torch.arange(total) < prefix)[None, None, :]
    return ((same | picture) & causal)[:, None]
