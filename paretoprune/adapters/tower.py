"""What the class token of a vision tower attends to, for the one layer that is asked.

The tower runs once, as ever, with whatever attention backend it has. A hook on a *view* of the
model sees what enters the layer; that layer's keys, and the query of the class token alone, are
projected from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ATTENTION = ("self_attn", "attention")
NORM = ("layer_norm1", "layernorm_before")
"""Names of the parts of a layer in CLIP's and InternVL's towers."""


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


def class_attention_flops(width: int, tokens: int) -> float:
    """FLOPs of `class_attention` on one picture of so many tokens: keys, one query, its logits."""
    return 2.0 * width * (tokens * width + width + tokens)


def _part(layer: Any, names: tuple[str, ...]) -> Any:
    return next(getattr(layer, name) for name in names if hasattr(layer, name))
