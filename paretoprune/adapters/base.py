"""The adapter contract: one VLM family seen as prefill + decoder layers + head.

A new family is one file with one subclass and one registry line. Most override `prefill` only;
the defaults suit every decoder of the Llama shape (`layers`, `norm`, `rotary_emb`, separate query
and key projections), which Qwen2, Mistral and InternVL's decoders share.

An adapter never changes the model it wraps and patches no class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import BatchFeature, PreTrainedModel, PreTrainedTokenizerBase
from transformers.masking_utils import create_causal_mask

from paretoprune.cost import DecoderSpec
from paretoprune.errors import InvalidValueError, UnsupportedError

Rotary = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Prefill:
    """The decoder's input of a batch of B sequences of T tokens.

    `hidden` float [B, T, hidden]; `positions` int64 [B, T] (or [3, B, T] for M-RoPE); `visual` and
    `valid` bool [B, T] (visual tokens; tokens that are no padding); `prompt_end` int64 [B], index
    of the last prompt token, where answers begin to be predicted and which asks for visual tokens.
    """

    hidden: Tensor
    positions: Tensor
    visual: Tensor
    valid: Tensor
    prompt_end: Tensor

    def rows(self, index: slice | Tensor) -> Prefill:
        """The same for some of the batch."""
        positions = self.positions[..., index, :]
        return Prefill(
            self.hidden[index], positions, self.visual[index], self.valid[index],
            self.prompt_end[index],
        )  # fmt: skip


class Adapter(ABC):
    """One model of one family, with its image processor and tokenizer."""

    family: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    """`config.model_type` values that this adapter takes."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, image_processor: Any
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.decoder = self.find_decoder()
        self.spec = decoder_spec(self.decoder.config)

    # --- what a family says of itself

    @abstractmethod
    def encode(
        self, images: Sequence[Any], prompts: Sequence[str]
    ) -> tuple[list[list[int]], dict[str, Tensor]]:
        """Token ids of each prompt, image placeholders expanded, and the vision tower's tensors.

        `images` are PIL pictures or uint8 arrays [height, width, 3].
        """

    @abstractmethod
    def prefill(self, inputs: Mapping[str, Tensor], prompt_end: Tensor | None = None) -> Prefill:
        """Run vision tower and projector, and merge; `prompt_end`: the last valid token."""

    # --- joined inputs

    def inputs(
        self, images: Sequence[Any], prompts: Sequence[str], *, padding_side: str = "left"
    ) -> BatchFeature:
        """What `model.forward` and `model.generate` take."""
        ids, vision = self.encode(images, prompts)
        return self._pad(ids, vision, padding_side)[0]

    def teacher_forced(
        self,
        images: Sequence[Any],
        prompts: Sequence[str],
        answers: Sequence[str],
        *,
        padding_side: str = "right",
    ) -> tuple[BatchFeature, Tensor, Tensor]:
        """Prompts with their answers appended, for scoring in one forward pass.

        Returns the inputs, `prompt_end` int64 [B] (index of the last prompt token) and `labels`
        int64 [B, A]: answer tokens and the end of sequence, -100 behind shorter ones. Label i is
        predicted at token `prompt_end + i`.
        """
        ids, vision = self.encode(images, prompts)
        eos = self.tokenizer.eos_token_id
        said = [self.tokenizer(a, add_special_tokens=False)["input_ids"] for a in answers]
        joined = [p + a for p, a in zip(ids, said, strict=True)]
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
        inputs = BatchFeature({"input_ids": tokens, "attention_mask": mask, **vision})
        return inputs.to(self.model.device), start.to(self.model.device)

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
        return cos, sin

    def causal_mask(self, hidden: Tensor, valid: Tensor | None) -> Tensor | None:
        """The mask that the model's attention backend wants; `valid` None means no padding.

        Index order is causal order also after pruning, because kept tokens stay in order.
        """
        mask: Tensor | None = create_causal_mask(
            config=self.decoder.config,
            inputs_embeds=hidden,
            attention_mask=valid,
            past_key_values=None,
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
            hidden, attention_mask=mask, position_embeddings=rotary, past_key_values=cache
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
        d = self.spec.head_dim
        q = attention.q_proj(layer.input_layernorm(hidden)).view(len(hidden), self.spec.heads, d)
        if hasattr(attention, "q_norm"):
            q = attention.q_norm(q)
        cos, sin = rotary
        q = _rotate(q, cos[:, None], sin[:, None])
        q = q.view(len(hidden), self.spec.kv_heads, -1, d)
        logits = torch.matmul(q, keys.transpose(2, 3)) * d**-0.5
        return torch.flatten(logits, 1, 2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in the half-split layout of Llama; `cos` and `sin` broadcast to `x`."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def decoder_spec(config: Any) -> DecoderSpec:
    """Dimensions for the cost model from a transformers text configuration."""
    heads = config.num_attention_heads
    return DecoderSpec(
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        mlp=config.intermediate_size,
    )
