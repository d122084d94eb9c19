"""The pruner contract: decides which visual tokens stay, never how many.

A pruner is one class in one file, with a line in the registry. It defines one method, `score`,
`select` or, for one sample at a time, `select_row`, and its `cost`. Settings are dataclass fields.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.space import Knob, Value
from paretoprune.cost import DecoderSpec
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.context import PruningContext as PruningContext

T = TypeVar("T")

NEEDS: dict[str, str] = {
    "query": "attention of the last prompt token",
    "text": "the tokens of the question",
    "keys": "keys of the layer before",
    "embeddings": "hidden states of the visual tokens",
    "attention": "attention among the visual tokens, computed in blocks",
    "attended": "the MLP's input in the layer before: its attention is run once more",
    "vision_encoder": "the class token of the vision encoder",
    "grid": "positions of the visual tokens in the picture",
}
"""Values of `needs`. The adapter provides `vision_encoder` and `grid`, the decoder the others."""


@dataclass(frozen=True)
class Selection:
    """Kept visual tokens: `indices` int64 [B, n] into the context's V visual tokens, best first.

    `weights` [B, n, V], where a pruner merges: kept token i becomes the weighted sum of the V.
    `order` int64 [B, V], where a pruner ranks all tokens: what is not chosen, from best to worst.
    """

    indices: Tensor
    weights: Tensor | None = None
    order: Tensor | None = None


@dataclass(frozen=True)
class DropCounts:
    """Token counts of a drop before `layer`, by which it is priced: int64 arrays of one shape.

    Of `tokens`, `visual` are visual, and `kept_counts` of these stay.
    """

    spec: DecoderSpec
    layer: int
    tokens: NDArray[np.int64]
    visual: NDArray[np.int64]
    kept_counts: NDArray[np.int64]


def setting(default: T, knob: Knob) -> T:
    """A field of a pruner that users may set and searches may choose, within the knob's bounds."""
    made: T = field(default=default, metadata={"knob": knob})
    return made


class Pruner(ABC):
    """Ranks visual tokens. Same context, same choice: no hidden randomness."""

    name: ClassVar[str]
    first_layer: ClassVar[int] = 1
    """The first layer before which it can act: 0 before the decoder, 1 if it needs attention."""
    relaxable: bool = False
    """Whether its choice is top-k of a score, so that the soft decoder can follow it."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Required inputs: names of `NEEDS`."""
    merges: ClassVar[bool] = False
    """Whether dropped tokens are merged into kept ones."""
    withdraws: ClassVar[bool] = False
    """Whether it keeps all visual tokens or none, and so ranks nothing."""
    knobs: ClassVar[tuple[Knob, ...]] = ()
    """Its settings by name, with bounds: those of its fields that are made by `setting`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        knobs = (x.metadata.get("knob") for x in vars(cls).values() if isinstance(x, Field))
        own = tuple(knob for knob in knobs if knob is not None)
        if own:
            cls.knobs = (*cls.knobs, *own)

    def __post_init__(self) -> None:
        for knob in self.knobs:
            setattr(self, knob.name, knob.inside(getattr(self, knob.name)))

    @property
    def settings(self) -> dict[str, Value]:
        """Value of each knob."""
        return {knob.name: getattr(self, knob.name) for knob in self.knobs}

    @property
    def label(self) -> str:
        """Name and settings as they are written: `dart:visual_pivots=4,text_pivots=4`."""
        written = ",".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.name}:{written}" if written else self.name

    def fitted(self, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        """The keep schedules `[..., layers]` that it follows where a search proposes `ratios`.

        Layers before `first_layer` stay whole; one that `withdraws` lets all tokens go where the
        first would.
        """
        fitted = np.array(ratios, dtype=np.float64)
        fitted[..., : self.first_layer] = 1.0
        return np.where(fitted < 1.0, 0.0, 1.0) if self.withdraws else fitted

    def check(self, ratios: NDArray[np.float64]) -> None:
        """Raise `InvalidValueError` for keep ratios `[..., layers]` that it cannot follow."""
        some = (ratios > 0) & (ratios < 1)
        if self.withdraws and np.any(some):
            raise InvalidValueError(
                f"pruner {self.name!r} keeps all visual tokens or none, but the schedule keeps "
                f"{np.asarray(ratios)[some].max():.0%} of them in a layer; choose another pruner"
            )
        early = some[..., : self.first_layer]
        if np.any(early):
            ratio = ratios[..., : self.first_layer][early].max()
            raise InvalidValueError(
                f"pruner {self.name!r} cannot rank tokens before layer {self.first_layer}, but the "
                f"schedule keeps {ratio:.0%} of them there; keep ratios of earlier layers must be "
                "1 (or 0 for no visual tokens at all)"
            )

    @abstractmethod
    def select(self, context: PruningContext, counts: Tensor) -> Selection:
        """Choose `counts` int64 [B] visual tokens; each sample takes the first ones of its row.

        Rows are as long as the largest count, at most V. Tokens that are not `present` come last.
        """

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """FLOPs of choosing, and of merging, for one drop: float64 of the shape of its counts."""
        return np.zeros(np.shape(drop.tokens))

    # --- once, before layer 0

    def save(self, context: PruningContext) -> dict[str, Tensor]:
        """Extras to carry along from the decoder's entry, before layer 0: [B, T, c] each."""
        return {}

    def entry_cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """FLOPs spent once, before the decoder, however many drops follow; `drop` keeps all tokens.

        The default is the cost of the class attention, if the pruner needs `vision_encoder`.
        """
        per_token = drop.spec.class_query if "vision_encoder" in self.needs else 0.0
        return np.asarray(per_token * drop.visual)


class ScorePruner(Pruner):
    """A pruner that keeps the tokens of highest score; ties keep the earlier token.

    Drops to different counts share one ranking, so its `cost` does not depend on how many are kept.
    """

    relaxable = True

    @abstractmethod
    def score(self, context: PruningContext) -> Tensor:
        """Importance of each visual token, float [B, V]; higher stays longer."""

    def order(self, context: PruningContext) -> Tensor:
        """Visual tokens from best to worst, absent ones last: int64 [B, V]."""
        score = self.score(context)
        order = score.argsort(dim=1, descending=True, stable=True)
        active = context.keep_mask.long() + context.present.long()
        # two stable sorts: by score; then kept tokens, tokens only carried along, padding
        again = active.gather(1, order).argsort(dim=1, descending=True, stable=True)
        return order.gather(1, again)

    def take(self, context: PruningContext, order: Tensor, counts: Tensor) -> Tensor:
        """The first `counts` int64 [B] of an order: int64 [B, largest count], best first.

        Override it, and set `relaxable` to false, where something is added to the best of a score.
        """
        return order[:, : int(counts.max())]

    def select(self, context: PruningContext, counts: Tensor) -> Selection:
        """The chosen part of the order."""
        order = self.order(context)
        return Selection(self.take(context, order, counts), order=order)


def require_score(pruner: Pruner) -> ScorePruner:
    """The pruner itself; raises `UnsupportedError` for one whose choice is not top-k of a score."""
    if isinstance(pruner, ScorePruner) and pruner.relaxable:
        return pruner
    raise UnsupportedError(
        f"pruner {pruner.name!r} is not top-k of a score, so it has no soft form; gradient "
        "strategies need one that has, such as 'fastv'"
    )


class RowPruner(Pruner):
    """A pruner that chooses, for one sample and one n, the kept tokens and their merge weights.

    For those whose best n tokens are no part of their best n + 1. It has no soft form, so gradient
    strategies cannot search it.
    """

    @abstractmethod
    def select_row(self, one: PruningContext, n: int) -> tuple[Tensor, Tensor | None]:
        """Choose n of V visual tokens, 0 < n < V: int64 [n], and weights [n, V] if it merges.

        `one` holds a single sample (B = 1) and only visual tokens that it has. Behind the n chosen
        ones may follow others, best first: a picture that would be left with none gets the best of
        its own.
        """

    def select(self, context: PruningContext, counts: Tensor) -> Selection:
        """Row by row; behind a sample's own choice its other tokens fill up, absent ones last."""
        batch, width = context.visual.shape
        most = int(counts.max())
        order = torch.zeros(batch, width, dtype=torch.int64, device=counts.device)
        weights = context.states.new_zeros(batch, most, width) if self.merges else None
        merging = False
        has = context.present.sum(1)
        for row in range(batch):
            n = min(int(counts[row]), int(has[row]))
            chosen, mixed = torch.arange(n, device=counts.device), None
            if 0 < n < int(has[row]):
                chosen, mixed = self.select_row(context.one(row), n)
            others = torch.ones(width, dtype=torch.bool, device=counts.device)
            others[chosen] = False
            order[row] = torch.cat([chosen, others.nonzero()[:, 0]])
            if weights is not None:
                weights[row].scatter_(1, order[row, :most, None], 1.0)
                if mixed is not None:
                    merging = True
                    weights[row, :n] = 0.0
                    weights[row, :n, : mixed.shape[1]] = mixed
        return Selection(order[:, :most], weights if merging else None, order)


def with_others(chosen: Tensor, order: Tensor) -> Tensor:
    """The chosen tokens int64 [n], and behind them the others of an order int64 [V]."""
    return torch.cat([chosen, order[~torch.isin(order, chosen)]])


def by_pair(cost: Callable[[int, int], float], drop: DropCounts) -> NDArray[np.float64]:
    """`cost(visual, kept_counts)` of each entry, float64 `[...]`; equal pairs are asked once.

    0 where nothing is chosen: no token kept, or every one.
    """
    pairs = np.stack([np.ravel(drop.visual), np.ravel(drop.kept_counts)], 1)
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    costs = [cost(v, n) if 0 < n < v else 0.0 for v, n in distinct.tolist()]
    return np.asarray(costs)[which.reshape(-1)].reshape(np.shape(drop.visual))


def ranking_cost(
    pruner: Pruner, spec: DecoderSpec, tokens: NDArray[np.int64], visual: NDArray[np.int64]
) -> NDArray[np.float64]:
    """FLOPs of ranking `visual` of `tokens` tokens once, where it does not matter how many stay."""
    return pruner.cost(DropCounts(spec, pruner.first_layer, tokens, visual, visual))


def choosing_cost(
    pruner: Pruner,
    spec: DecoderSpec,
    text: NDArray[np.int64],
    visual: NDArray[np.int64],
    kept: NDArray[np.int64],
) -> NDArray[np.float64]:
    """FLOPs of all drops of a keep schedule, float64 [samples], besides the decoder's own layers.

    `kept` [layers, samples] of `visual` tokens [samples]. A drop to no token at all ranks nothing.
    The cost at the decoder's entry is counted once, for samples that drop tokens in any layer.
    """
    total = np.zeros(len(visual))
    is_ranked = np.zeros(len(visual), dtype=bool)
    before = visual
    for layer, now in enumerate(kept):
        ranked = (now < before) & (now > 0)
        drop = DropCounts(spec, layer, text + before, before, now)
        total += np.where(ranked, pruner.cost(drop), 0.0)
        is_ranked |= ranked
        before = now
    entry = DropCounts(spec, 0, text + visual, visual, visual)
    return total + np.where(is_ranked, pruner.entry_cost(entry), 0.0)
