"""Features of an input before the decoder: picture and question, pooled or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from paretoprune.pruning.base import PruningContext


def pooled_features(context: PruningContext) -> tuple[Tensor, Tensor]:
    """Means over the visual tokens and over the question's, each float `[B, hidden]`.

    In float32 or better. A sample without visual tokens, or without a question, has zeros there.
    """
    from paretoprune.pruning.context import pick

    text, is_valid = context.text
    asked = pick(context.hidden, text).to(context.states.dtype)
    return _mean(context.states, context.present), _mean(asked, is_valid)


def prompt_embeddings(context: PruningContext) -> tuple[Tensor, Tensor]:
    """Visual tokens, then the question's: float `[B, T, hidden]`, and which exist, bool `[B, T]`.

    In float32 or better, and in no other order than the prompt's.
    """
    import torch

    from paretoprune.pruning.context import pick

    text, is_valid = context.text
    asked = pick(context.hidden, text).to(context.states.dtype)
    return torch.cat([context.states, asked], 1), torch.cat([context.present, is_valid], 1)


def _mean(states: Tensor, is_valid: Tensor) -> Tensor:
    """Mean of `states` [B, n, hidden] over the tokens of `is_valid` bool [B, n]."""
    weight = is_valid[..., None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1.0)
