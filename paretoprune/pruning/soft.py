"""The soft decoder: the pruned decoder with real-valued keep counts that gradients pass through.

Top-k is relaxed in rank space. With visual tokens ranked 0, 1, ... by the pruner, the soft mask at
a real-valued count n is

    m_j = sigmoid((n + shift - rank_j - 1/2) / tau),   shift such that sum_j m_j = n,

so its derivative in n is a distribution over the tokens at the edge: the effect of one more token.

Masks multiply over the layers: h_j, what is left of token j, is the product of its masks so far.
Where tokens have been masked before, a token's rank is its place among what is left of those that
score higher, p_j = sum_{i above j} h_i + h_j / 2, and the edge is where sum_j h_j m_j = n. So a
token that an earlier layer half dropped stands where it would stand if it were kept, and an earlier
layer feels what later ones could make of one more token. (With dead tokens ranked behind all others
the gradient knew only what a token does in the layer that drops it: on the mini-LLaVA a quarter of
its effect at most, mostly less than a tenth.)

The straight-through estimator (VisPCO, arXiv 2604.15188, section 3.3) is hard forward and soft
backward. It is applied to each layer's output, out = hard + (soft - stop_gradient(soft)), not to
the mask: at a mask of exactly 0 the derivative of a softmax weight m e^s / (Z + m e^s) is e^s / Z,
which has no bound where a dropped token would have been attended to most, and a few such tokens
drown all others (on the mini-LLaVA: gradients a hundred times too large). At the soft mask it is
bounded.

Instead, masks can be drawn (Gumbel-softmax for a yes-or-no choice, that is the binary concrete
distribution: Maddison et al., arXiv 1611.00712; Jang et al., arXiv 1611.01144): with z_j the logit
of m_j and L_j logistic noise, one draw per token for all layers,

    soft sample  sigmoid((z_j + L_j) / 0.667),    hard sample  z_j + L_j > 0,

so that a token is kept with probability m_j and n of them are kept on average.

A masked token is out of every softmax (numerator times mask, re-normalised), but the few tokens
just behind the edge are carried along, so that the gradient knows what they would have added.
Everything further behind is dropped for real: a pass costs about as much as the pruned decoder.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.token_geometry import PICTURE
from paretoprune.cost import layer_cost
from paretoprune.pruning.base import Pruner, ScorePruner, require_score
from paretoprune.pruning.decoder import Executed, choosing_flops, with_saved
from paretoprune.pruning.pictures import led_by_each
from paretoprune.pruning.tokens import Tokens, enter, kept_indices

FLOOR = 1e-16
"""Weight of a masked token in the softmax numerator: small, but its logarithm is finite."""
ROUNDING = 0.5 + 1e-9
"""Counts round half up, as in `schedules.keep_counts`, which also says how few are kept."""
BAND = 4.0
"""Tokens carried along behind the edge, in mask widths tau; drawn masks are cut off there."""
TEMPERATURE = 2 / 3
"""Temperature of drawn soft masks (Maddison et al., appendix C.4)."""


def soft_mask(counts: Tensor, ranks: int, tau: float) -> Tensor:
    """Soft top-k mask over ranks 0..ranks-1: `[..., ranks]` of counts `[...]`, summing to them.

    Where a count is within half a token of 0 or `ranks` the mask is that of half a token inside.
    """
    return torch.sigmoid(mask_logits(counts, ranks, tau))


def mask_logits(counts: Tensor, ranks: int, tau: float) -> Tensor:
    """Logits of `soft_mask`, `[..., ranks]`: those of tokens that have all survived so far."""
    here = torch.ones(*counts.shape, ranks, dtype=counts.dtype, device=counts.device)
    return survival_logits(counts, here, here.cumsum(-1) - 0.5, tau)


def survival_logits(counts: Tensor, here: Tensor, place: Tensor, tau: float) -> Tensor:
    """Logits z with sum_j h_j sigmoid(z_j) = n: `[..., tokens]` of counts n `[...]`.

    `here` is how much of each token is left, h, and `place` where it stands among the others, p.
    z_j = (edge - p_j) / tau; the edge is found by bisection and differentiated in n, h and p by one
    Newton step from the solution (implicit function theorem).
    """
    with torch.no_grad():
        left = here.sum(-1, keepdim=True)
        inside = torch.minimum(left / 4, left.new_full((), 0.5))
        target = counts[..., None].clamp(min=inside).minimum(left - inside)
        low = torch.full_like(target, -40.0 * tau) - left
        high = 2 * left + 40.0 * tau
        for _ in range(60):
            edge = (low + high) / 2
            short = (here * torch.sigmoid((edge - place) / tau)).sum(-1, keepdim=True) < target
            low, high = torch.where(short, edge, low), torch.where(short, high, edge)
        mask = torch.sigmoid((edge - place) / tau)
        slope = (here * mask * (1 - mask)).sum(-1, keepdim=True) / tau
        clamped = target - counts[..., None]
    # straight through the clamp, so that a count at its bound still feels its neighbours' pull
    wanted = counts[..., None] + clamped
    held = (here * torch.sigmoid((edge - place) / tau)).sum(-1, keepdim=True)
    edge = edge + (wanted - held) / slope.clamp(min=1e-12)
    return (edge - place) / tau


def logistic_noise(seeds: NDArray[np.int64], tokens: int) -> Tensor:
    """One draw per token, float64 [rows, tokens]; a row's depends on its seed alone."""
    draws = [np.random.default_rng(int(seed)).logistic(size=tokens) for seed in seeds]
    return torch.from_numpy(np.stack(draws))


def run_soft(
    adapter: Adapter,
    prefill: Prefill,
    ratios: Tensor,
    pruner: Pruner,
    *,
    tau: float,
    straight_through: bool = True,
    noise: NDArray[np.int64] | None = None,
    checkpoint: bool = False,
    sample: Tensor | None = None,
    executed: Executed | None = None,
    per_picture: bool = False,
) -> Tokens:
    """Run one keep schedule per sample, ratios float [B, layers], through all decoder layers.

    With `straight_through` the forward pass is that of the pruned decoder, at the price of one more
    pass without gradient; otherwise the soft mask is used in both directions, which is what finite
    differences agree with. With `noise`, seeds int64 [B], masks are drawn. `checkpoint` keeps no
    activations of a layer but its input, and runs it once more in the backward pass. With
    `per_picture` the best token of each picture has the mask 1 where a ratio is above 0, and the
    edge is found among the others. Raises `UnsupportedError` for a pruner whose choice is not top-k
    of a score.
    """
    pruner = require_score(pruner)
    meter = executed or Executed()
    tokens = with_saved(adapter, pruner, enter(prefill, sample), meter)
    total = tokens.visual.sum(1)
    least = tokens.pictures() if per_picture else total.clamp(max=1)
    here = tokens.visual.to(ratios.dtype)  # how much of each visual token is left
    drawn = None
    if noise is not None:
        drawn = logistic_noise(noise, tokens.length + 1).to(tokens.hidden.device, ratios.dtype)
    for layer in range(adapter.spec.layers):
        soft = hard = None
        if layer >= pruner.first_layer:
            counts = ratios[:, layer] * total
            fewest = torch.where(ratios[:, layer].detach() > 0, least, 0)
            rank, place, leads = _ranks_and_places(
                tokens, pruner, adapter, layer, here, meter,
                among=(fewest > 0) if per_picture else None,
            )  # fmt: skip
            others = here.masked_fill(leads, 0.0)
            logit = survival_logits(counts - leads.sum(1), others, place, tau)
            edge = torch.floor(counts.detach() + ROUNDING).maximum(fewest)[:, None]
            kept = tokens.visual & (rank < edge)
            if drawn is not None:
                logit = logit + drawn.gather(1, tokens.origin.clamp(max=drawn.shape[1] - 1))
                some = (edge > 0) & (edge < total[:, None])  # nothing is drawn of all or none
                drawn_here = (tokens.visual & _keep_mask(tokens) & (logit > 0)) | leads
                # of a sample of which none would be drawn the best stays
                drawn_here |= (rank == 0) & ~drawn_here.any(1, keepdim=True)
                kept = torch.where(some, drawn_here, kept)
                logit = logit / TEMPERATURE
            here = torch.where(tokens.visual & ~leads, here * torch.sigmoid(logit), here)
            # those that are really kept, and what is left most of behind them
            first = (2 * kept + here.detach()).masked_fill(~tokens.visual, -1.0)
            reach = counts.detach().ceil().maximum(fewest)[:, None] + math.ceil(BAND * tau)
            behind = first.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
            near = tokens.validity & (~tokens.visual | (behind < reach))
            index, _ = kept_indices(near)
            here, kept = here.gather(1, index), kept.gather(1, index)
            tokens = tokens.keep(near)
            keep_mask = ~tokens.visual | kept
            tokens = replace(tokens, keep_mask=keep_mask)
            here = torch.where(tokens.visual, here, torch.zeros_like(here))
            soft = torch.where(tokens.visual, here, torch.ones_like(here))
            hard = keep_mask.to(soft.dtype)
        tokens = run_masked(tokens, adapter, layer, soft, hard, straight_through, meter, checkpoint)
    return tokens


def run_masked(
    tokens: Tokens,
    adapter: Adapter,
    layer: int,
    soft: Tensor | None,
    hard: Tensor | None,
    straight_through: bool,
    meter: Executed,
    checkpoint: bool,
) -> Tokens:
    """One layer under key weights [B, T]: soft ones, or hard forward and soft backward.

    Without `soft` weights all tokens count fully.
    """
    flops = len(tokens.hidden) * float(layer_cost(adapter.spec, tokens.length))
    meter.flops += flops
    if soft is None or not straight_through:
        return run_weighted(tokens, adapter, layer, soft, checkpoint=checkpoint)
    after = run_weighted(tokens, adapter, layer, soft, checkpoint=checkpoint)
    with torch.no_grad():
        meter.flops += flops
        exact = run_weighted(tokens, adapter, layer, hard)
    hidden = exact.hidden + (after.hidden - after.hidden.detach())
    return replace(exact, hidden=hidden, query_before=after.query_before)


def run_weighted(
    tokens: Tokens,
    adapter: Adapter,
    layer: int,
    weight: Tensor | None,
    *,
    checkpoint: bool = False,
) -> Tokens:
    """One layer whose keys count as much as `weight` [B, T] says (None: 1).

    With `checkpoint` it keeps no activations but its input, and runs once more on the way back.
    """
    if not checkpoint:
        bias = attention_mask(tokens, weight)
        if bias.requires_grad and not tokens.hidden.requires_grad:
            # else PyTorch's memory-efficient attention on CUDA, not knowing that a mask alone may
            # need a gradient, keeps too little for its backward pass (pytorch/pytorch#188302)
            tokens = replace(tokens, hidden=tokens.hidden.detach().requires_grad_())
        return tokens.run(adapter, layer, bias)
    after: Tokens = recompute(run_weighted, tokens, adapter, layer, weight, use_reentrant=False)
    return after


def _keep_mask(tokens: Tokens) -> Tensor:
    """Tokens that no layer before has dropped, bool [B, T]."""
    return tokens.validity if tokens.keep_mask is None else tokens.keep_mask


def _ranks_and_places(
    tokens: Tokens,
    pruner: ScorePruner,
    adapter: Adapter,
    layer: int,
    here: Tensor,
    meter: Executed,
    *,
    among: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rank int64 [B, T] of each visual token among those really kept, and its soft place [B, T].

    In the rows of `among` (bool [B]; None: in no row) the best token of each picture, marked in the
    third tensor, bool [B, T], leads and has no place. The place of a token counts what is left,
    `here` [B, T], of all that score higher: a token that is carried along stands where it would
    stand if it were kept, so that a layer feels what later ones could make of one more token.
    """
    with torch.no_grad():
        context = tokens.context(adapter, layer)
        order = pruner.order(context)
        meter.flops += choosing_flops(adapter, pruner, tokens, layer)
        leads = torch.zeros_like(tokens.visual)
        if among is not None and order.shape[1]:
            numbers = context.extra(PICTURE)[..., 0]
            order, best = led_by_each(order, numbers, context.keep_mask & among[:, None])
            leads = leads.scatter(1, context.visual, best)
        rank = torch.full_like(tokens.origin, -1).scatter(1, context.visual, order.argsort(1))
        if type(pruner).order is ScorePruner.order:
            score = pruner.score(context).masked_fill(~context.present, -torch.inf)
            order = score.argsort(dim=1, descending=True, stable=True)
    left = here.masked_fill(leads, 0.0).gather(1, context.visual).gather(1, order)
    place = torch.zeros_like(left).scatter(1, order, left.cumsum(1) - left / 2)
    positions = torch.zeros_like(here).scatter(1, context.visual, place)
    return torch.where(tokens.visual, rank, -1), positions, leads


def attention_mask(tokens: Tokens, weight: Tensor | None) -> Tensor:
    """Causal mask plus the logarithm of each key's weight [B, T] (None: 1): float [B, 1, T, T]."""
    length = tokens.length
    hidden = tokens.hidden
    causal = torch.ones(length, length, dtype=torch.bool, device=hidden.device).tril()
    seen = causal[None, None] & tokens.validity[:, None, None]
    if weight is None:
        bias = hidden.new_zeros(tokens.visual.shape)
    else:
        bias = torch.log(weight * (1 - FLOOR) + FLOOR)
    lowest = torch.finfo(hidden.dtype).min
    return bias[:, None, None].to(hidden.dtype).masked_fill(~seen, lowest)
