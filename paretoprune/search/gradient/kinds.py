"""Kinds of questions, and the schedules that each of them should start from.

What a question asks decides how many visual tokens it needs, and where. Nobody says which kinds
there are; questions of one kind lie together before the decoder, so k-means finds them. Every kind
gets a static front of its own to start from: of schedules that were really evaluated, with m_g(j)
the mean score of schedule j on kind g and u_g(j) its mean compute, kind g takes at budget b

    argmax_j  m_g(j) - lambda u_g(j),     one lambda for all kinds, the least that keeps
    sum_g p_g u_g(j_g) <= b,              p_g the share of kind g

(Everett's generalised Lagrange multipliers, doi:10.1287/opre.11.3.399). So easy kinds pay for hard
ones from the start. Means of few samples are drawn towards the mean over all kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

PRIOR = 10.0
"""Samples that the mean over all kinds counts for, beside those of a kind."""
FEWEST = 16
"""Samples per kind, on average, below which there are fewer kinds."""
PRICES = np.geomspace(1e-3, 1e3, 600)
"""Values of lambda that are tried."""


@dataclass(frozen=True)
class Kinds:
    """Centres float64 `[kinds, features]`, the variance of a feature within a kind, and labels.

    `labels` int64 `[samples]` is the kind of each sample; `flops` are those of the clustering.
    """

    centres: NDArray[np.float64]
    spread: float
    labels: NDArray[np.int64]
    flops: float


def kinds_of(questions: NDArray[np.float64], count: int, seed: int) -> Kinds:
    """Up to `count` kinds of questions `[samples, features]`, by k-means (Lloyd)."""
    samples, features = questions.shape
    count = max(1, min(count, samples // FEWEST, len(np.unique(questions, axis=0))))
    starts = 4
    found = KMeans(count, n_init=starts, random_state=seed).fit(questions)
    within = float(found.inertia_) / questions.size
    whole = float(questions.var(axis=0).mean())
    flops = 2.0 * samples * features * count * starts * found.n_iter_
    return Kinds(
        found.cluster_centers_, max(within, 1e-3 * whole, 1e-9), found.labels_.astype(np.int64),
        flops,
    )  # fmt: skip


def means_per_kind(
    scores: NDArray[np.float64], labels: NDArray[np.int64], kinds: int
) -> NDArray[np.float64]:
    """Mean score of each schedule on each kind, `[kinds, schedules]`, from `[schedules, samples]`.

    Drawn towards the mean over all kinds, the more the fewer samples a kind has.
    """
    overall = scores.mean(axis=1)
    means = []
    for kind in range(kinds):
        mine = labels == kind
        trust = mine.sum() / (mine.sum() + PRIOR)
        own = scores[:, mine].mean(axis=1) if mine.any() else overall
        means.append(trust * own + (1 - trust) * overall)
    return np.array(means)


def best_per_kind(
    means: NDArray[np.float64],
    compute: NDArray[np.float64],
    labels: NDArray[np.int64],
    budgets: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Which schedule each kind starts from at each budget, int64 `[kinds, budgets]`.

    `means` are scores `[kinds, schedules]`, `compute` is `[schedules, samples]`. Where no schedule
    fits, the cheapest.
    """
    kinds = np.arange(len(means))
    share = np.array([(labels == kind).mean() for kind in kinds])
    # a kind of which no sample is there costs what all others do
    cost = np.stack(
        [compute[:, labels == kind if share[kind] else slice(None)].mean(1) for kind in kinds]
    )
    chosen = (means[None] - PRICES[:, None, None] * cost[None]).argmax(2)  # [prices, kinds]
    spent = (cost[kinds, chosen] * share).sum(1)
    # the first price, from the lowest up, at which the mean fits
    fits = spent[:, None] <= budgets + 1e-9  # [prices, budgets]
    place = np.where(fits.any(0), fits.argmax(0), len(PRICES) - 1)
    return np.asarray(chosen[place].T, dtype=np.int64)
