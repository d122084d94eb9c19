"""InternVL (Hugging Face's own classes): tiles, pixel shuffle, and a Qwen2 or Llama decoder.

Each tile's patches are shuffled to a quarter as many visual tokens; the tokens of all tiles of a
picture, its thumbnail last, stand between a start and an end token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Processed
from paretoprune.adapters.prompts import placeholder
from paretoprune.adapters.token_geometry import (
    Boxes,
    TokenBoxes,
    View,
    cells,
    height_and_width,
    lattice,
)
from paretoprune.tasks.base import Picture, Video


class InternVLAdapter(Adapter):
    """A video is its frames, each as one tile, numbered in the prompt."""

    family = "internvl"
    model_types = ("internvl",)
    takes_videos = True

    @property
    def tile_tokens(self) -> int:
        """Visual tokens of one tile after pixel shuffle."""
        config = self.model.config
        sides = zip(config.vision_config.image_size, config.vision_config.patch_size, strict=True)
        patches = int(np.prod([side // patch for side, patch in sides]))
        return round(patches * float(config.downsample_ratio) ** 2)

    def class_token_layer(self) -> Any:
        """The layer whose output becomes the features; InternViT always has a class token."""
        layers = self.model.model.vision_tower.encoder.layer
        state = self.model.config.vision_feature_layer
        return layers[(state if state > 0 else len(layers) + 1 + state) - 1]

    def laid_out(self, patches: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Pixel shuffle by the model itself; a visual token is the mean of its patches."""
        inner = patches[:, 1:]
        side = round(inner.shape[1] ** 0.5)
        squares = inner.unflatten(1, (side, side))
        scale = float(self.model.config.downsample_ratio)
        shuffled = self.model.model.pixel_shuffle(squares, scale_factor=scale)
        pooled: Tensor = shuffled.unflatten(-1, (-1, inner.shape[-1])).mean(-2).flatten(0, 2)
        return pooled

    def grid(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Every tile by itself: square, in rows."""
        side = round(self.tile_tokens**0.5)
        tiles = [cells(number, side, side) for number in range(len(inputs["pixel_values"]))]
        return torch.cat(tiles).to(inputs["pixel_values"].device)

    def token_boxes(
        self, items: Sequence[Picture | Video], inputs: Mapping[str, Tensor]
    ) -> TokenBoxes:
        """Tiles in the processor's rows and columns; the whole picture, its thumbnail, is last."""
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
            get_optimal_tiled_canvas,
        )

        side = round(self.tile_tokens**0.5)
        processor = self.image_processor
        parts: list[tuple[View, Boxes]] = []
        for number, item in enumerate(items):
            if isinstance(item, Video):
                frames = range(len(item.frames))
                parts += [(View(number, "frame", i), lattice(side, side)) for i in frames]
                continue
            tile = (processor.size["height"], processor.size["width"])
            columns, rows = get_optimal_tiled_canvas(
                height_and_width(item), tile, processor.min_patches, processor.max_patches
            )
            if columns * rows == 1:
                parts.append((View(number), lattice(side, side)))
                continue
            for tile_box in lattice(rows, columns):
                parts.append((View(number, "tiles"), lattice(side, side, tile_box)))
            parts.append((View(number, "whole"), lattice(side, side)))
        return TokenBoxes.of(parts)

    def process(self, items: Sequence[Picture | Video], counts: Sequence[int]) -> Processed:
        """`pixel_values` [tiles, 3, side, side] of all pictures and frames."""
        pixels, texts = [], []
        for item in items:
            moving = isinstance(item, Video)
            processed = self.image_processor(
                images=list(item.frames) if isinstance(item, Video) else [item],
                crop_to_patches=not moving,
                return_tensors="pt",
            )
            pixels.append(processed["pixel_values"])
            tiles = [
                self._wrapped(item, n) for n in torch.as_tensor(processed["num_patches"]).tolist()
            ]
            texts.append(
                "\n".join(f"Frame{i}: {text}" for i, text in enumerate(tiles, start=1))
                if moving
                else tiles[0]
            )
        return Processed({"pixel_values": torch.cat(pixels)} if pixels else {}, texts)

    def _wrapped(self, item: Picture | Video, tiles: int) -> str:
        """The tokens of a picture of so many tiles, between start and end."""
        start = getattr(self.tokenizer, "start_image_token", "<img>")
        end = getattr(self.tokenizer, "end_image_token", "</img>")
        return f"{start}{placeholder(self, item) * (tiles * self.tile_tokens)}{end}"
