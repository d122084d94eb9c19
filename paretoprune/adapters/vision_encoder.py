"""Vision-encoder access: the features of pictures, and the attention of its class token.

The encoder runs once, as ever, with whatever attention backend it has. A hook on a *view* of the
model sees what enters one layer; that layer's keys, and the query of the class token alone, are
projected from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from paretoprune.adapters.prompts import visual_mask
from paretoprune.cost import class_attention_flops

if TYPE_CHECKING:
    from paretoprune.adapters.base import Adapter

ATTENTION = ("self_attn", "attention")
NORM = ("layer_norm1", "layernorm_before")
"""Names of the parts of a layer in CLIP's and InternVL's encoders."""


def visual_features(adapter: Adapter, inputs: Mapping[str, Tensor]) -> Tensor | None:
    """Features of all pictures and videos, float [visual tokens, hidden], as their tokens stand.

    The model's own `get_image_features` and `get_video_features` get the inputs that they name.
    None without pictures.
    """
    model: Any = adapter.model
    parts: list[Tensor] = []
    for name, method in (
        ("pixel_values", "get_image_features"),
        ("pixel_values_videos", "get_video_features"),
    ):
        if name in inputs:
            run = getattr(model, method)
            takes = inspect.signature(run).parameters
            features = run(**{key: inputs[key] for key in takes if key in inputs})
            parts.append(torch.cat(list(features.pooler_output)))
    if len(parts) < 2:
        return parts[0] if parts else None
    ids = inputs["input_ids"]
    tokens = ids[visual_mask(adapter, ids)]
    joined = parts[0].new_zeros(len(tokens), parts[0].shape[-1])
    for token, features in zip(adapter.visual_token_ids, parts, strict=True):
        joined[tokens == token] = features
    return joined


def class_attention(layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Head-mean attention of token 0, [pictures, tokens], and head-mean keys [.., tokens, d].

    `hidden` [pictures, tokens, width] enters the layer.
    """
    attention = _part(layer, ATTENTION)
    states = _part(layer, NORM)(hidden)
    heads = attention.num_heads
    query, keys = attention.q_proj(states[:, :1]), attention.k_proj(states)
    if hasattr(attention, "q_norm"):
        query, keys = attention.q_norm(query), attention.k_norm(keys)
    query, keys = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, keys))
    logits = torch.matmul(query, keys.transpose(2, 3)) * attention.scale
    # in half precision many weights would be equal
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits.softmax(-1).mean(1)[:, 0], keys.mean(1)


def class_query(adapter: Adapter) -> tuple[float, int]:
    """FLOPs per visual token of `class_attention`, and the width of its keys; 0 without the layer.

    By the configuration: one query over the patches of one picture or tile, whose visual tokens are
    fewer where the model has a `downsample_ratio`.
    """
    if adapter.class_token_layer() is None:
        return 0.0, 0
    config = adapter.model.config
    vision = config.vision_config
    sides = np.broadcast_to(vision.image_size, 2) // np.broadcast_to(vision.patch_size, 2)
    patches = int(np.prod(sides))
    tokens = round(patches * float(getattr(config, "downsample_ratio", 1.0)) ** 2)
    flops = class_attention_flops(int(vision.hidden_size), patches + 1) / tokens
    return flops, int(vision.hidden_size // vision.num_attention_heads)


def _part(layer: Any, names: tuple[str, ...]) -> Any:
    return next(getattr(layer, name) for name in names if hasattr(layer, name))
