"""The adapter contract: one VLM family seen as prefill + decoder layers + head.

A new family is one file with one subclass and one registry line. It must say how pictures become
tokens (`process`); the other methods have defaults that suit decoders of the Llama shape. Code that
is the same for all families is functions that take an adapter, in `model_access`, `vision_encoder`,
`prompts` and `token_geometry`.

An adapter never changes the model it wraps and patches no class.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from torch import Tensor
from transformers import BatchFeature, PreTrainedModel

from paretoprune.adapters.model_access import (
    CACHE,
    Rotary,
    decoder_spec,
    embed,
    find_decoder,
    last_token,
    rotary_tables,
    rotated,
)
from paretoprune.adapters.prompts import configured_tokens, encode, padded, visual_mask
from paretoprune.adapters.refusals import (
    refuse_attention,
    refuse_decoder,
    refuse_model,
    require_window,
    window_of,
)
from paretoprune.adapters.token_geometry import PICTURE, TokenBoxes, View, around, picture_runs
from paretoprune.adapters.vision_encoder import class_query, visual_features
from paretoprune.errors import UnsupportedError
from paretoprune.tasks.base import Picture, Video, Visual


@dataclass(frozen=True)
class Prefill:
    """The decoder's input of a batch of B sequences of T tokens.

    `hidden` float [B, T, hidden]; `rotary` cosines and sines, each [B, T, head_dim], at the
    original positions; `visual` and `valid` bool [B, T] (visual tokens; tokens that are no
    padding); `prompt_end` int64 [B], index of the last prompt token, where answers begin to be
    predicted and which asks for visual tokens. `extras` hold [B, T, c] each: the number of each
    token's picture, and, 0 at text, what a pruner that needs it was given of the vision encoder
    (`adapters.extras.prefill_for`).
    """

    hidden: Tensor
    rotary: Rotary
    visual: Tensor
    valid: Tensor
    prompt_end: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def rows(self, index: slice | Tensor) -> Prefill:
        """The same for some of the batch."""
        cos, sin = self.rotary
        return Prefill(
            self.hidden[index], (cos[index], sin[index]), self.visual[index], self.valid[index],
            self.prompt_end[index], {name: value[index] for name, value in self.extras.items()},
        )  # fmt: skip


@dataclass(frozen=True)
class Processed:
    """Pictures and videos as a family's vision encoder takes them.

    `tensors` are arguments of `model.forward`; `texts` say what stands in the prompt for each item,
    placeholder tokens expanded.
    """

    tensors: dict[str, Tensor]
    texts: list[str]


class Adapter(ABC):
    """One model of one family, with its tokenizer and image processor.

    The latter two may be None where inputs are made elsewhere. With the family's own `processor`,
    prompts are encoded by it, and `process` is not asked.
    """

    family: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    """`config.model_type` values that this adapter takes."""
    takes_videos: ClassVar[bool] = False
    token_names: ClassVar[tuple[str, ...]] = ("image_token_id", "image_token_index")
    """Names in the configuration of the tokens that visual features replace; videos' last."""
    decoder_path: ClassVar[str] = ""
    """Where in the model its decoder is, if it is not found by itself."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, image_processor: Any, processor: Any = None
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.processor = processor
        self.forward_arguments = frozenset(inspect.signature(type(model).forward).parameters)
        refuse_model(type(model), model.config)
        self.decoder = find_decoder(model, self.decoder_path)
        refuse_decoder(model, self.decoder)
        if type(self).attention_states is Adapter.attention_states:
            refuse_attention(model, self.decoder)
        self.window = window_of(self.decoder)
        query, key = class_query(self)
        self.spec = replace(decoder_spec(self.decoder), class_query=query, class_key=key)
        self.visual_token_ids = configured_tokens(model, self.token_names)
        self.note: str | None = None
        """A remark for the user on how inputs are made; None if there is none."""

    # --- prompts

    @abstractmethod
    def process(self, items: Sequence[Picture | Video], counts: Sequence[int]) -> Processed:
        """Run the image processor on all pictures and videos of a batch, in order.

        `counts[i]` of them belong to prompt i.
        """

    def inputs(
        self, visuals: Sequence[Visual], prompts: Sequence[str], *, padding_side: str = "left"
    ) -> BatchFeature:
        """Arguments of `model.forward` and `model.generate`."""
        return padded(self, *encode(self, visuals, prompts), padding_side)[0]

    # --- model access

    def prefill(self, inputs: Mapping[str, Tensor], prompt_end: Tensor | None = None) -> Prefill:
        """Embed text and visual features in prompt order; `prompt_end` is the last token."""
        ids, valid = inputs["input_ids"], inputs["attention_mask"].bool()
        require_window(self, valid)
        visual = visual_mask(self, ids)
        hidden = embed(self, ids)
        features = visual_features(self, inputs)
        if features is not None:
            hidden = hidden.masked_scatter(visual[..., None], features.to(hidden.dtype))
        positions = self.positions(inputs)
        if positions is None:
            raise UnsupportedError(f"adapter {self.family!r} must define positions or prefill")
        rotary = rotary_tables(self, hidden, positions)
        extras = {PICTURE: self.pictures(inputs, visual)[..., None]}
        return Prefill(hidden, rotary, visual, valid, last_token(valid, prompt_end), extras)

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Positions that `rotary_emb` takes: int64 [B, T], or [3, B, T] for M-RoPE.

        None in an adapter that leaves counting to the model.
        """
        return (inputs["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)

    def run_layer(
        self,
        index: int,
        hidden: Tensor,
        rotary: Rotary,
        mask: Tensor | None,
        cache: Any = None,
    ) -> Tensor:
        """One decoder layer, [B, T, hidden] to [B, T, hidden].

        `cache` is a transformers cache or anything with its `update(keys, values, layer)`.
        """
        out = self.decoder.layers[index](
            hidden, attention_mask=mask, position_embeddings=rotary, **{CACHE: cache}
        )
        result: Tensor = out[0] if isinstance(out, tuple) else out
        return result

    def attention_states(
        self, kind: Literal["queries", "keys"], index: int, hidden: Tensor, rotary: Rotary
    ) -> Tensor:
        """Rotated queries or keys of layer `index` for tokens entering it: [B, heads, T, head_dim].

        `hidden` [B, T, hidden]; `rotary` their cosines and sines. Keys have `spec.kv_heads` heads.
        """
        layer = self.decoder.layers[index]
        attention = layer.self_attn
        letter, heads = ("q", self.spec.heads) if kind == "queries" else ("k", self.spec.kv_heads)
        states = getattr(attention, f"{letter}_proj")(layer.input_layernorm(hidden))
        states = states.view(*hidden.shape[:2], heads, self.spec.head_dim)
        if hasattr(attention, f"{letter}_norm"):
            states = getattr(attention, f"{letter}_norm")(states)
        return rotated(attention, states.transpose(1, 2), rotary)

    def head(self, hidden: Tensor) -> Tensor:
        """Final norm and output embedding: [..., hidden] to [..., vocabulary]."""
        logits: Tensor = self.model.get_output_embeddings()(self.decoder.norm(hidden))
        return logits

    # --- vision-encoder access, for pruners that rank by the class token

    def class_token_layer(self) -> Any:
        """The encoder's layer that makes the decoder's features, None without a class token."""
        return None

    def laid_out(self, patches: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Values of the encoder's tokens, float [pictures, tokens, c], as visual tokens [N, c]."""
        raise NotImplementedError(f"adapter {self.family!r} has a class_token_layer, no laid_out")

    # --- token geometry

    def pictures(self, inputs: Mapping[str, Any], visual: Tensor) -> Tensor:
        """Index of each token's picture in its prompt: int64 [B, T], from 0; -1 at text.

        `inputs` are arguments of `model.forward`, `visual` bool [B, T] its visual tokens. A video
        counts as one. By default a run of visual tokens of one kind is a picture; so a family that
        puts text between tiles or frames has more of them.
        """
        kinds = inputs.get("mm_token_type_ids")
        same = kinds is not None and kinds.shape == visual.shape
        return picture_runs(visual, kinds if same else None)

    def grid(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """TokenBoxes of the batch's visual tokens: float [visual tokens, 3], in order.

        Picture (or tile) number, row and column; the latter are centres of cells, in 0..1.
        """
        raise UnsupportedError(
            f"adapter {self.family!r} does not say where in the picture its visual tokens stand, "
            "which this pruner needs; choose another, such as 'fastv'"
        )

    def token_boxes(
        self, items: Sequence[Picture | Video], inputs: Mapping[str, Tensor]
    ) -> TokenBoxes:
        """Where the visual tokens of one prompt stand in the pictures `items` that it shows.

        `inputs` are those of this prompt alone. By default from `grid`, where every picture is one
        grid; families that cut pictures into tiles, crop or pad them say more.
        """
        grid = self.grid(inputs).double().cpu().numpy()
        numbers = np.unique(grid[:, 0])
        if len(numbers) != len(items) or any(isinstance(item, Video) for item in items):
            raise UnsupportedError(
                f"adapter {self.family!r} does not say where its tiles or frames stand in the "
                "picture; it must define token_boxes"
            )
        parts = [
            (View(item), around(*grid[grid[:, 0] == number, 1:].T))
            for item, number in enumerate(numbers)
        ]
        return TokenBoxes.of(parts)


Family = TypeVar("Family", bound=Adapter)


def on_model(adapter: Family, model: PreTrainedModel) -> Family:
    """The same adapter on another model of its class, such as a view of its own."""
    return type(adapter)(model, adapter.tokenizer, adapter.image_processor, adapter.processor)
