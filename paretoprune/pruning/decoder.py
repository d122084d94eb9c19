"""The pruned decoder, for a whole population at once: common leading layers are run once.

Candidates form a tree: those with equal kept counts up to a layer share everything up to it. The
tree is walked depth-first, holding one set of tokens per depth. A candidate may want some samples
of the batch only, which is how schedules that differ from sample to sample are run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.cost import answer_layer_cost, layer_cost
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.base import DropCounts, Pruner, ScorePruner, Selection
from paretoprune.pruning.pictures import with_each_picture
from paretoprune.pruning.tokens import Tokens, Trunk, can_run_at, enter, run_last_at
from paretoprune.schedules import keep_counts


@dataclass
class Executed:
    """FLOPs really run, padding included: a meter that the caller reads."""

    flops: float = 0.0


Drop: TypeAlias = "Callable[[NDArray[np.int64], NDArray[np.int64] | None], Tokens]"
"""From kept counts [B], and the samples that go on (None: all), to the tokens that stay."""


@dataclass(frozen=True)
class Leaf:
    """The decoder's output for the candidates (indices) that share it.

    `rows` int64 [b] are the batch indices of the samples in `tokens`, in order. `left_out` int64
    [b] counts their pictures without a token in the last layer.
    `path` holds the tokens behind each layer, keys and values included, where it was asked for:
    what decoding goes on from (`pruning.continuation`).
    """

    candidates: list[int]
    tokens: Tokens
    rows: NDArray[np.int64]
    left_out: NDArray[np.int64]
    path: tuple[Tokens, ...] = ()


def run_population(
    adapter: Adapter,
    prefill: Prefill,
    ratios: NDArray[np.float64],
    pruner: Pruner | Sequence[Pruner],
    *,
    sample: Tensor | None = None,
    executed: Executed | None = None,
    answers: Tensor | None = None,
    trunk: Trunk | None = None,
    wanted: NDArray[np.bool_] | None = None,
    with_path: bool = False,
    per_picture: bool = False,
) -> Iterator[Leaf]:
    """Run every keep schedule of `ratios`, float64 [candidates, layers], on one batch.

    `pruner` ranks for all candidates, or there is one per candidate: those with equal labels share
    their rankings, and all share the layers before their first drop. `sample` int64 [B] numbers the
    batch's samples within their split (pruners may seed by it). With `answers`, int64 [B, A]
    original positions, leaves hold these tokens alone, and the last layer is run for them only.
    `trunk` keeps this batch's dense states for later calls, always with the same `with_path`, which
    gives leaves their path and runs every layer for all tokens. `wanted` bool [candidates, B] says
    on which samples a schedule is to be run (None: all); a branch holds the samples that any of its
    schedules wants, so leaves may hold more than one of them asked for. With `per_picture` every
    picture keeps at least one token where a ratio is above 0. Yields a leaf per distinct
    path of pruner and kept counts. Raises `InvalidValueError` for ratios of the wrong shape or a
    schedule that a pruner cannot follow.
    """
    if ratios.ndim != 2 or ratios.shape[1] != adapter.spec.layers:
        raise InvalidValueError(
            f"this decoder has {adapter.spec.layers} layers, got ratios of shape {ratios.shape}"
        )
    each = [pruner] * len(ratios) if isinstance(pruner, Pruner) else list(pruner)
    if len(each) != len(ratios):
        raise ValueError(f"got {len(each)} pruners for {len(ratios)} schedules")
    for one, row in zip(each, ratios, strict=True):
        one.check(row)
    meter = executed or Executed()
    root = enter(prefill, sample)
    visual = prefill.visual.sum(1).cpu().numpy()
    pictures = root.pictures().cpu().numpy()
    least = pictures if per_picture else None
    # [candidates, layers, B]
    counts = np.stack([keep_counts(row, visual, least) for row in ratios])
    if wanted is None:
        wanted = np.ones((len(ratios), len(visual)), dtype=np.bool_)
    ranked = (counts.any(2) & (counts != visual).any(2)).any(1)
    operators: dict[str, _Operator] = {}
    for one, asks in zip(each, ranked, strict=True):
        if asks and one.label not in operators:
            carried = with_saved(adapter, one, root, meter).extras
            operators[one.label] = _Operator(one, carried)
    if answers is not None and (with_path or not can_run_at(adapter)):
        answers = None  # leaves then hold all tokens, those positions included
    labels = [one.label for one in each]
    walk = _Walk(
        adapter, meter, counts, labels, operators, answers, wanted, with_path, pictures, per_picture
    )
    members = [i for i in range(len(ratios)) if wanted[i].any()]
    yield from walk.below(root, 0, members, trunk, np.arange(len(visual)))


def with_saved(adapter: Adapter, pruner: Pruner, tokens: Tokens, meter: Executed) -> Tokens:
    """These tokens, before layer 0, with the extras that the pruner saves."""
    counts = _drop_counts(adapter, tokens, 0)
    meter.flops += float(pruner.entry_cost(counts).sum())
    saved = pruner.save(tokens.context(adapter, 0))
    return replace(tokens, extras={**tokens.extras, **saved}) if saved else tokens


@dataclass(frozen=True)
class _Operator:
    """A pruner, and its extras from the decoder's entry, [B, T, c] each."""

    pruner: Pruner
    extras: Mapping[str, Tensor]


@dataclass(frozen=True)
class _Walk:
    """One population on one batch; `labels` name each candidate's pruner.

    `pictures` int64 [B] are how many each sample has.
    """

    adapter: Adapter
    meter: Executed
    counts: NDArray[np.int64]
    labels: list[str]
    operators: dict[str, _Operator]
    answers: Tensor | None
    wanted: NDArray[np.bool_]
    with_path: bool
    pictures: NDArray[np.int64]
    per_picture: bool

    def below(
        self,
        tokens: Tokens,
        layer: int,
        members: list[int],
        trunk: Trunk | None,
        rows: NDArray[np.int64],
        *,
        whole: bool = True,
        path: tuple[Tokens, ...] = (),
        left_out: NDArray[np.int64] | None = None,
    ) -> Iterator[Leaf]:
        """Leaves of the candidates `members`, which share `tokens` before `layer`.

        `rows` int64 [b] are the samples of the batch that `tokens` hold. While they are `whole` no
        token was dropped, and `members` may have different pruners.
        """
        if layer == self.adapter.spec.layers:
            assert left_out is not None
            yield Leaf(members, tokens, rows, left_out, path)
            return
        present = tokens.visual.sum(1).cpu().numpy()
        siblings: dict[tuple[str, bytes], list[int]] = {}
        for member in members:
            now = self.counts[member, layer, rows]
            ranks = bool(now.any()) and bool((now != present).any())
            # whoever ranks nothing here goes on together, whatever its pruner
            key = (self.labels[member] if ranks else "", now.tobytes())
            siblings.setdefault(key, []).append(member)
        drops: dict[str, Drop] = {}
        last = layer == self.adapter.spec.layers - 1
        for (label, _), group in siblings.items():
            now = self.counts[group[0], layer, rows]
            same = not label and bool((now == present).all())
            dense = trunk if same and whole else None
            # a trunk's states are those of the whole batch
            asked = None if dense is not None and not last else self._asked(group, rows)
            group_rows = rows if asked is None else rows[asked]
            if label:
                if label not in drops:
                    drops[label] = self._dropper(label, tokens, layer, trunk, whole)
                remaining = drops[label](now, asked)
            else:
                group_tokens = tokens if asked is None else tokens.rows(_index(asked, tokens))
                remaining = group_tokens if same else without_visual(group_tokens)
            if dense is not None and layer in dense.after:
                # extras are this call's, the kept states another's
                after = replace(dense.after[layer], extras=tokens.extras)
            else:
                after = self._run(remaining, layer, group_rows)
                if dense is not None and not last:
                    dense.after[layer] = after
            behind: tuple[Tokens, ...] = ()
            if self.with_path:
                taken = path if asked is None else tuple(t.rows(_index(asked, t)) for t in path)
                behind = (*taken, after)
            missing = (
                self.pictures[group_rows] - remaining.pictures().cpu().numpy() if last else None
            )
            yield from self.below(
                after, layer + 1, group, dense, group_rows, whole=same and whole, path=behind,
                left_out=missing,
            )  # fmt: skip

    def _asked(self, group: list[int], rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Samples of `rows` that the group's candidates are evaluated on, int64; None for all."""
        asked = self.wanted[group][:, rows].any(0)
        return None if asked.all() else np.flatnonzero(asked)

    def _dropper(
        self, label: str, tokens: Tokens, layer: int, trunk: Trunk | None, whole: bool
    ) -> Drop:
        operator = self.operators[label]
        if whole:  # from here on its tokens carry its own extras alone
            tokens = replace(tokens, extras=operator.extras)
        return dropper(
            self.adapter, operator.pruner, self.meter, tokens, layer, trunk if whole else None,
            per_picture=self.per_picture,
        )  # fmt: skip

    def _run(self, tokens: Tokens, layer: int, rows: NDArray[np.int64]) -> Tokens:
        batch, length = tokens.hidden.shape[:2]
        if self.answers is not None and layer == self.adapter.spec.layers - 1:
            cost = answer_layer_cost(self.adapter.spec, length, self.answers.shape[1])
            after = run_last_at(self.adapter, tokens, self.answers[_index(rows, tokens)])
        else:
            cost = float(layer_cost(self.adapter.spec, length))
            after = tokens.run(self.adapter, layer, with_values=self.with_path)
        self.meter.flops += batch * cost
        return after


def without_visual(tokens: Tokens) -> Tokens:
    """Text alone."""
    return tokens.keep(tokens.validity & ~tokens.visual)


def dropper(
    adapter: Adapter,
    pruner: Pruner,
    meter: Executed,
    tokens: Tokens,
    layer: int,
    trunk: Trunk | None = None,
    *,
    per_picture: bool = False,
) -> Drop:
    """A function from kept counts [B] to the tokens that stay; siblings share one ranking.

    It takes which samples of the batch go on, int64 [b], None for all. With `per_picture` every
    picture keeps a token where the counts leave room for all.
    """
    ranking = None if trunk is None else trunk.rankings.get((pruner.label, layer))

    def drop(counts: NDArray[np.int64], rows: NDArray[np.int64] | None = None) -> Tokens:
        nonlocal ranking
        staying, order = tokens, ranking
        if isinstance(pruner, ScorePruner) and order is None and _ranks(tokens, counts):
            order = ranking = pruner.order(tokens.context(adapter, layer))
            if trunk is not None:
                trunk.note(pruner.label, layer, order)
            meter.flops += choosing_flops(adapter, pruner, tokens, layer)
        wanted = torch.from_numpy(counts).to(tokens.hidden.device)
        if rows is not None:
            index = _index(rows, tokens)
            staying, wanted, counts = tokens.rows(index), wanted[index], counts[rows]
            order = None if order is None else order[index]
        if not _ranks(staying, counts):
            return staying if wanted.any() else without_visual(staying)
        most = int(wanted.max())
        context = staying.context(adapter, layer)
        if isinstance(pruner, ScorePruner):
            assert order is not None
            width = context.visual.shape[1]  # absent tokens come last, maybe from beyond it
            order = order[:, :width].clamp(max=width - 1)
            selection = Selection(pruner.take(context, order, wanted), order=order)
        else:
            selection = pruner.select(context, wanted)
            meter.flops += choosing_flops(adapter, pruner, staying, layer, counts)
        if per_picture:
            selection = with_each_picture(context, selection, wanted)
        weights = selection.weights
        chosen = context.visual.gather(1, selection.indices)
        stays = torch.arange(most, device=chosen.device)[None] < wanted[:, None]
        keep_mask = staying.validity & ~staying.visual
        # rows that keep fewer than `most` write their surplus where a kept token is anyway
        text = keep_mask.long().argmax(1, keepdim=True).expand_as(chosen)
        chosen = torch.where(stays, chosen, text)
        if weights is not None:
            staying = _merged(staying, context.visual, chosen, weights)
        return staying.keep(keep_mask.scatter(1, chosen, True))

    return drop


def _ranks(tokens: Tokens, counts: NDArray[np.int64]) -> bool:
    """Whether going down to `counts` [B] leaves a choice: not all tokens stay, and not none."""
    present = tokens.visual.sum(1).cpu().numpy()
    return bool(counts.any()) and bool((counts != present).any())


def _index(rows: NDArray[np.int64], tokens: Tokens) -> Tensor:
    return torch.from_numpy(rows).to(tokens.hidden.device)


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


def choosing_flops(
    adapter: Adapter,
    pruner: Pruner,
    tokens: Tokens,
    layer: int,
    counts: NDArray[np.int64] | None = None,
) -> float:
    """FLOPs of this batch's drop before `layer` to `counts` [B] visual tokens, padding included.

    Without counts, those of ranking the tokens once.
    """
    return float(pruner.cost(_drop_counts(adapter, tokens, layer, counts)).sum())


def _drop_counts(
    adapter: Adapter, tokens: Tokens, layer: int, counts: NDArray[np.int64] | None = None
) -> DropCounts:
    visual = tokens.visual.sum(1).cpu().numpy()
    lengths = np.full_like(visual, tokens.length)
    return DropCounts(adapter.spec, layer, lengths, visual, visual if counts is None else counts)
