"""TopV (arXiv 2503.18278): keep the tokens that the layer's output is made of, by transport."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.core.space import Float, Int
from paretoprune.cost import attention_cost
from paretoprune.pruning.base import DropCounts, PruningContext, ScorePruner, setting
from paretoprune.pruning.context import pick

SIDE = 24.0
"""Tokens along a picture's side that distances are measured in: LLaVA-1.5's, whatever the grid."""
SIGMA = 10.0
"""Width of the Gaussian over distances, in such tokens."""
BLOCK = 256
"""Rows of the cost matrix that are computed at a time."""
HELD = 1024
"""Visual tokens up to which these blocks are held; of more, each pass computes them anew."""

Rows = Callable[[], Iterable[tuple[slice, Tensor]]]


@dataclass(eq=False)
class TopV(ScorePruner):
    """Score = a token's contribution to the visual tokens in the MLP input of the layer before.

    Section 3: the visual tokens that entered that layer are sources s_i, those behind its attention
    and second norm targets t_j ("Post-LN"). With places in the picture x and its centre c, moving
    s_i to t_j costs

        C_ij = |s_i - t_j|^2 + spatial (1 - exp(-|x_i - x_j|^2 / 2 sigma^2)) + central |x_i - c|,

    and the transport plan P between them, with masses by the tokens' norms, is Sinkhorn's for
    K = exp(-C / epsilon). The score is the logarithm of the row sum of P. `recovered` is the share
    of the kept tokens that is taken at even steps from those that would go, against gaps; with any,
    the choice is no longer top-k of a score.

    The first term is divided by its mean over all pairs, which makes it comparable in every model.
    The last of Sinkhorn's updates is that of the columns: after one of the rows, their sums would
    be the sources' masses whatever the costs.
    """

    name = "topv"
    first_layer = 1
    needs = frozenset({"attended", "embeddings", "grid"})
    spatial: float = setting(1.0, Float("spatial", 0.0, 2.0, step=0.1))
    central: float = setting(0.01, Float("central", 0.0, 0.1, step=0.005))
    epsilon: float = setting(0.02, Float("epsilon", 0.02, 1.0, step=0.02))
    iterations: int = setting(3, Int("iterations", 1, 16))
    recovered: float = setting(
        0.0, Float("recovered", 0.0, 1.0, step=0.05, unit="share of kept tokens")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.relaxable = self.recovered == 0

    def score(self, context: PruningContext) -> Tensor:
        """Logarithm of each visual token's share of the contributions, [B, V]."""
        if context.before is None:
            raise ValueError("layer 0 has no layer before it; declare first_layer = 1")
        source, target = (
            pick(x, context.visual).to(context.states.dtype)
            for x in (context.before, context.attended)
        )
        place = context.extra("grid").to(source.dtype)
        return self.importance(source, target, place, context.keep_mask)

    def importance(
        self, source: Tensor, target: Tensor, place: Tensor, keep_mask: Tensor
    ) -> Tensor:
        """Logarithm of row sums of the plan, [B, V]; -inf where bool [B, V] `keep_mask` is false.

        `source` and `target` [B, V, hidden], `place` [B, V, 3]: picture, row and column in 0..1.
        """
        target = target.masked_fill(~keep_mask[..., None], 0.0)

        def rows() -> Iterable[tuple[slice, Tensor]]:
            return self._rows(source, target, place, keep_mask)

        if source.shape[1] <= HELD:
            held = list(rows())
            return row_sums(
                lambda: held, _mass(source, keep_mask), _mass(target, keep_mask), self.iterations
            )
        return row_sums(rows, _mass(source, keep_mask), _mass(target, keep_mask), self.iterations)

    def _rows(
        self, source: Tensor, target: Tensor, place: Tensor, keep_mask: Tensor
    ) -> Iterator[tuple[slice, Tensor]]:
        """Rows of -C / epsilon, [B, rows, V] each, and which rows they are."""

        def mean(x: Tensor) -> Tensor:
            return (x * keep_mask[..., None]).sum(1) / keep_mask.sum(1, keepdim=True).clamp(min=1)

        tiny = torch.finfo(source.dtype).tiny
        lengths = [x.square().sum(-1) for x in (source, target)]
        norms = mean(lengths[0][..., None]) + mean(lengths[1][..., None])  # [B, 1]
        typical = norms - 2 * (mean(source) * mean(target)).sum(-1, keepdim=True)
        typical = typical.clamp(min=torch.finfo(norms.dtype).eps * norms + tiny)[..., None]
        away = SIDE * (place[..., 1:] - 0.5).norm(dim=-1)
        for start in range(0, source.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            products = torch.bmm(source[:, part], target.transpose(1, 2))
            squared = lengths[0][:, part, None] + lengths[1][:, None] - 2 * products
            cost = squared.clamp(min=0) / typical
            gap = SIDE * (place[:, part, None, 1:] - place[:, None, :, 1:])
            near = torch.exp(-gap.square().sum(-1) / (2 * SIGMA**2))
            near = near * (place[:, part, None, 0] == place[:, None, :, 0])
            cost += self.spatial * (1 - near) + self.central * away[:, part, None]
            yield part, -cost / self.epsilon

    def cost(self, drop: DropCounts) -> NDArray[np.float64]:
        """Attention of the layer before, once more, and products of all sources and targets."""
        passes = np.where(drop.visual <= HELD, 1, self.iterations + 1)
        products = 2.0 * drop.spec.hidden * passes * np.square(drop.visual)
        return attention_cost(drop.spec, drop.tokens) + products

    def take(self, context: PruningContext, order: Tensor, counts: Tensor) -> Tensor:
        """The best, and the share that is recovered, at even steps among the others."""
        if self.recovered == 0:
            return super().take(context, order, counts)
        taken = []
        for row, n, has in zip(
            order, counts.tolist(), context.present.sum(1).tolist(), strict=True
        ):
            recovered = int(n * self.recovered + 0.5)
            best, others = row[: n - recovered], row[n - recovered :]
            going = others[: max(0, has - len(best))].sort().values
            recovered = min(recovered, len(going))
            even = torch.arange(recovered, device=row.device) * len(going) // max(1, recovered)
            chosen = torch.cat([best, going[even]])
            left = torch.ones_like(row, dtype=torch.bool)
            left[chosen] = False
            taken.append(torch.cat([chosen, row[left[row]]])[: int(counts.max())])
        return torch.stack(taken)


def row_sums(rows: Rows, source: Tensor, target: Tensor, iterations: int) -> Tensor:
    """Logarithm of the row sums of Sinkhorn's plan, [B, V].

    `rows` gives logarithms of the kernel K, `source` and `target` [B, V] are those of the masses,
    -inf for what is absent. The plan is diag(u) K diag(v), from u = 1: v, then u and v in turn, so
    that its columns have the targets' masses. One pass over the rows per iteration, and one more.
    """
    absent = source.isneginf()
    row_scale = torch.zeros_like(source).masked_fill(absent, -torch.inf)  # log u
    column_scale = torch.zeros_like(target)  # log v
    for step in range(iterations):
        column = torch.full_like(target, -torch.inf)
        for part, kernel in rows():
            if step:
                row = (kernel + column_scale[:, None]).logsumexp(-1)
                row_scale[:, part] = (source[:, part] - row).masked_fill(
                    absent[:, part], -torch.inf
                )
            column = torch.logaddexp(column, (kernel + row_scale[:, part, None]).logsumexp(1))
        column_scale = (target - column).masked_fill(target.isneginf(), -torch.inf)
    sums = [
        row_scale[:, part] + (kernel + column_scale[:, None]).logsumexp(-1)
        for part, kernel in rows()
    ]
    return torch.cat(sums, 1).masked_fill(absent, -torch.inf)


def _mass(states: Tensor, keep_mask: Tensor) -> Tensor:
    """Logarithm of each token's share of the norms, [B, V]; -inf where it is not `keep_mask`."""
    tiny = torch.finfo(states.dtype).tiny
    norms: Tensor = states.norm(dim=-1).clamp(min=tiny) * keep_mask
    return (norms / norms.sum(1, keepdim=True).clamp(min=tiny)).log()
