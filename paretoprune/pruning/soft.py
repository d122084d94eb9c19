"""The soft decoder: the pruned decoder with real-valued keep counts that gradients pass through.

Top-k is relaxed in rank space. With visual tokens ranked 0, 1, ... by the pruner, the soft mask at
a real-valued count n is

    m_j = sigmoid((n + shift - rank_j - 1/2) / tau),   shift such that sum_j m_j = n,

so its derivative in n is a distribution over the tokens at the edge: the effect of one more token.
Forward, the mask is hard (rank_j < round(n)); backward, it is the soft one: the straight-through
estimator (VisPCO, arXiv 2604.15188, section 3.3, in rank space instead of score space).

A masked token is out of every softmax (numerator times mask, re-normalised), but the few tokens
just behind the edge are carried along, so that the gradient knows what they would have added.
Everything further behind is dropped for real: a step costs about as much as the pruned decoder.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.cost import layer_cost
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import Pruner, ScorePruner
from paretoprune.pruning.decoder import Executed, ranking_flops
from paretoprune.pruning.tokens import Tokens, enter, order_of_kept

FLOOR = 1e-16
"""Weight of a masked token in the softmax numerator: small, but its logarithm is finite."""
ROUNDING = 0.5 + 1e-9
"""Counts round half up, as in `schedules.keep_counts`."""
BAND = 4.0
"""Tokens carried along behind the edge, in mask widths tau."""


def soft_mask(counts: Tensor, ranks: int, tau: float) -> Tensor:
    """Soft top-k mask over ranks 0..ranks-1: `[..., ranks]` of real counts `[...]`, summing to them.

    Where a count is within half a token of 0 or `ranks` the mask is that of half a token inside.
    """
    inside = min(0.5, ranks / 4)
    target = counts.clamp(inside, ranks - inside)[..., None]
    rank = torch.arange(ranks, dtype=counts.dtype, device=counts.device) + 0.5
    with torch.no_grad():  # bisection for the edge: the sum of the masks grows with it
        low = torch.full_like(target, -ranks - 40.0 * tau)
        high = torch.full_like(target, 2 * ranks + 40.0 * tau)
        for _ in range(60):
            edge = (low + high) / 2
            short = torch.sigmoid((edge - rank) / tau).sum(-1, keepdim=True) < target
            low, high = torch.where(short, edge, low), torch.where(short, high, edge)
        mask = torch.sigmoid((edge - rank) / tau)
        slope = (mask * (1 - mask)).sum(-1, keepdim=True) / tau
    # implicit function theorem: d edge / d count = 1 / (sum_j dm_j / d edge); straight through
    # the clamp, so that a count at its bound still feels the pull of its neighbours
    moved = (counts[..., None] - counts[..., None].detach()) / slope
    return torch.sigmoid((edge + moved - rank) / tau)


def straight_through_mask(counts: Tensor, ranks: int, tau: float) -> Tensor:
    """Hard top-k mask forward, soft mask backward: `[..., ranks]` of real counts `[...]`."""
    soft = soft_mask(counts, ranks, tau)
    rank = torch.arange(ranks, device=counts.device)
    hard = (rank < torch.floor(counts.detach()[..., None] + ROUNDING)).to(soft.dtype)
    return hard + soft - soft.detach()


def run_soft(
    adapter: Adapter,
    prefill: Prefill,
    ratios: Tensor,
    pruner: Pruner,
    *,
    tau: float,
    hard: bool = True,
    sample: Tensor | None = None,
    executed: Executed | None = None,
) -> Tokens:
    """Run one keep schedule per sample, ratios float [B, layers], through all decoder layers.

    With `hard` the forward pass is that of the pruned decoder (straight-through); without, the
    soft mask is used in both directions, which is what finite differences agree with. Raises
    `UnsupportedError` for a pruner whose choice is not top-k of a score.
    """
    if not isinstance(pruner, ScorePruner):
        raise UnsupportedError(
            f"pruner {pruner.name!r} is not top-k of a score, so it has no soft form; gradient "
            "strategies need one that has, such as 'fastv'"
        )
    if sample is None:
        sample = torch.arange(len(prefill.hidden), device=prefill.hidden.device)
    meter = executed or Executed()
    tokens = enter(adapter, prefill, sample)
    total = tokens.visual.sum(1)
    ranks = int(total.max())
    mask_of = straight_through_mask if hard else soft_mask
    for layer in range(adapter.spec.layers):
        bias = None
        if layer >= pruner.first_layer:
            counts = ratios[:, layer] * total
            rank = _ranks(tokens, pruner, adapter, layer, meter)
            reach = counts.detach().ceil()[:, None] + math.ceil(BAND * tau)
            near = tokens.validity & (rank < reach)
            index, _ = order_of_kept(near)
            rank = rank.gather(1, index)
            tokens = tokens.keep(near)
            weight = mask_of(counts, ranks, tau).gather(1, rank.clamp(min=0))
            weight = torch.where(tokens.visual, weight, torch.ones_like(weight))
            bias = torch.log(weight * (1 - FLOOR) + FLOOR)
            edge = torch.floor(counts.detach() + ROUNDING)[:, None]
            tokens = replace(tokens, alive=~tokens.visual | (rank < edge))
        meter.flops += len(tokens.hidden) * float(layer_cost(adapter.spec, tokens.length))
        tokens = tokens.run(adapter, layer, _attention_mask(tokens, bias))
    return tokens


def _ranks(
    tokens: Tokens, pruner: ScorePruner, adapter: Adapter, layer: int, meter: Executed
) -> Tensor:
    """Rank of each visual token, int64 [B, T]; -1 for the others. Alive tokens rank first."""
    with torch.no_grad():
        context = tokens.context(adapter, layer)
        order = pruner.order(context)
        meter.flops += ranking_flops(adapter, pruner, tokens)
        rank = torch.full_like(tokens.origin, -1).scatter(1, context.visual, order.argsort(1))
        return torch.where(tokens.visual, rank, -1)


def _attention_mask(tokens: Tokens, bias: Tensor | None) -> Tensor:
    """Causal mask plus the logarithm of each key's weight: float [B, 1, T, T]."""
    length = tokens.length
    hidden = tokens.hidden
    causal = torch.ones(length, length, dtype=torch.bool, device=hidden.device).tril()
    seen = causal[None, None] & tokens.validity[:, None, None]
    if bias is None:
        bias = hidden.new_zeros(tokens.visual.shape)
    lowest = torch.finfo(hidden.dtype).min
    return bias[:, None, None].to(hidden.dtype).masked_fill(~seen, lowest)
