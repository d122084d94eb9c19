"""LLaVA-1.5, ViP-LLaVA, -NeXT and -OneVision: vision encoder, projector, Llama-shaped decoder.

LLaVA-1.5 gives every picture the same number of tokens. NeXT and OneVision cut a picture into tiles
of the vision encoder's size. The tiles' tokens form one grid with a token at the end of each line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.adapters.base import Adapter, Processed
from paretoprune.adapters.prompts import placeholder
from paretoprune.adapters.token_geometry import (
    WHOLE_PICTURE,
    Boxes,
    TokenBoxes,
    View,
    cells,
    clipped,
    height_and_width,
    lattice,
    picture_numbers,
    picture_runs,
    rows_of_lines,
    with_line_ends,
)
from paretoprune.tasks.base import Picture, Video


class LlavaAdapter(Adapter):
    """The generations differ in how many tokens a picture becomes."""

    family = "llava"
    model_types = ("llava", "vipllava", "llava_next", "llava_onevision")

    @property
    def tiled(self) -> bool:
        """Whether a picture becomes several tiles (NeXT, OneVision)."""
        return hasattr(self.model.config, "image_grid_pinpoints")

    def process(self, items: Sequence[Picture | Video], counts: Sequence[int]) -> Processed:
        """`pixel_values` [pictures, 3, side, side], or with a tile axis and `image_sizes`."""
        if not items:
            return Processed({}, [])
        options: dict[str, Any] = {"return_tensors": "pt"}
        pictures = list(items)
        if self.tiled and max(counts) > 1:  # OneVision shows several pictures without tiles
            grouped = iter(pictures)
            pictures = [[next(grouped) for _ in range(count)] for count in counts]
        processed = self.image_processor(images=pictures, **options)
        names = ("pixel_values", "image_sizes", "batch_num_images")
        tensors = {name: torch.as_tensor(processed[name]) for name in names if name in processed}
        return Processed(
            tensors,
            [placeholder(self, x) * n for x, n in zip(items, self._tokens(tensors), strict=True)],
        )

    def pictures(self, inputs: Mapping[str, Any], visual: Tensor) -> Tensor:
        """Split by each picture's tokens: placeholders of two pictures may be adjacent."""
        made = (inputs.get("mm_encoder_outputs") or {}).get("image")
        if made is not None:  # `generate` makes features first, and hands on nothing else
            sizes = [len(features) for features in made.pooler_output]
        elif "pixel_values" in inputs:
            sizes = self._tokens(inputs)
        else:
            sizes = []
        numbers = picture_numbers(sizes, visual)
        return picture_runs(visual) if numbers is None else numbers

    def class_token_layer(self) -> Any:
        """CLIP's layer behind which the features are taken, the deepest one if there are several.

        SigLIP encoders have no class token.
        """
        if not self._class_tokens:
            return None
        tower, config = self.model.model.vision_tower, self.model.config
        layers = getattr(tower, "vision_model", tower).encoder.layers
        chosen = getattr(config, "vision_feature_layer", None)
        chosen = config.vision_feature_layers if chosen is None else chosen
        states = [chosen] if isinstance(chosen, int) else chosen
        # hidden state 0 is the input of layer 0, so state i is the output of layer i - 1
        deepest = max(1, *(i if i >= 0 else len(layers) + 1 + i for i in states))
        return layers[min(deepest, len(layers)) - 1]

    def laid_out(self, patches: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Patches in order; tiles laid out by the model itself, 0 at line ends."""
        if not self.tiled:
            return patches[:, 0 if self._keeps_class_token else 1 :].flatten(0, 1)
        return torch.cat(self._packed(patches[:, 1:], inputs, patches.new_zeros(patches.shape[-1])))

    def grid(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Square pictures; with tiles, the small picture first and then the lines of the large."""
        pixels = inputs["pixel_values"]
        vision = self.model.config.vision_config
        high, wide = (size // vision.patch_size for size in pixels.shape[-2:])
        device = pixels.device
        if not self.tiled:
            if self._keeps_class_token:
                return super().grid(inputs)
            parts = [cells(number, high, wide) for number in range(len(pixels))]
            return torch.cat(parts).to(device)
        tiles = torch.zeros(int(self._tiles(inputs).sum()), high * wide, 1)
        parts = []
        for lines in self._packed(tiles, inputs, torch.ones(1)):
            whole = high * wide
            number = len(parts)
            parts.append(cells(number, high, wide))
            if len(lines) > whole:
                parts.append(rows_of_lines(number + 1, lines[whole:, 0] > 0))
        return torch.cat(parts).to(device)

    def token_boxes(
        self, items: Sequence[Picture | Video], inputs: Mapping[str, Tensor]
    ) -> TokenBoxes:
        """The crop that is encoded; with tiles, the whole picture first, then their lines."""
        self.grid(inputs)  # says where it does not know
        vision = self.model.config.vision_config
        high, wide = (size // vision.patch_size for size in inputs["pixel_values"].shape[-2:])
        if not self.tiled:
            seen = [crop_of(height_and_width(item), self.image_processor) for item in items]
            return TokenBoxes.of([(View(i), lattice(high, wide, s)) for i, s in enumerate(seen)])
        tiles = torch.zeros(int(self._tiles(inputs).sum()), high * wide, 1)
        parts: list[tuple[View, Boxes]] = []
        lines_of = self._packed(tiles, inputs, torch.ones(1))
        for number, (item, count) in enumerate(zip(items, self._tiles(inputs), strict=True)):
            lines = lines_of[number][high * wide :, 0] > 0
            size = height_and_width(item)
            if count > 1:
                rows = int(lines.sum())
                columns = len(lines) // rows - 1
                cells = clipped(lattice(rows, columns, self._tiled_region(size)))
                parts.append((View(number, "whole"), lattice(high, wide)))
                parts.append((View(number, "tiles"), with_line_ends(cells, columns)))
            else:  # one of several in OneVision: padded to a square, with one line end
                margins = [(max(size) - side) / 2 / side for side in size]
                square = (-margins[0], -margins[1], 1 + margins[0], 1 + margins[1])
                parts.append((View(number), clipped(lattice(high, wide, square))))
                parts.append((View(number), np.array([[0.0, 1.0, 1.0, 1.0]] * len(lines))))
        return TokenBoxes.of(parts)

    def _tiled_region(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """The part of a picture of `size` that its tiles' tokens cover, float64 [4].

        The picture is resized and padded to a canvas of tiles; the model cuts the padding off again
        by whole rows or columns of tokens, so that the part may be a little more than the picture.
        """
        from transformers.image_processing_utils import get_patch_output_size
        from transformers.models.llava_next.modeling_llava_next import (
            get_anyres_image_grid_shape,
            unpad_image,
        )

        config = self.model.config
        tile, patch = config.vision_config.image_size, config.vision_config.patch_size
        down, across = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, tile)
        canvas = np.array([down * tile, across * tile])
        content = np.array(
            get_patch_output_size(np.empty((1, *size)), tuple(canvas), "channels_first")
        )
        start = (canvas - content) // 2
        cells = lattice(down * (tile // patch), across * (tile // patch))
        laid = torch.from_numpy(cells).T.unflatten(1, (down * (tile // patch), -1))
        kept = unpad_image(laid, size)
        edges = np.array([*kept[:2].amin((1, 2)), *kept[2:].amax((1, 2))]).reshape(2, 2)
        region: NDArray[np.float64] = ((edges * canvas - start) / content).ravel()
        return region

    def _tokens(self, tensors: Mapping[str, Tensor]) -> list[int]:
        """Visual tokens of each picture."""
        pixels = tensors["pixel_values"]
        vision = self.model.config.vision_config
        patches = pixels.shape[-2] // vision.patch_size * (pixels.shape[-1] // vision.patch_size)
        if self.tiled:
            return self._tiled_tokens(tensors, patches)
        return [patches + self._class_tokens * self._keeps_class_token] * len(pixels)

    @property
    def _keeps_class_token(self) -> bool:
        """Whether the vision encoder's class token becomes a visual token; never in ViP-LLaVA.

        Its configuration does not have the name.
        """
        return getattr(self.model.config, "vision_feature_select_strategy", "default") == "full"

    @property
    def _class_tokens(self) -> int:
        """1 if the vision encoder puts a class token first (CLIP), 0 if it has none (SigLIP)."""
        tower = self.model.model.vision_tower
        return int(any(name.endswith("class_embedding") for name, _ in tower.named_parameters()))

    def _tiled_tokens(self, tensors: Mapping[str, Tensor], patches: int) -> list[int]:
        """The model's own layout of tiles, run on tensors without content."""
        features = self._packed(
            torch.zeros(int(self._tiles(tensors).sum()), patches, 1), tensors, torch.zeros(1)
        )
        return [len(f) for f in features]

    def _tiles(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Tiles of each picture, the picture of the whole included: int64 [pictures]."""
        from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

        config = self.model.config
        alone = tensors.get("batch_num_images", torch.ones(len(tensors["image_sizes"])))
        single = [n == 1 for n in alone.long().tolist() for _ in range(n)]
        tiles = [
            image_size_to_num_patches(
                image_size=size,
                grid_pinpoints=config.image_grid_pinpoints,
                patch_size=config.vision_config.image_size,
            )
            if one
            else 1
            for size, one in zip(tensors["image_sizes"], single, strict=True)
        ]
        return torch.tensor(tiles)

    def _packed(
        self, tiles: Tensor, tensors: Mapping[str, Tensor], newline: Tensor
    ) -> list[Tensor]:
        """Values of all tiles' patches, [tiles, patches, c], per picture as the model lays out.

        `newline` [c] stands at line ends. NeXT wants to know of the class token, OneVision how many
        tiles it may have.
        """
        config = self.model.config
        rule = (
            {"vision_aspect_ratio": config.vision_aspect_ratio}
            if hasattr(config, "vision_aspect_ratio")
            else {"vision_feature_select_strategy": config.vision_feature_select_strategy}
        )
        counts = self._tiles(tensors).tolist()
        packed, _ = self.model.model.pack_image_features(
            list(tiles.split(counts)), tensors["image_sizes"], image_newline=newline, **rule
        )
        return list(packed)


def crop_of(size: tuple[int, int], processor: Any) -> tuple[float, ...]:
    """The part of a picture of `size` that CLIP's processor hands to the vision encoder.

    It resizes the shorter side and crops the middle, or resizes both sides.
    """
    if not processor.do_center_crop:
        return WHOLE_PICTURE
    wanted = processor.size
    if wanted.get("shortest_edge"):
        short = wanted["shortest_edge"]
        resized = [side * short // min(size) for side in size]  # as get_resize_output_image_size
    else:
        resized = [wanted["height"], wanted["width"]]
    crop = processor.crop_size["height"], processor.crop_size["width"]
    margins = [(whole - part) // 2 / whole for whole, part in zip(resized, crop, strict=True)]
    shares = [part / whole for whole, part in zip(resized, crop, strict=True)]
    return (*margins, *(m + s for m, s in zip(margins, shares, strict=True)))
