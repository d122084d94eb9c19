"""VisPCO's soft decoder: a mask in score space, straight through (arXiv 2604.15188, section 3.3).

At each layer the visual tokens have scores s_j; with s_(1) >= s_(2) >= ... sorted and a real-valued
count n the threshold is a Gaussian-weighted mean of the sorted scores around position n,

    t(n) = sum_i g_i s_(i) / sum_i g_i,     g_i = exp( -(i - n)^2 / (2 v) ),   v = 5/2,
    hard_j = 1[s_j >= t],   soft_j = sigmoid( (s_j - t) / T ),   m_j = hard_j + soft_j - sg(soft_j),

and masks accumulate over layers, M_l = M_(l-1) m_l, so that a dropped token stays dropped. M
multiplies the numerator of every later softmax, which is normalised again. No token really leaves:
a pass costs what the dense decoder costs.

Two readings where the paper leaves room. Positions count from 1, so t is near the n-th score. Where
n is all tokens but half of one or more, all stay: the smooth mean would drop the last few in every
layer that should be dense.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.token_geometry import PICTURE
from paretoprune.cost import layer_cost
from paretoprune.pruning.base import Pruner, PruningContext, require_score
from paretoprune.pruning.decoder import Executed, choosing_flops, with_saved
from paretoprune.pruning.pictures import led_by_each
from paretoprune.pruning.soft import run_weighted
from paretoprune.pruning.tokens import Tokens, enter

VARIANCE = 2.5
"""Variance of the Gaussian weights, in positions squared."""


def score_threshold(scores: Tensor, candidates: Tensor, counts: Tensor) -> Tensor:
    """The threshold t `[B]` at real-valued counts `[B]` over scores `[B, V]`.

    Only positions marked in `candidates`, bool `[B, V]`, count. Differentiable in the counts.
    """
    lowest = torch.finfo(scores.dtype).min
    ordered = torch.where(candidates, scores, lowest).sort(1, descending=True).values
    position = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=counts.dtype)
    exists = position <= candidates.sum(1, keepdim=True)
    logits = -((position - counts[:, None]) ** 2) / (2 * VARIANCE)
    # a finite weight: where nothing is left there is no threshold, but no nan either
    weights = logits.masked_fill(~exists, torch.finfo(counts.dtype).min).softmax(1)
    return (weights * torch.where(exists, ordered, 0.0).to(weights.dtype)).sum(1)


def score_mask(
    scores: Tensor, candidates: Tensor, counts: Tensor, total: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Hard and soft mask, `[B, V]` each, at counts `[B]` of `total` `[B]` tokens."""
    threshold = score_threshold(scores, candidates, counts)[:, None]
    distance = scores.to(threshold.dtype) - threshold
    everything = (counts.detach() >= total - 0.5)[:, None]
    hard = ((distance.detach() >= 0) | everything) & candidates & (counts.detach() > 0)[:, None]
    return hard.to(threshold.dtype), torch.sigmoid(distance / temperature)


def run_score_soft(
    adapter: Adapter,
    prefill: Prefill,
    ratios: Tensor,
    pruner: Pruner,
    *,
    temperature: float,
    straight_through: bool = True,
    checkpoint: bool = False,
    sample: Tensor | None = None,
    executed: Executed | None = None,
    per_picture: bool = False,
) -> Tokens:
    """Run one keep schedule per sample, ratios float [B, layers], through all decoder layers.

    With `straight_through` masks are hard forward and soft backward, otherwise soft in both
    directions; `checkpoint` keeps no activations but each layer's input. With `per_picture` the
    best token of each picture has the mask 1 where a ratio is above 0, and the threshold is found
    among the others. Raises `UnsupportedError` for a pruner whose choice is not top-k of a score.
    """
    pruner = require_score(pruner)
    meter = executed or Executed()
    tokens = with_saved(adapter, pruner, enter(prefill, sample), meter)
    total = tokens.visual.sum(1)
    kept = torch.ones(tokens.visual.shape, dtype=ratios.dtype, device=ratios.device)
    for layer in range(adapter.spec.layers):
        weight = None
        if layer >= pruner.first_layer:
            counts = ratios[:, layer] * total
            with torch.no_grad():
                context = tokens.context(adapter, layer)
                scores = pruner.score(context)
                meter.flops += choosing_flops(adapter, pruner, tokens, layer)
            candidates = context.keep_mask & context.present
            best = _best(context, scores, candidates, per_picture) & (counts.detach() > 0)[:, None]
            if per_picture:
                first = best.sum(1)
                hard, soft = score_mask(
                    scores, candidates & ~best, counts - first, total - first, temperature
                )
                soft = torch.where(best, 1.0, soft)
            else:
                hard, soft = score_mask(scores, candidates, counts, total, temperature)
            hard = torch.where(best, 1.0, hard)  # the threshold may be a rounding error above it
            mask = hard + soft - soft.detach() if straight_through else soft
            here = torch.ones_like(kept).scatter(1, context.visual, mask)
            kept = kept * torch.where(tokens.visual, here, torch.ones_like(here))
            # with soft masks too, tokens that the hard mask drops are no candidates in later layers
            gone = torch.ones_like(kept).scatter(1, context.visual, hard) < 0.5
            active = tokens.validity if tokens.keep_mask is None else tokens.keep_mask
            tokens = replace(tokens, keep_mask=active & ~(gone & tokens.visual))
            weight = kept
        meter.flops += len(tokens.hidden) * float(layer_cost(adapter.spec, tokens.length))
        tokens = run_weighted(tokens, adapter, layer, weight, checkpoint=checkpoint)
    return tokens


def _best(context: PruningContext, scores: Tensor, among: Tensor, per_picture: bool) -> Tensor:
    """The best of the tokens marked in `among`, bool [B, V]: of each sample, or of each picture."""
    if not scores.shape[1]:
        return among
    scores = scores.masked_fill(~among, -torch.inf)
    if not per_picture:
        best = scores.argmax(1, keepdim=True)
        return torch.zeros_like(among).scatter(1, best, True) & among
    order = scores.argsort(dim=1, descending=True, stable=True)
    return led_by_each(order, context.extra(PICTURE)[..., 0], among)[1]
