"""Qwen2-VL and Qwen2.5-VL: pictures at their own resolution, videos, and M-RoPE.

A picture of h x w patches becomes h w / merge^2 visual tokens. Positions have three parts (time,
height, width); text counts on all three at once (Qwen2-VL, arXiv 2409.12191, section 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Processed
from paretoprune.adapters.prompts import placeholder
from paretoprune.adapters.token_geometry import TokenBoxes, View, cells, lattice
from paretoprune.tasks.base import Picture, Video

TEXT, IMAGE, VIDEO = 0, 1, 2
"""Values of `mm_token_type_ids`, from which the model counts positions."""


class QwenVLAdapter(Adapter):
    """Every sample keeps its own share of its own number of visual tokens."""

    family = "qwen2_5_vl"
    model_types = ("qwen2_5_vl", "qwen2_vl")
    takes_videos = True
    token_names = ("image_token_id", "video_token_id")

    def process(self, items: Sequence[Picture | Video], counts: Sequence[int]) -> Processed:
        """Patches of all pictures, [patches, values], and their grids [pictures, 3]; videos too."""
        merge = self.image_processor.merge_size**2
        pixels: dict[bool, list[Tensor]] = {False: [], True: []}
        grids: dict[bool, list[Tensor]] = {False: [], True: []}
        seconds, texts = [], []
        for item in items:
            moving = isinstance(item, Video)
            if moving:
                patches, grid = self._video(item)
                seconds.append(self.image_processor.temporal_patch_size / item.fps)
            else:
                processed = self.image_processor(images=[item], return_tensors="pt")
                patches, grid = processed["pixel_values"], processed["image_grid_thw"][0]
            pixels[moving].append(patches)
            grids[moving].append(grid)
            texts.append(placeholder(self, item) * int(grid.prod() // merge))
        tensors: dict[str, Tensor] = {}
        if pixels[False]:
            tensors |= {
                "pixel_values": torch.cat(pixels[False]),
                "image_grid_thw": torch.stack(grids[False]),
            }
        if pixels[True]:
            tensors |= {
                "pixel_values_videos": torch.cat(pixels[True]),
                "video_grid_thw": torch.stack(grids[True]),
                "second_per_grid_ts": torch.tensor(seconds),
            }
        return Processed(tensors, texts)

    def _video(self, video: Video) -> tuple[Tensor, Tensor]:
        """Patches that span `temporal_patch_size` frames, and the grid of time, height and width.

        The picture processor repeats a still along time; of frame i of each group, slice i is
        taken. The last frame is repeated to fill its group, as Qwen does.
        """
        depth = self.image_processor.temporal_patch_size
        missing = -len(video.frames) % depth
        frames = [*video.frames, *[video.frames[-1]] * missing]
        processed = self.image_processor(images=frames, return_tensors="pt")
        grids = processed["image_grid_thw"]
        time, (_, high, wide) = len(frames) // depth, grids[0].tolist()
        side = self.image_processor.patch_size
        stills = processed["pixel_values"].view(time, depth, high * wide, -1, depth, side, side)
        slices = [stills[:, i, :, :, i] for i in range(depth)]
        patches = torch.stack(slices, dim=3).reshape(time * high * wide, -1)
        return patches, torch.tensor([time, high, wide])

    def grid(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Every picture, and every time step of a video, in its own rows and columns."""
        merge = self.model.config.vision_config.spatial_merge_size
        names = [name for name in ("image_grid_thw", "video_grid_thw") if name in inputs]
        tokens = sum(int(inputs[name].prod(1).sum()) for name in names) // merge**2
        kinds = inputs["mm_token_type_ids"]
        # beams repeat rows of tokens, but not the inputs of the vision encoder
        kinds = kinds[:: max(1, int((kinds != TEXT).sum()) // max(1, tokens))]
        kinds = kinds[kinds != TEXT]
        joined = torch.zeros(len(kinds), 3, device=kinds.device)
        number = 0
        for kind, name in ((IMAGE, "image_grid_thw"), (VIDEO, "video_grid_thw")):
            parts = []
            for time, high, wide in inputs[name].tolist() if name in inputs else []:
                for _ in range(time):
                    parts.append(cells(number, high // merge, wide // merge))
                    number += 1
            if parts:
                joined[kinds == kind] = torch.cat(parts).to(joined.device)
        return joined

    def token_boxes(
        self, items: Sequence[Picture | Video], inputs: Mapping[str, Tensor]
    ) -> TokenBoxes:
        """The merged grid of each picture, which is resized as a whole, and of each time step."""
        merge = self.model.config.vision_config.spatial_merge_size
        depth = self.model.config.vision_config.temporal_patch_size
        grids = {
            moving: iter(inputs[name].tolist() if name in inputs else [])
            for moving, name in ((False, "image_grid_thw"), (True, "video_grid_thw"))
        }
        parts = []
        for number, item in enumerate(items):
            moving = isinstance(item, Video)
            time, high, wide = next(grids[moving])
            for step in range(time):
                view = View(number, "frame", step * depth) if moving else View(number)
                parts.append((view, lattice(high // merge, wide // merge)))
        return TokenBoxes.of(parts)

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Time, height and width of every token: int64 [3, B, T]."""
        names = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")
        grids = {name: inputs[name] for name in names if name in inputs}
        positions: Tensor = self.model.model.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=inputs["mm_token_type_ids"],
            attention_mask=inputs["attention_mask"],
            **grids,
        )[0]
        return positions
