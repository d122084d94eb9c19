"""Families without a file: whatever merges pictures into a Llama-shaped decoder's input.

The family's own forward pass runs on a view whose decoder layers only note what they are given;
from there the layers are driven one by one. Nothing is assumed that is not checked: `refusals`
refuses what is known to differ, and `verify` compares with the model's own logits when a model is
loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paretoprune.adapters.base import Adapter, Prefill, Processed
from paretoprune.adapters.model_access import last_token, position_arguments
from paretoprune.adapters.prompts import placeholder, visual_mask
from paretoprune.adapters.refusals import require_window
from paretoprune.adapters.views import Recorder
from paretoprune.tasks.base import Picture, Video


class GenericAdapter(Adapter):
    """Any `AutoModelForImageTextToText` whose layers take hidden states, positions and a mask.

    `processor` is the family's own, where it can be loaded; without one, pictures go through the
    image processor alone and the model itself says how many tokens each becomes.
    """

    family = "generic"
    model_types = ()
    token_names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, image_processor: Any, processor: Any = None
    ) -> None:
        super().__init__(model, tokenizer, image_processor, processor)
        self.recorder = Recorder(model, self.decoder)

    def process(self, items: Sequence[Picture | Video], counts: Sequence[int]) -> Processed:
        """Without a processor: as many tokens as the model makes features of each picture."""
        if not items:
            return Processed({}, [])
        texts = [placeholder(self, x) * self._features(self._pixels([x])) for x in items]
        return Processed(self._pixels(items), texts)

    def _pixels(self, items: Sequence[Picture]) -> dict[str, Tensor]:
        made = self.image_processor(images=list(items), return_tensors="pt")
        return {k: torch.as_tensor(v) for k, v in made.items() if k in self.forward_arguments}

    def _features(self, tensors: Mapping[str, Tensor]) -> int:
        """Number of features of one picture, all its tiles together."""
        takes = inspect.signature(self.model.get_image_features).parameters
        inputs = {
            k: v.to(self.model.device, self.model.dtype if v.is_floating_point() else None)
            for k, v in tensors.items()
            if k in takes
        }
        with torch.no_grad():
            features = self.model.get_image_features(**inputs).pooler_output
        return sum(len(part) for part in features)

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Padding is not counted; None where the family counts by itself (M-RoPE)."""
        takes = self.forward_arguments
        if "position_ids" not in takes or "mm_token_type_ids" in takes:
            return None
        return super().positions(inputs)

    def prefill(self, inputs: Mapping[str, Tensor], prompt_end: Tensor | None = None) -> Prefill:
        """Inputs of the first decoder layer in the family's own forward pass."""
        ids, valid = inputs["input_ids"], inputs["attention_mask"].bool()
        require_window(self, valid)
        arguments: dict[str, Any] = {k: v for k, v in inputs.items() if k in self.forward_arguments}
        if "logits_to_keep" in self.forward_arguments:
            arguments["logits_to_keep"] = 1
        arguments |= position_arguments(self, inputs)
        entry = self.recorder.entry(**arguments, use_cache=False)
        return Prefill(
            entry.hidden, entry.rotary, visual_mask(self, ids), valid,
            last_token(valid, prompt_end),
        )  # fmt: skip

    def head(self, hidden: Tensor) -> Tensor:
        """Everything that the family does behind its last layer: [..., hidden] to logits."""
        flat = hidden.reshape(-1, 1, hidden.shape[-1])
        logits: Tensor = self.recorder.root(inputs_embeds=flat, use_cache=False).logits
        return logits.view(*hidden.shape[:-1], -1)
