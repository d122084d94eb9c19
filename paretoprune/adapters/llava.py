"""LLaVA-1.5: a CLIP tower, a two-layer projector, and a Llama-shaped decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.errors import InvalidValueError


class LlavaAdapter(Adapter):
    """Every picture becomes `image_seq_length` visual tokens where the prompt has `<image>`."""

    family = "llava"
    model_types = ("llava",)

    def encode(
        self, images: Sequence[Any], prompts: Sequence[str]
    ) -> tuple[list[list[int]], dict[str, Tensor]]:
        """One picture per prompt; a prompt without `<image>` gets it in front."""
        if len(images) != len(prompts):
            raise InvalidValueError(
                f"one picture per prompt is needed, got {len(images)} pictures and "
                f"{len(prompts)} prompts"
            )
        token = self.tokenizer.convert_ids_to_tokens(self.model.config.image_token_index)
        pixels = self.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        expanded = " ".join([token] * self.visual_tokens(pixels))
        texts = [p if token in p else f"{token} {p}" for p in prompts]
        ids = self.tokenizer([text.replace(token, expanded, 1) for text in texts])["input_ids"]
        return ids, {"pixel_values": pixels.to(self.model.dtype)}

    def visual_tokens(self, pixels: Tensor) -> int:
        """Visual tokens of a picture of this size: patches, plus the class token if it is kept."""
        config = self.model.config
        patch = config.vision_config.patch_size
        tokens = (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
        class_token = config.vision_feature_select_strategy == "full"
        return int(tokens) + int(class_token)

    def prefill(self, inputs: Mapping[str, Tensor], prompt_end: Tensor | None = None) -> Prefill:
        """Embed the text and put the projected picture where the image tokens are."""
        ids, valid = inputs["input_ids"], inputs["attention_mask"].bool()
        visual = ids == self.model.config.image_token_index
        hidden = self.model.get_input_embeddings()(ids)
        if visual.any():
            features = self.model.get_image_features(inputs["pixel_values"]).pooler_output
            hidden = hidden.masked_scatter(
                visual[..., None], torch.cat(list(features)).to(hidden.dtype)
            )
        positions = (valid.long().cumsum(-1) - 1).clamp(min=0)
        if prompt_end is None:
            last = torch.arange(ids.shape[1], device=ids.device) * valid
            prompt_end = last.argmax(-1)
        return Prefill(hidden, positions, visual, valid, prompt_end)
