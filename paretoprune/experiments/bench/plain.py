"""The field's practice, written plainly: one candidate, one sample, the whole model each time.

Independent of the package's decoder: it uses the model's own modules in a loop, FastV's rule from
attention weights that the asked layer's queries and keys give, and nothing that is shared.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@torch.inference_mode()
def pruned_logits(model: Any, inputs: Any, counts: Sequence[int], first: int) -> Tensor:
    """Logits of tokens from `first` on, [T - first + 1, vocabulary], of one sample.

    Layer l keeps `counts[l]` visual tokens; those go first to which the token at `first`, the last
    of the prompt, attends least in the layer before. For LLaVA with a Llama decoder.
    """
    decoder = model.get_decoder()
    ids = inputs["input_ids"]
    is_visual = ids[0] == model.config.image_token_index
    hidden = model.get_input_embeddings()(ids)
    features = model.get_image_features(inputs["pixel_values"]).pooler_output
    hidden[0, is_visual] = torch.cat(list(features)).to(hidden.dtype)
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    cos, sin = decoder.rotary_emb(hidden, positions)
    query = first
    before = hidden
    for number, (layer, count) in enumerate(zip(decoder.layers, counts, strict=True)):
        present = int(is_visual.sum())
        if count < present:
            if count:
                scores = _attention(decoder.layers[number - 1], before, query, cos, sin)
                visual_positions = is_visual.nonzero()[:, 0]
                best = scores[visual_positions].argsort(descending=True, stable=True)[:count]
                keep_mask = ~is_visual
                keep_mask[visual_positions[best]] = True
            else:
                keep_mask = ~is_visual
            query = int(keep_mask[: query + 1].sum()) - 1
            hidden, cos, sin = hidden[:, keep_mask], cos[:, keep_mask], sin[:, keep_mask]
            is_visual = is_visual[keep_mask]
        before = hidden
        out = layer(hidden, attention_mask=None, position_embeddings=(cos, sin))
        hidden = out[0] if isinstance(out, tuple) else out
    logits: Tensor = model.lm_head(decoder.norm(hidden[0, query:]))
    return logits


def _attention(layer: Any, hidden: Tensor, query: int, cos: Tensor, sin: Tensor) -> Tensor:
    """Head-mean attention of token `query` to those up to it in `layer`, [T] (0 behind it)."""
    attention = layer.self_attn
    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
    x = layer.input_layernorm(hidden)
    shape = (1, x.shape[1], -1, attention.head_dim)
    q = attention.q_proj(x).view(shape).transpose(1, 2)
    k = attention.k_proj(x).view(shape).transpose(1, 2)
    q, k = rotate(q, k, cos, sin)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    logits = (q[:, :, query, None] @ k.transpose(2, 3))[0, :, 0] / math.sqrt(attention.head_dim)
    logits[:, query + 1 :] = -math.inf
    scores: Tensor = logits.softmax(-1).mean(0)
    return scores
