"""The adapter contract: one VLM family seen as prefill + decoder layers + head.

A new family is one file with one subclass and one registry line. It says what differs: which tokens
stand for pictures (`process`), and, where the defaults do not fit, how features are computed
(`visual_features`) and where tokens are (`positions`). The defaults suit every decoder of the Llama
shape (`layers`, `norm`, `rotary_emb`), which Qwen2, Mistral and InternVL's decoders share.

An adapter never changes the model it wraps and patches no class.
"""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, PreTrainedModel
from transformers.masking_utils import create_causal_mask

from paretoprune.adapters.cache_argument import CACHE
from paretoprune.adapters.grid import PICTURE, picture_runs
from paretoprune.adapters.kinds import refuse_attention, refuse_decoder, refuse_model, window_of
from paretoprune.adapters.places import Places, View, around
from paretoprune.cost import DecoderSpec
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.tasks.base import Picture, Video, Visual, shown

Rotary = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Prefill:
    """The decoder's input of a batch of B sequences of T tokens.

    `hidden` float [B, T, hidden]; `rotary` cosines and sines, each [B, T, head_dim], at the
    original positions; `visual` and `valid` bool [B, T] (visual tokens; tokens that are no
    padding); `prompt_end` int64 [B], index of the last prompt token, where answers begin to be
    predicted and which asks for visual tokens. `extras` hold [B, T, c] each: the number of each
    token's picture, and, 0 at text, what a pruner that needs it was given of the vision tower
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
    """Pictures and videos as a family's vision tower takes them.

    `tensors` are arguments of `model.forward`; `texts` say what stands in the prompt for each item,
    placeholder tokens expanded.
    """

    tensors: dict[str, Tensor]
    texts: list[str]


class Adapter(ABC):
    """One model of one family, with its tokenizer and image processor.

    The latter two may be None where inputs are made elsewhere.
    """

    family: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    """`config.model_type` values that this adapter takes."""
    takes_videos: ClassVar[bool] = False

    def __init__(self, model: PreTrainedModel, tokenizer: Any, image_processor: Any) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        refuse_model(type(model), model.config)
        self.decoder = self.find_decoder()
        refuse_decoder(model, self.decoder)
        if type(self).query_logits is Adapter.query_logits:
            refuse_attention(model, self.decoder)
        self.window = window_of(self.decoder)
        query, key = self.class_query()
        self.spec = replace(decoder_spec(self.decoder), class_query=query, class_key=key)
        self.note: str | None = None
        """What the user should know of how inputs are made; None if all is as usual."""

    def require_window(self, valid: Tensor, ahead: int = 0) -> None:
        """Raise `UnsupportedError` for sequences that a sliding window would cut.

        `valid` bool [B, T] marks what is no padding; `ahead` tokens are to follow. Up to the
        window's length every token attends to every earlier one, and dropping is exact; behind it
        the pruned decoder, which does not count dropped tokens, would attend to other places than
        the model.
        """
        if self.window is None:
            return
        index = torch.arange(valid.shape[1], device=valid.device)
        first = torch.where(valid, index, valid.shape[1]).amin(1)
        longest = int((torch.where(valid, index, -1).amax(1) - first).max()) + 1
        self.require_length(longest + ahead)

    def require_length(self, longest: int) -> None:
        """Raise `UnsupportedError` for a sequence of so many tokens that a window would cut."""
        if self.window is not None and longest > self.window:
            raise UnsupportedError(
                f"a sequence of {longest} tokens is longer than the sliding window of "
                f"{type(self.model).__name__}, {self.window} places, and a pruned decoder does not "
                "count the places of dropped tokens; make prompt, pictures and answer shorter"
            )

    def on(self, model: PreTrainedModel) -> Adapter:
        """The same adapter on another model of its class, such as a view of this one."""
        return type(self)(model, self.tokenizer, self.image_processor)

    # --- what a family says of itself

    @abstractmethod
    def process(self, items: Sequence[Picture | Video], counts: Sequence[int]) -> Processed:
        """Run the image processor on all pictures and videos of a batch, in order.

        `counts[i]` of them belong to prompt i.
        """

    def visual_features(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Vision tower and projector: float [visual tokens of the batch, hidden], in order."""
        if "pixel_values" not in inputs:
            return None
        features = self.model.get_image_features(inputs["pixel_values"]).pooler_output
        return torch.cat(list(features))

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Positions that `rotary_emb` takes: int64 [B, T], or [3, B, T] for M-RoPE.

        None in an adapter that leaves counting to the model.
        """
        return (inputs["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)

    def token_inputs(self, tokens: Tensor) -> dict[str, Tensor]:
        """Further arguments of `model.forward` that follow from the token ids [B, T]."""
        return {}

    @property
    def image_token_id(self) -> int:
        """The token that stands for one visual token of a picture."""
        config = self.model.config
        for name in ("image_token_id", "image_token_index"):
            found = getattr(config, name, None)
            if found is not None:
                return int(found)
        raise UnsupportedError(
            f"the configuration of {type(self.model).__name__} has neither image_token_id nor "
            f"image_token_index; adapter {self.family!r} must define image_token_id"
        )

    @property
    def visual_token_ids(self) -> tuple[int, ...]:
        """Tokens whose places visual features take."""
        return (self.image_token_id,)

    def placeholder(self, item: Picture | Video) -> str:
        """What stands for this picture or video in an unexpanded prompt."""
        return self.token(self.image_token_id)

    def opening(self, items: Sequence[Picture | Video]) -> str:
        """What is put before a prompt that names no picture and is not in a chat template."""
        return "".join(self.placeholder(item) for item in items)

    def token(self, token_id: int) -> str:
        """The text of one token."""
        return str(self.tokenizer.convert_ids_to_tokens(token_id))

    # --- joined inputs

    def encode(
        self, visuals: Sequence[Visual], prompts: Sequence[str]
    ) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Token ids of each prompt, placeholders expanded, and the vision tower's tensors.

        A prompt without placeholders is put into the tokenizer's chat template, if there is one,
        with everything it shows in front; else `opening` goes before it.
        """
        if len(visuals) != len(prompts):
            raise InvalidValueError(
                f"one picture (or list of pictures) per prompt is needed, got {len(visuals)} and "
                f"{len(prompts)} prompts"
            )
        rows = [shown(v) for v in visuals]
        items = [item for row in rows for item in row]
        if not self.takes_videos and any(isinstance(item, Video) for item in items):
            raise UnsupportedError(f"adapter {self.family!r} takes pictures, but got a video")
        processed = self.process(items, [len(row) for row in rows])
        texts = iter(processed.texts)
        ids = []
        for row, prompt in zip(rows, prompts, strict=True):
            text, special = self._placed(row, prompt)
            pattern = "|".join(sorted({re.escape(self.placeholder(x)) for x in row}))
            text = re.sub(pattern, lambda _: next(texts), text) if row else text
            ids.append(self.tokenizer(text, add_special_tokens=special)["input_ids"])
        return ids, {
            k: v.to(self.model.dtype) if v.is_floating_point() else v
            for k, v in processed.tensors.items()
        }

    def _placed(self, row: Sequence[Picture | Video], prompt: str) -> tuple[str, bool]:
        """The prompt with a placeholder per item, and whether it still needs special tokens."""
        wanted = [self.placeholder(item) for item in row]
        if not wanted:
            return prompt, True
        found = re.findall("|".join(re.escape(p) for p in sorted(set(wanted))), prompt)
        if found == wanted:
            return prompt, True
        if found:
            raise InvalidValueError(
                f"the prompt {prompt[:60]!r} has {len(found)} placeholder(s) for "
                f"{len(wanted)} picture(s) or video(s); it needs one each, in order, or none"
            )
        if getattr(self.tokenizer, "chat_template", None):
            kinds = ["video" if isinstance(item, Video) else "image" for item in row]
            content = [*({"type": k} for k in kinds), {"type": "text", "text": prompt}]
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
            if all(text.count(p) == wanted.count(p) for p in wanted):
                return text, False
        return f"{self.opening(row)}\n{prompt}", True

    def inputs(
        self, visuals: Sequence[Visual], prompts: Sequence[str], *, padding_side: str = "left"
    ) -> BatchFeature:
        """What `model.forward` and `model.generate` take."""
        ids, vision = self.encode(visuals, prompts)
        return self._pad(ids, vision, padding_side)[0]

    def teacher_forced(
        self,
        visuals: Sequence[Visual],
        prompts: Sequence[str],
        answers: Sequence[str],
        *,
        padding_side: str = "right",
        room: int = 0,
    ) -> tuple[BatchFeature, Tensor, Tensor]:
        """Prompts with their answers appended, for scoring in one forward pass.

        Returns the inputs, `prompt_end` int64 [B] (index of the last prompt token) and `labels`
        int64 [B, A]: answer tokens and the end of sequence, -100 behind shorter ones. Label i is
        predicted at token `prompt_end + i`. Sequences have `room` for that many tokens behind the
        prompt, at least, filled with the end of sequence.
        """
        ids, vision = self.encode(visuals, prompts)
        eos = self.tokenizer.eos_token_id
        said = [self.tokenizer(a, add_special_tokens=False)["input_ids"] for a in answers]
        joined = [p + a + [eos] * (room - len(a)) for p, a in zip(ids, said, strict=True)]
        inputs, start = self._pad(joined, vision, padding_side)
        prompt_end = start + torch.tensor([len(p) - 1 for p in ids], device=start.device)
        longest = max(len(a) for a in said) + 1
        rows = [[*a, eos] + [-100] * (longest - len(a) - 1) for a in said]
        return inputs, prompt_end, torch.tensor(rows, device=start.device)

    def _pad(
        self, ids: list[list[int]], vision: dict[str, Tensor], side: str
    ) -> tuple[BatchFeature, Tensor]:
        """A padded batch and the index of each row's first token, int64 [B]."""
        if side not in ("left", "right"):
            raise InvalidValueError(f"padding side must be 'left' or 'right', got {side!r}")
        longest = max(len(row) for row in ids)
        pad = self.tokenizer.pad_token_id
        tokens = torch.full((len(ids), longest), 0 if pad is None else pad)
        mask = torch.zeros_like(tokens)
        start = torch.zeros(len(ids), dtype=torch.long)
        for i, row in enumerate(ids):
            start[i] = longest - len(row) if side == "left" else 0
            place = slice(int(start[i]), int(start[i]) + len(row))
            tokens[i, place] = torch.tensor(row)
            mask[i, place] = 1
        inputs = BatchFeature(
            {"input_ids": tokens, "attention_mask": mask, **self.token_inputs(tokens), **vision}
        )
        return inputs.to(self.model.device), start.to(self.model.device)

    # --- prefill

    def prefill(self, inputs: Mapping[str, Tensor], prompt_end: Tensor | None = None) -> Prefill:
        """Embed the text, put visual features in their places; `prompt_end`: the last token."""
        ids, valid = inputs["input_ids"], inputs["attention_mask"].bool()
        self.require_window(valid)
        visual = self.visual_mask(ids)
        hidden = self.embed(ids)
        features = self.visual_features(inputs)
        if features is not None:
            hidden = hidden.masked_scatter(visual[..., None], features.to(hidden.dtype))
        positions = self.positions(inputs)
        if positions is None:
            raise UnsupportedError(f"adapter {self.family!r} must define positions or prefill")
        rotary = self.rotary(hidden, positions)
        extras = {PICTURE: self.pictures(inputs, visual)[..., None]}
        return Prefill(hidden, rotary, visual, valid, last_token(valid, prompt_end), extras)

    def embed(self, ids: Tensor) -> Tensor:
        """What text tokens int64 [B, T] enter the decoder as, float [B, T, hidden]."""
        hidden: Tensor = self.model.get_input_embeddings()(ids)
        return hidden

    def visual_mask(self, ids: Tensor) -> Tensor:
        """Which of the tokens int64 [B, T] are visual: bool [B, T]."""
        return torch.isin(ids, ids.new_tensor(self.visual_token_ids))

    def pictures(self, inputs: Mapping[str, Any], visual: Tensor) -> Tensor:
        """Which picture of its prompt each token belongs to: int64 [B, T], from 0; -1 at text.

        `inputs` are arguments of `model.forward`, `visual` bool [B, T] its visual tokens. A video
        counts as one. By default a run of visual tokens is a picture; so a family that puts text
        between tiles or frames has more of them.
        """
        return picture_runs(visual)

    # --- what pruners may ask for beside hidden states

    def grid(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Places of the batch's visual tokens: float [visual tokens, 3], in order.

        Picture (or tile) number, row and column; the latter are centres of cells, in 0..1.
        """
        raise UnsupportedError(
            f"adapter {self.family!r} does not say where in the picture its visual tokens stand, "
            "which this pruner needs; choose another, such as 'fastv'"
        )

    def places(self, items: Sequence[Picture | Video], inputs: Mapping[str, Tensor]) -> Places:
        """Where the visual tokens of one prompt stand in the pictures `items` that it shows.

        `inputs` are those of this prompt alone. By default from `grid`, where every picture is one
        grid; families that cut pictures into tiles, crop or pad them say more.
        """
        grid = self.grid(inputs).double().cpu().numpy()
        numbers = np.unique(grid[:, 0])
        if len(numbers) != len(items) or any(isinstance(item, Video) for item in items):
            raise UnsupportedError(
                f"adapter {self.family!r} does not say where its tiles or frames stand in the "
                "picture; it must define places"
            )
        parts = [
            (View(item), around(*grid[grid[:, 0] == number, 1:].T))
            for item, number in enumerate(numbers)
        ]
        return Places.of(parts)

    def tower_layer(self) -> Any:
        """The layer of the vision tower that makes the features which the decoder is given."""
        raise UnsupportedError(
            f"the vision tower of {type(self.model).__name__} has no class token (or adapter "
            f"{self.family!r} does not know it), which this pruner ranks by; choose another, such "
            "as 'fastv'"
        )

    def laid_out(self, patches: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Values of the tower's tokens, float [pictures, tokens, c], as visual tokens [N, c]."""
        raise NotImplementedError(f"adapter {self.family!r} has a tower_layer but no laid_out")

    def class_query(self) -> tuple[float, int]:
        """FLOPs per visual token of asking the tower's class token, and the width of its keys.

        0 where it has none.
        """
        return 0.0, 0

    # --- defaults for decoders of the Llama shape

    def find_decoder(self) -> Any:
        """The module with `layers`, `norm` and `rotary_emb`."""
        decoder = self.model.get_decoder()
        missing = [name for name in ("layers", "norm", "rotary_emb") if not hasattr(decoder, name)]
        if missing:
            raise UnsupportedError(
                f"the decoder of {type(self.model).__name__} has no {', '.join(missing)}; "
                f"adapter {self.family!r} must say where its layers are"
            )
        return decoder

    @property
    def layers(self) -> Sequence[Any]:
        """Decoder layers in order."""
        layers: Sequence[Any] = self.decoder.layers
        return layers

    def rotary(self, hidden: Tensor, positions: Tensor) -> Rotary:
        """Cosines and sines, each [B, T, head_dim], at the original positions."""
        cos, sin = self.decoder.rotary_emb(hidden, positions)
        batch = len(hidden)
        return cos.expand(batch, -1, -1), sin.expand(batch, -1, -1)

    def causal_mask(self, hidden: Tensor, valid: Tensor | None, held: int = 0) -> Tensor | None:
        """The mask that the model's attention backend wants, for T new tokens [B, T, hidden].

        `held` keys come before them in a cache; `valid` bool [B, held + T] marks what is no padding
        (None: everything). Index order is causal order also after pruning, because kept tokens stay
        in order.
        """
        mask: Tensor | None = create_causal_mask(
            config=self.decoder.config,
            inputs_embeds=hidden,
            attention_mask=valid,
            **{CACHE: _Held(held) if held else None},
        )
        return mask

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
        out = self.layers[index](
            hidden, attention_mask=mask, position_embeddings=rotary, **{CACHE: cache}
        )
        result: Tensor = out[0] if isinstance(out, tuple) else out
        return result

    def head(self, hidden: Tensor) -> Tensor:
        """Final norm and output embedding: [..., hidden] to [..., vocabulary]."""
        logits: Tensor = self.model.get_output_embeddings()(self.decoder.norm(hidden))
        return logits

    def query_logits(self, index: int, hidden: Tensor, rotary: Rotary, keys: Tensor) -> Tensor:
        """Attention logits of one query token per sample in layer `index`: float [B, heads, T].

        `hidden` [B, hidden] is that token entering the layer, `rotary` its cosines and sines (each
        [B, head_dim]), `keys` [B, kv_heads, T, head_dim] the layer's rotated keys. Only the asked
        query is projected, and no [T, T] matrix arises.
        """
        layer = self.layers[index]
        attention = layer.self_attn
        heads, d = self.spec.heads, self.spec.head_dim
        q = attention.q_proj(layer.input_layernorm(hidden)).view(len(hidden), heads, 1, d)
        if hasattr(attention, "q_norm"):
            q = attention.q_norm(q)
        q = rotated(attention, q, (rotary[0][:, None], rotary[1][:, None]))
        q = q.view(len(hidden), self.spec.kv_heads, -1, d)
        logits = torch.matmul(q, keys.transpose(2, 3)) * getattr(attention, "scaling", d**-0.5)
        return torch.flatten(logits, 1, 2)

    def block_logits(self, index: int, hidden: Tensor, rotary: Rotary, keys: Tensor) -> Tensor:
        """Attention logits of Q query tokens per sample in layer `index`: [B, heads, Q, T].

        `query_logits` for several: `hidden` [B, Q, hidden], `rotary` [B, Q, head_dim] each.
        """
        layer = self.layers[index]
        attention = layer.self_attn
        batch, asked = hidden.shape[:2]
        heads, d = self.spec.heads, self.spec.head_dim
        q = attention.q_proj(layer.input_layernorm(hidden)).view(batch, asked, heads, d)
        if hasattr(attention, "q_norm"):
            q = attention.q_norm(q)
        q = rotated(attention, q.transpose(1, 2), rotary)
        q = q.reshape(batch, self.spec.kv_heads, -1, d)
        logits = torch.matmul(q, keys.transpose(2, 3)) * getattr(attention, "scaling", d**-0.5)
        split: Tensor = logits.reshape(batch, heads, asked, -1)
        return split

    def layer_keys(self, index: int, hidden: Tensor, rotary: Rotary) -> Tensor:
        """Rotated keys of layer `index` for tokens entering it: [B, kv_heads, T, head_dim].

        `hidden` [B, T, hidden]; `rotary` their cosines and sines, each [B, T, head_dim].
        """
        layer = self.layers[index]
        attention = layer.self_attn
        batch, length = hidden.shape[:2]
        shape = (batch, length, self.spec.kv_heads, self.spec.head_dim)
        keys = attention.k_proj(layer.input_layernorm(hidden)).view(shape)
        if hasattr(attention, "k_norm"):
            keys = attention.k_norm(keys)
        return rotated(attention, keys.transpose(1, 2), rotary)

    def attended(self, index: int, hidden: Tensor, rotary: Rotary, mask: Tensor | None) -> Tensor:
        """What layer `index` gives its MLP: attention added and normalised, [B, T, hidden].

        Arguments as in `run_layer`; the attention runs by the model's own backend. Raises
        `UnsupportedError` for a layer that has no norm between attention and MLP.
        """
        layer = self.layers[index]
        if not hasattr(layer, "post_attention_layernorm"):
            raise UnsupportedError(
                f"{type(layer).__name__} has no norm between attention and MLP, whose output this "
                "pruner compares tokens with; choose another, such as 'fastv'"
            )
        out = layer.self_attn(
            layer.input_layernorm(hidden), attention_mask=mask, position_embeddings=rotary
        )
        normed: Tensor = layer.post_attention_layernorm(hidden + out[0])
        return normed


class _Held:
    """The part of a transformers cache that masks are made from."""

    def __init__(self, length: int) -> None:
        self.length = length

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return self.length

    get_seq_length = get_query_offset

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.length + query_length, 0


def rotated(attention: Any, states: Tensor, rotary: Rotary) -> Tensor:
    """Queries or keys [B, heads, T, head_dim] at their positions, by the family's own function.

    `rotary` are cosines and sines, each [B, T, head_dim].
    """
    apply = getattr(sys.modules[type(attention).__module__], "apply_rotary_pos_emb", None)
    if apply is None:
        raise UnsupportedError(
            f"{type(attention).__name__} has no apply_rotary_pos_emb beside it; its adapter must "
            "define query_logits"
        )
    turned: Tensor = apply(states, states, *rotary)[0]
    return turned


def last_token(valid: Tensor, prompt_end: Tensor | None = None) -> Tensor:
    """Index of each row's last token that is no padding, int64 [B], unless it is given."""
    if prompt_end is not None:
        return prompt_end
    return (torch.arange(valid.shape[1], device=valid.device) * valid).argmax(-1)


def decoder_spec(decoder: Any) -> DecoderSpec:
    """Dimensions for the cost model from a transformers decoder and its configuration.

    Raises `UnsupportedError` for a configuration that does not have them as plain numbers.
    """
    config = decoder.config
    mlp = getattr(decoder.layers[0], "mlp", None)

    def dimension(name: str) -> int:
        try:
            return int(getattr(config, name))
        except (AttributeError, TypeError, ValueError) as error:
            raise UnsupportedError(
                f"the configuration of {type(decoder).__name__} does not say {name} as one number "
                "for all layers, which the cost model needs; choose a model that does"
            ) from error

    heads = dimension("num_attention_heads")
    hidden = dimension("hidden_size")
    spec = DecoderSpec(
        hidden=hidden,
        layers=dimension("num_hidden_layers"),
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or hidden // heads,
        mlp=dimension("intermediate_size"),
        gated=hasattr(mlp, "gate_proj") or hasattr(mlp, "gate_up_proj"),
    )
    if len(decoder.layers) < spec.layers:
        raise UnsupportedError(
            f"the configuration of {type(decoder).__name__} says num_hidden_layers {spec.layers}, "
            f"but {len(decoder.layers)} layers are there; make both the same"
        )
    return spec
