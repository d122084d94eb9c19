"""Clusters of questions, and the schedules that each of them starts from.

A question decides how many visual tokens it needs, and where. Similar questions lie together before
the decoder, so k-means finds clusters of them. Each cluster starts from a static front of its own:
of schedules that were really evaluated, with m_g(j) the mean score of schedule j on cluster g and
u_g(j) its mean compute, cluster g takes at budget b

    argmax_j  m_g(j) - lambda u_g(j),     one lambda for all clusters, the least that keeps
    sum_g p_g u_g(j_g) <= b,              p_g the share of cluster g

(Everett's generalised Lagrange multipliers, doi:10.1287/opre.11.3.399). So easy clusters pay for
hard ones from the start. Means of few samples are shrunk towards the mean over all clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from paretoprune.search.gradient.initial_designs import InitialDesigns, predict
from paretoprune.search.gradient.relaxation import AdaptiveRelaxation

PRIOR_SAMPLES = 10.0
"""Samples that the mean over all clusters counts for in the mean of one."""
MIN_CLUSTER_SAMPLES = 16
"""Samples per cluster, on average, below which there are fewer clusters."""
KMEANS_STARTS = 4
PRICES = np.geomspace(1e-3, 1e3, 600)
"""Values of lambda that are tried."""


@dataclass(frozen=True)
class Clusters:
    """Centres float64 `[clusters, features]`, and the variance of a feature within a cluster.

    `labels` int64 `[samples]` is the cluster of each sample; `flops` are those of the clustering.
    """

    centres: NDArray[np.float64]
    variance: float
    labels: NDArray[np.int64]
    flops: float


def cluster_questions(questions: NDArray[np.float64], count: int, seed: int) -> Clusters:
    """Up to `count` clusters of questions `[samples, features]`, by k-means (Lloyd)."""
    samples, features = questions.shape
    count = max(1, min(count, samples // MIN_CLUSTER_SAMPLES, len(np.unique(questions, axis=0))))
    found = KMeans(count, n_init=KMEANS_STARTS, random_state=seed).fit(questions)
    within = float(found.inertia_) / questions.size
    whole = float(questions.var(axis=0).mean())
    flops = 2.0 * samples * features * count * KMEANS_STARTS * found.n_iter_
    return Clusters(
        found.cluster_centers_, max(within, 1e-3 * whole, 1e-9), found.labels_.astype(np.int64),
        flops,
    )  # fmt: skip


def start_clusters(
    designs: InitialDesigns,
    relaxed: AdaptiveRelaxation,
    clusters: Clusters,
    budgets: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The place in `designs` that each cluster starts from at each budget, `[clusters, budgets]`.

    And the predicted mean score of all samples then, `[budgets]`.
    """
    scores = np.stack([d.retained for d in designs.evaluated if d.retained is not None])
    numbers = relaxed.part(designs.evaluated[0].candidate.share)
    compute = np.stack(
        [relaxed.sample_compute(row.expand(len(numbers), -1), numbers) for row in designs.points]
    )
    labels, count = clusters.labels[numbers], len(clusters.centres)
    known = np.stack([design.ratios for design in designs.evaluated])
    measured = means_per_cluster(scores, labels, count)
    means = np.stack([predict(known, own, designs.ratios) for own in measured])
    chosen = best_per_cluster(means, compute, labels, budgets)
    share = np.bincount(labels, minlength=count) / len(labels)
    return chosen, share @ np.take_along_axis(means, chosen, axis=1)


def means_per_cluster(
    scores: NDArray[np.float64], labels: NDArray[np.int64], clusters: int
) -> NDArray[np.float64]:
    """Mean score of each schedule on each cluster, `[clusters, schedules]`.

    From scores `[schedules, samples]`. Shrunk towards the mean over all clusters, the more the
    fewer samples a cluster has.
    """
    overall = scores.mean(axis=1)
    means = []
    for cluster in range(clusters):
        members = labels == cluster
        trust = members.sum() / (members.sum() + PRIOR_SAMPLES)
        own = scores[:, members].mean(axis=1) if members.any() else overall
        means.append(trust * own + (1 - trust) * overall)
    return np.array(means)


def best_per_cluster(
    means: NDArray[np.float64],
    compute: NDArray[np.float64],
    labels: NDArray[np.int64],
    budgets: NDArray[np.float64],
) -> NDArray[np.int64]:
    """The schedule that each cluster starts from at each budget, int64 `[clusters, budgets]`.

    `means` are scores `[clusters, schedules]`, `compute` is `[schedules, samples]`. Where no
    schedule fits, the cheapest.
    """
    clusters = np.arange(len(means))
    share = np.array([(labels == cluster).mean() for cluster in clusters])
    # a cluster without a sample costs the mean of all samples
    cost = np.stack(
        [compute[:, labels == c if share[c] else slice(None)].mean(1) for c in clusters]
    )
    chosen = (means[None] - PRICES[:, None, None] * cost[None]).argmax(2)  # [prices, clusters]
    spent = (cost[clusters, chosen] * share).sum(1)
    # the first price, from the lowest up, at which the mean fits
    fits = spent[:, None] <= budgets + 1e-9  # [prices, budgets]
    place = np.where(fits.any(0), fits.argmax(0), len(PRICES) - 1)
    return np.asarray(chosen[place].T, dtype=np.int64)
