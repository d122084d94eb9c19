"""The pruned decoder, for a whole population at once: common leading layers are run once.

Candidates form a tree: those with equal kept counts up to a layer share everything up to it. The
tree is walked depth-first, holding one set of tokens per depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.cost import answer_layer_cost, layer_cost
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.base import Pruner, ScorePruner
from paretoprune.pruning.last_layer import can_run_at, run_last_at
from paretoprune.pruning.tokens import Tokens, enter
from paretoprune.pruning.trunk import Trunk
from paretoprune.schedules import keep_counts


@dataclass
class Executed:
    """FLOPs really run, padding included: a meter that the caller reads."""

    flops: float = 0.0


@dataclass(frozen=True)
class Leaf:
    """The decoder's output for the candidates (indices) that share it."""

    candidates: list[int]
    tokens: Tokens


def run_population(
    adapter: Adapter,
    prefill: Prefill,
    ratios: NDArray[np.float64],
    pruner: Pruner,
    *,
    sample: Tensor | None = None,
    executed: Executed | None = None,
    answers: Tensor | None = None,
    trunk: Trunk | None = None,
) -> Iterator[Leaf]:
    """Run every keep schedule of `ratios`, float64 [candidates, layers], on one batch.

    `sample` int64 [B] numbers the batch's samples within their split (pruners may seed by it).
    With `answers`, int64 [B, A] original places, leaves hold these tokens alone, and the last layer
    is run for them only. `trunk` keeps this batch's dense states for later calls. Yields a leaf per
    distinct path of kept counts. Raises `InvalidValueError` for ratios of the wrong shape or a drop
    before the pruner's first layer.
    """
    if ratios.ndim != 2 or ratios.shape[1] != adapter.spec.layers:
        raise InvalidValueError(
            f"this decoder has {adapter.spec.layers} layers, got ratios of shape {ratios.shape}"
        )
    early = ratios[:, : pruner.first_layer]
    if np.any((early > 0) & (early < 1)):
        raise InvalidValueError(
            f"pruner {pruner.name!r} cannot rank tokens before layer {pruner.first_layer}: keep "
            "ratios of earlier layers must be 1 (or 0 for no visual tokens at all)"
        )
    if sample is None:
        sample = torch.arange(len(prefill.hidden), device=prefill.hidden.device)
    meter = executed or Executed()
    root = enter(prefill, sample)
    visual = prefill.visual.sum(1).cpu().numpy()
    counts = np.stack([keep_counts(row, visual) for row in ratios])  # [candidates, layers, B]
    if np.any((counts > 0) & (counts < visual)):
        root = remembered(adapter, pruner, root, meter)
    if answers is not None and not can_run_at(adapter):
        answers = None  # leaves then hold all tokens, those places included
    members = list(range(len(ratios)))
    yield from _walk(adapter, pruner, meter, counts, root, 0, members, answers, trunk)


def remembered(adapter: Adapter, pruner: Pruner, tokens: Tokens, meter: Executed) -> Tokens:
    """These tokens, before layer 0, with what the pruner carries along from there."""
    visual = tokens.visual.sum(1).cpu().numpy()
    lengths = np.full_like(visual, tokens.length)
    meter.flops += float(pruner.entry_flops(adapter.spec, lengths, visual).sum())
    found = pruner.remember(tokens.context(adapter, 0))
    return replace(tokens, extras={**tokens.extras, **found}) if found else tokens


def _walk(
    adapter: Adapter,
    pruner: Pruner,
    meter: Executed,
    counts: NDArray[np.int64],
    tokens: Tokens,
    layer: int,
    members: list[int],
    answers: Tensor | None,
    trunk: Trunk | None,
) -> Iterator[Leaf]:
    if layer == adapter.spec.layers:
        yield Leaf(members, tokens)
        return
    siblings: dict[bytes, list[int]] = {}
    for member in members:
        siblings.setdefault(counts[member, layer].tobytes(), []).append(member)
    drop = dropper(adapter, pruner, meter, tokens, layer, trunk)
    for group in siblings.values():
        kept = drop(counts[group[0], layer])
        dense = trunk if kept is tokens else None  # None, too, where something was dropped before
        if dense is not None and layer in dense.after:
            # what the pruner carries along is this call's: nothing was dropped, so it fits
            after = replace(dense.after[layer], extras=tokens.extras)
            yield from _walk(
                adapter, pruner, meter, counts, after, layer + 1, group, answers, dense
            )
            continue
        batch, length = kept.hidden.shape[:2]
        if answers is not None and layer == adapter.spec.layers - 1:
            cost = answer_layer_cost(adapter.spec, length, answers.shape[1])
            after = run_last_at(adapter, kept, answers)
        else:
            cost = float(layer_cost(adapter.spec, length))
            after = kept.run(adapter, layer)
        meter.flops += batch * cost
        if dense is not None and layer < adapter.spec.layers - 1:
            dense.after[layer] = after
        yield from _walk(adapter, pruner, meter, counts, after, layer + 1, group, answers, dense)


def dropper(
    adapter: Adapter,
    pruner: Pruner,
    meter: Executed,
    tokens: Tokens,
    layer: int,
    trunk: Trunk | None = None,
) -> Callable[[NDArray[np.int64]], Tokens]:
    """A function from kept counts [B] to the tokens that stay; siblings share one ranking."""
    present = tokens.visual.sum(1)
    ranking: Tensor | None = None if trunk is None else trunk.ranking.get(layer)

    def drop(counts: NDArray[np.int64]) -> Tokens:
        nonlocal ranking
        wanted = torch.from_numpy(counts).to(present.device)
        if bool((wanted == present).all()):
            return tokens
        if not wanted.any():
            return tokens.keep(tokens.validity & ~tokens.visual)
        most = int(wanted.max())
        context = tokens.context(adapter, layer)
        weights = None
        if isinstance(pruner, ScorePruner):
            if ranking is None:
                ranking = pruner.order(context)
                if trunk is not None:
                    trunk.ranking[layer] = ranking
                meter.flops += ranking_flops(adapter, pruner, tokens)
            indices = ranking[:, :most]
        else:
            selection = pruner.choose(context, wanted)
            meter.flops += drop_flops(adapter, pruner, tokens, layer, counts)
            indices, weights = selection.indices, selection.weights
        chosen = context.visual.gather(1, indices)
        stays = torch.arange(most, device=chosen.device)[None] < wanted[:, None]
        kept = tokens.validity & ~tokens.visual
        # rows that keep fewer than `most` write their surplus where a kept token is anyway
        text = kept.long().argmax(1, keepdim=True).expand_as(chosen)
        chosen = torch.where(stays, chosen, text)
        staying = tokens if weights is None else _merged(tokens, context.visual, chosen, weights)
        return staying.keep(kept.scatter(1, chosen, True))

    return drop


def _merged(tokens: Tokens, visual: Tensor, chosen: Tensor, weights: Tensor) -> Tokens:
    """Each chosen token [B, n] as the sum of all visual ones [B, V] by `weights` [B, n, V]."""
    width = tokens.hidden.shape[-1]

    def wide(index: Tensor) -> Tensor:
        return index[..., None].expand(-1, -1, width)

    merged = torch.bmm(weights.to(tokens.hidden.dtype), tokens.hidden.gather(1, wide(visual)))
    # surplus entries of shorter rows point at a text token, which must not change
    is_visual = tokens.visual.gather(1, chosen)[..., None]
    merged = torch.where(is_visual, merged, tokens.hidden.gather(1, wide(chosen)))
    return replace(tokens, hidden=tokens.hidden.scatter(1, wide(chosen), merged))


def drop_flops(
    adapter: Adapter, pruner: Pruner, tokens: Tokens, layer: int, counts: NDArray[np.int64]
) -> float:
    """FLOPs of this batch's drop before `layer` to `counts` [B] visual tokens, padding included."""
    visual = tokens.visual.sum(1).cpu().numpy()
    lengths = np.full_like(visual, tokens.length)
    return float(pruner.drop_flops(adapter.spec, layer, lengths, visual, counts).sum())


def ranking_flops(adapter: Adapter, pruner: Pruner, tokens: Tokens) -> float:
    """FLOPs of ranking this batch's visual tokens once, padding included."""
    visual = tokens.visual.sum(1).cpu().numpy()
    lengths = np.full_like(visual, tokens.length)
    return float(pruner.flops(adapter.spec, lengths, visual).sum())
