"""Model access: the parts of a decoder, its rotary tables, masks, attention and caches.

The functions suit every decoder of the Llama shape (`layers`, `norm`, `rotary_emb`), which Qwen2,
Mistral and InternVL's decoders share. None of them changes the model.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast

from paretoprune.cost import DecoderSpec
from paretoprune.errors import UnsupportedError

if TYPE_CHECKING:
    from paretoprune.adapters.base import Adapter

Rotary: TypeAlias = tuple[Tensor, Tensor]
"""Cosines and sines, each [B, T, head_dim]."""

NEW, OLD = "cache", "past_key_values"
"""Names of the cache that models take and return: transformers renamed it in 5.24."""
CACHE = NEW if NEW in {field.name for field in fields(BaseModelOutputWithPast)} else OLD
"""The keyword of `forward` and the field of outputs in the transformers that is installed."""

PARTS = ("layers", "norm", "rotary_emb")
DECODER_NAMES = ("language_model", "text_model", "model")


def find_decoder(model: Any, path: str = "") -> Any:
    """The module with `layers`, `norm` and `rotary_emb`, at `path` or the first that a model names.

    Raises `UnsupportedError` where there is none.
    """
    if path:
        candidates = [model.get_submodule(path)]
    else:
        named = [m for n, m in model.named_modules() if n.rsplit(".", 1)[-1] in DECODER_NAMES]
        candidates = [model.get_decoder(), *named]
    for module in candidates:
        if all(hasattr(module, part) for part in PARTS):
            return module
    missing = [part for part in PARTS if not hasattr(candidates[0], part)]
    raise UnsupportedError(
        f"{type(model).__name__} has no decoder with layers, norm and rotary_emb: its "
        f"{type(candidates[0]).__name__} has no {', '.join(missing)}; write an adapter that says "
        "where they are (decoder_path; docs/tutorials/plug-in-a-vlm.md)"
    )


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


def last_token(valid: Tensor, prompt_end: Tensor | None = None) -> Tensor:
    """Index of each row's last token that is no padding, int64 [B], unless it is given."""
    if prompt_end is not None:
        return prompt_end
    return (torch.arange(valid.shape[1], device=valid.device) * valid).argmax(-1)


def embed(adapter: Adapter, ids: Tensor) -> Tensor:
    """Text tokens int64 [B, T] as they enter the decoder: float [B, T, hidden]."""
    hidden: Tensor = adapter.model.get_input_embeddings()(ids)
    return hidden


def position_arguments(adapter: Adapter, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`position_ids` for `model.forward` that do not count padding; none where it counts itself."""
    positions = adapter.positions(inputs)
    return {} if positions is None else {"position_ids": positions}


def rotary_tables(adapter: Adapter, hidden: Tensor, positions: Tensor) -> Rotary:
    """Cosines and sines, each [B, T, head_dim], at positions int64 [B, T] (M-RoPE: [3, B, T])."""
    cos, sin = adapter.decoder.rotary_emb(hidden, positions)
    batch = len(hidden)
    return cos.expand(batch, -1, -1), sin.expand(batch, -1, -1)


def causal_mask(
    adapter: Adapter, hidden: Tensor, valid: Tensor | None, held: int = 0
) -> Tensor | None:
    """The mask that the model's attention backend wants, for T new tokens [B, T, hidden].

    `held` keys come before them in a cache; `valid` bool [B, held + T] marks what is no padding
    (None: everything). Index order is causal order also after pruning, because kept tokens stay in
    order.
    """
    mask: Tensor | None = create_causal_mask(
        config=adapter.decoder.config,
        inputs_embeds=hidden,
        attention_mask=valid,
        **{CACHE: _CacheLength(held) if held else None},
    )
    return mask


def rotated(attention: Any, states: Tensor, rotary: Rotary) -> Tensor:
    """Queries or keys [B, heads, T, head_dim] at their positions, by the family's own function."""
    apply = getattr(sys.modules[type(attention).__module__], "apply_rotary_pos_emb", None)
    if apply is None:
        raise UnsupportedError(
            f"the module of {type(attention).__name__} has no apply_rotary_pos_emb; its adapter "
            "must define attention_states"
        )
    turned: Tensor = apply(states, states, *rotary)[0]
    return turned


def attention_logits(
    adapter: Adapter, index: int, hidden: Tensor, rotary: Rotary, keys: Tensor
) -> Tensor:
    """Attention logits of Q query tokens per sample in layer `index`: float [B, heads, Q, T].

    `hidden` [B, Q, hidden] are those tokens entering the layer, `rotary` theirs, and `keys`
    [B, kv_heads, T, head_dim] the layer's rotated keys. Only the asked queries are projected.
    """
    spec = adapter.spec
    queries = adapter.attention_states("queries", index, hidden, rotary)
    grouped = queries.reshape(len(hidden), spec.kv_heads, -1, spec.head_dim)
    attention = getattr(adapter.decoder.layers[index], "self_attn", None)
    scaling = getattr(attention, "scaling", spec.head_dim**-0.5)
    logits: Tensor = torch.matmul(grouped, keys.transpose(2, 3)) * scaling
    return logits.reshape(len(hidden), spec.heads, hidden.shape[1], -1)


def mlp_input(
    adapter: Adapter, index: int, hidden: Tensor, rotary: Rotary, mask: Tensor | None
) -> Tensor:
    """Input of the MLP in layer `index`: attention added and normalised, [B, T, hidden].

    Arguments as in `Adapter.run_layer`; the attention runs by the model's own backend. Raises
    `UnsupportedError` for a layer that has no norm between attention and MLP.
    """
    layer = adapter.decoder.layers[index]
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


class RecordingCache:
    """Stands where a cache would, and records a layer's new keys and values, already rotated.

    Attention gets back the new ones; with a cache `behind` it, all that this one holds.
    """

    def __init__(self, behind: Any = None) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self._behind = behind

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *args: object, **further: object
    ) -> tuple[Tensor, Tensor]:
        """Take keys and values from attention, each [B, kv_heads, T, head_dim]."""
        self.keys, self.values = keys, values
        if self._behind is None:
            return keys, values
        every: tuple[Tensor, Tensor] = self._behind.update(keys, values, layer, *args, **further)
        return every


class _CacheLength:
    """The part of a transformers cache that masks are made from."""

    def __init__(self, length: int) -> None:
        self.length = length

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return self.length

    get_seq_length = get_query_offset

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.length + query_length, 0
