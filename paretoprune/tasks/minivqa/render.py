"""Draws MiniVQA scenes: `uint8` pictures of 16 x 16 pixels a cell, on a noisy grid."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_digits

from paretoprune.tasks.minivqa.scene import CHART_CELLS, Scene
from paretoprune.tasks.minivqa.vocabulary import (
    CELL,
    COLOURS,
    DIGITS,
    PATCH,
    SHAPES,
)

Split = Literal["train", "search", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "search", "heldout")
Mask = NDArray[np.float32]


@cache
def digit_masks(split: Split) -> dict[str, Mask]:
    """Real handwritten digits of one split, each `[count, 16, 16]` in 0..1.

    scikit-learn's `load_digits` has 1,797 digits of 8 x 8 pixels. Every fifth goes to `search`,
    every fifth to `heldout`, the rest to `train`: no digit is in two splits.
    """
    data = load_digits()
    turn = np.arange(len(data.target)) % 5
    wanted = {"train": turn < 3, "search": turn == 3, "heldout": turn == 4}[split]
    masks: dict[str, Mask] = {}
    for digit in DIGITS:
        small = data.images[wanted & (data.target == int(digit))]
        big = [
            np.asarray(Image.fromarray((x * 15.9).astype(np.uint8)).resize((CELL, CELL)))
            for x in small
        ]
        masks[digit] = np.stack(big).astype(np.float32) / 255.0
    return masks


@cache
def shape_mask(shape: str) -> Mask:
    """One shape, antialiased, `[16, 16]` in 0..1."""
    size = CELL * 4
    canvas = Image.new("L", (size, size))
    draw = ImageDraw.Draw(canvas)
    low, high, mid = size // 8, size - size // 8, size // 2
    if shape == "circle":
        draw.ellipse((low, low, high, high), fill=255)
    elif shape == "ring":
        draw.ellipse((low, low, high, high), outline=255, width=size // 6)
    elif shape == "square":
        draw.rectangle((low, low, high, high), fill=255)
    elif shape == "triangle":
        draw.polygon([(mid, low), (high, high), (low, high)], fill=255)
    elif shape == "cross":
        arm = size // 9
        draw.rectangle((mid - arm, low, mid + arm, high), fill=255)
        draw.rectangle((low, mid - arm, high, mid + arm), fill=255)
    elif shape == "star":
        angles = -np.pi / 2 + np.arange(10) * np.pi / 5
        radii = np.where(np.arange(10) % 2 == 0, size * 0.45, size * 0.18)
        points = np.stack([mid + radii * np.cos(angles), mid + radii * np.sin(angles)], axis=1)
        draw.polygon([tuple(p) for p in points], fill=255)
    else:
        raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")
    return np.asarray(canvas.resize((CELL, CELL)), dtype=np.float32) / 255.0


def render(scene: Scene, rng: np.random.Generator, split: Split) -> NDArray[np.uint8]:
    """Draw `scene` as `uint8 [16 rows, 16 cols, 3]`, with handwriting of `split` only."""
    height, width = scene.rows * CELL, scene.cols * CELL
    picture = np.full((height, width, 3), 128.0, dtype=np.float32)
    picture += (
        rng.normal(0, 10, (scene.rows, 1, scene.cols, 1, 1))
        .astype(np.float32)
        .repeat(CELL, 1)
        .repeat(CELL, 3)
        .reshape(height, width, 1)
    )
    picture[::CELL] -= 14.0
    picture[:, ::CELL] -= 14.0
    digits = digit_masks(split)

    def stamp(row: int, col: int, mask: Mask, colour: tuple[int, int, int]) -> None:
        area = picture[row * CELL : (row + 1) * CELL, col * CELL : (col + 1) * CELL]
        area += mask[..., None] * (np.asarray(colour, dtype=np.float32) - area)

    def handwriting(digit: str) -> Mask:
        pool = digits[digit]
        return np.asarray(pool[int(rng.integers(len(pool)))])

    for thing in scene.things:
        if thing.kind in SHAPES:
            shift = tuple(int(x) for x in rng.integers(-1, 2, 2))
            mask = np.roll(shape_mask(thing.kind), shift, (0, 1))
        else:
            mask = handwriting(thing.kind)
        stamp(thing.row, thing.col, mask, COLOURS[thing.colour])

    chart = scene.chart
    top, left, side = chart.row * CELL, chart.col * CELL, CHART_CELLS * CELL
    picture[top : top + side, left : left + side] = 225.0
    for i, (colour, height) in enumerate(chart.bars):
        x = left + i * CELL + PATCH // 2
        picture[top + side - height * PATCH : top + side, x : x + PATCH] = COLOURS[colour]

    sign = scene.sign
    plate = len(sign.digits) * CELL
    y, x = sign.row * CELL, sign.col * CELL
    picture[y : y + CELL, x : x + plate] = 245.0
    for i, digit in enumerate(sign.digits):
        stamp(sign.row, sign.col + i, handwriting(digit), (15, 15, 15))

    picture += rng.normal(0, 6, picture.shape)
    drawn = np.clip(picture, 0, 255).astype(np.uint8)
    return _degrade(drawn, rng) if scene.degraded else drawn


def _degrade(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur and clutter a picture, as in photographs taken by blind people (VizWiz)."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x0, y0, dx, dy = (
            int(v) for v in rng.integers((0, 0, -24, -24), (image.width, image.height, 25, 25))
        )
        grey = int(rng.integers(60, 200))
        draw.line((x0, y0, x0 + dx, y0 + dy), fill=(grey, grey, grey))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.6, 1.1)))))
