"""Families without a file: whatever merges pictures into a Llama-shaped decoder's input.

The family's own forward pass runs on a view whose decoder layers only note what they are given;
from there the layers are driven one by one. Nothing is assumed that is not checked: `kinds` refuses
what is known to differ, and `verify` compares with the model's own logits when a model is loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paretoprune.adapters.base import Adapter, Prefill, Processed, last_token
from paretoprune.adapters.views import Recorder
from paretoprune.errors import UnsupportedError
from paretoprune.tasks.base import Picture, Video, Visual, shown

TOKEN_NAMES = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")

FRAMES = (
    ("image_start_token_id", "image_end_token_id"),
    ("vision_start_token_id", "vision_end_token_id"),
    ("boi_token_index", "eoi_token_index"),
)
"""Names under which configurations keep the tokens around a picture."""


class GenericAdapter(Adapter):
    """Any `AutoModelForImageTextToText` whose layers take hidden states, positions and a mask.

    `processor` is the family's own, where it can be loaded; without one, pictures go through the
    image processor alone and the model itself says how many tokens each becomes.
    """

    family = "generic"
    model_types = ()

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        image_processor: Any,
        processor: Any = None,
    ) -> None:
        super().__init__(model, tokenizer, image_processor)
        self.processor = processor
        self._takes = set(inspect.signature(type(model).forward).parameters)
        self.recorder = Recorder(model, self.decoder)

    def on(self, model: PreTrainedModel) -> GenericAdapter:
        """The same on another model of its class, with the same processor."""
        return GenericAdapter(model, self.tokenizer, self.image_processor, self.processor)

    # --- finding the parts

    def find_decoder(self) -> Any:
        """The first module with `layers`, `norm` and `rotary_emb` that the model names."""
        model = self.model
        candidates = [model.get_decoder()]
        for name, module in model.named_modules():
            if name.rsplit(".", 1)[-1] in ("language_model", "text_model", "model"):
                candidates.append(module)
        for found in candidates:
            if all(hasattr(found, part) for part in ("layers", "norm", "rotary_emb")):
                return found
        raise UnsupportedError(
            f"{type(model).__name__} has no decoder with layers, norm and rotary_emb, so the "
            "generic adapter cannot drive it; it needs an adapter of its own "
            "(docs/tutorials/plug-in-a-vlm.md)"
        )

    @property
    def visual_token_ids(self) -> tuple[int, ...]:
        """The placeholder tokens that the configuration names."""
        config = self.model.config
        found = [getattr(config, name, None) for name in TOKEN_NAMES]
        ids = tuple(dict.fromkeys(int(token) for token in found if token is not None))
        if not ids:
            raise UnsupportedError(
                f"the configuration of {type(self.model).__name__} names no image token "
                f"({', '.join(TOKEN_NAMES)}), so visual tokens cannot be told from text"
            )
        return ids

    @property
    def image_token_id(self) -> int:
        """The first of them."""
        return self.visual_token_ids[0]

    def placeholder(self, item: Picture | Video) -> str:
        """The processor's word for a picture, else the image token."""
        found = getattr(self.processor, "image_token", None)
        return str(getattr(found, "content", found)) if found else super().placeholder(item)

    def opening(self, items: Sequence[Picture | Video]) -> str:
        """Each picture between the start and end tokens that the configuration names, if any."""
        config = self.model.config
        for start, end in FRAMES:
            first, last = getattr(config, start, None), getattr(config, end, None)
            if first is not None and last is not None:
                before, after = self.token(int(first)), self.token(int(last))
                return "".join(f"{before}{self.placeholder(item)}{after}" for item in items)
        return super().opening(items)

    # --- inputs

    def encode(
        self, visuals: Sequence[Visual], prompts: Sequence[str]
    ) -> tuple[list[list[int]], dict[str, Tensor]]:
        """By the family's processor if there is one."""
        if self.processor is None:
            return super().encode(visuals, prompts)
        rows = [shown(v) for v in visuals]
        if any(isinstance(item, Video) for row in rows for item in row):
            raise UnsupportedError("the generic adapter takes pictures, but got a video")
        texts = [self._placed(row, p)[0] for row, p in zip(rows, prompts, strict=True)]
        found = self._processed(texts, rows)
        ids, mask = found["input_ids"], found["attention_mask"].bool()
        vision = {
            k: v
            for k, v in found.items()
            if isinstance(v, Tensor) and k in self._takes and v.shape != ids.shape
        }
        return [row[kept].tolist() for row, kept in zip(ids, mask, strict=True)], {
            k: v.to(self.model.dtype) if v.is_floating_point() else v for k, v in vision.items()
        }

    def _processed(self, texts: list[str], rows: list[list[Picture]]) -> Mapping[str, Any]:
        """The processor's output; some take a list of pictures per prompt, some one list of all."""
        options = {"text": texts, "return_tensors": "pt", "padding": True}
        flat = [item for row in rows for item in row]
        if not flat:
            return dict(self.processor(**options))
        try:
            return dict(self.processor(images=rows, **options))
        except (ValueError, TypeError):
            return dict(self.processor(images=flat, **options))

    def process(self, items: Sequence[Picture | Video], counts: Sequence[int]) -> Processed:
        """Without a processor: as many tokens as the model makes features of each picture."""
        if not items:
            return Processed({}, [])
        token = self.token(self.image_token_id)
        texts = [token * self._features(self._pixels([item])) for item in items]
        return Processed(self._pixels(items), texts)

    def _pixels(self, items: Sequence[Picture]) -> dict[str, Tensor]:
        found = self.image_processor(images=list(items), return_tensors="pt")
        return {k: torch.as_tensor(v) for k, v in found.items() if k in self._takes}

    def _features(self, tensors: Mapping[str, Tensor]) -> int:
        """How many features the model makes of one picture, all its tiles together."""
        takes = inspect.signature(self.model.get_image_features).parameters
        given = {
            k: v.to(self.model.device, self.model.dtype if v.is_floating_point() else None)
            for k, v in tensors.items()
            if k in takes
        }
        with torch.no_grad():
            features = self.model.get_image_features(**given).pooler_output
        return sum(len(part) for part in features)

    def token_inputs(self, tokens: Tensor) -> dict[str, Tensor]:
        """`mm_token_type_ids` for families that count positions from them."""
        if "mm_token_type_ids" not in self._takes:
            return {}
        video = getattr(self.model.config, "video_token_id", None)
        kinds = torch.isin(tokens, tokens.new_tensor(self.visual_token_ids)).long()
        return {"mm_token_type_ids": torch.where(tokens == video, 2, kinds) if video else kinds}

    # --- the decoder

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Padding is not counted; None where the family counts by itself (M-RoPE)."""
        if "position_ids" not in self._takes or "mm_token_type_ids" in self._takes:
            return None
        return super().positions(inputs)

    def prefill(self, inputs: Mapping[str, Tensor], prompt_end: Tensor | None = None) -> Prefill:
        """What the family's own forward pass gives its first decoder layer."""
        self.require_window(inputs["attention_mask"].bool())
        given = {k: v for k, v in inputs.items() if k in self._takes}
        short = {"logits_to_keep": 1} if "logits_to_keep" in self._takes else {}
        positions = self.positions(inputs)
        at = {} if positions is None else {"position_ids": positions}
        entry = self.recorder.entry(**given, **at, **short, use_cache=False)
        ids, valid = inputs["input_ids"], inputs["attention_mask"].bool()
        return Prefill(
            entry.hidden, entry.rotary, self.visual_mask(ids), valid,
            last_token(valid, prompt_end),
        )  # fmt: skip

    def head(self, hidden: Tensor) -> Tensor:
        """Everything that the family does behind its last layer: [..., hidden] to logits."""
        flat = hidden.reshape(-1, 1, hidden.shape[-1])
        logits: Tensor = self.recorder.root(inputs_embeds=flat, use_cache=False).logits
        return logits.view(*hidden.shape[:-1], -1)
