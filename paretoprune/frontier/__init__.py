"""Fronts: dominance, indicators, held-out area, attainment, statistics, choosing a point."""

from paretoprune.frontier.attainment import (
    attainment,
    median_attainment,
    worst_attainment,
)
from paretoprune.frontier.choosing import Bound, Choice, choose, knee
from paretoprune.frontier.dominance import front_of, nondominated
from paretoprune.frontier.heldout import (
    BUDGETS,
    heldout_front_area,
    heldout_front_area_samples,
    picks,
)
from paretoprune.frontier.indicators import (
    additive_epsilon,
    average_hausdorff,
    hypervolume,
    igd_plus,
    normalise,
)
from paretoprune.frontier.pairs import Pair, compare_pairs, holm
from paretoprune.frontier.ranks import Ranks, rank_over_problems
from paretoprune.frontier.recovery import mean_deviation, recovered_share
from paretoprune.frontier.significance import significantly_better
from paretoprune.frontier.statistics import (
    Interval,
    PairedTest,
    bootstrap_area,
    bootstrap_mean,
    paired_test,
)

__all__ = [
    "BUDGETS",
    "Bound",
    "Choice",
    "Interval",
    "Pair",
    "PairedTest",
    "Ranks",
    "additive_epsilon",
    "attainment",
    "average_hausdorff",
    "bootstrap_area",
    "bootstrap_mean",
    "choose",
    "compare_pairs",
    "front_of",
    "heldout_front_area",
    "heldout_front_area_samples",
    "holm",
    "hypervolume",
    "igd_plus",
    "knee",
    "mean_deviation",
    "median_attainment",
    "nondominated",
    "normalise",
    "paired_test",
    "picks",
    "rank_over_problems",
    "recovered_share",
    "significantly_better",
    "worst_attainment",
]
