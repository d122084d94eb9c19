"""Fronts and their figures: dominance, indicators, held-out area, attainment, statistics."""

from paretoprune.frontier.attainment import median_attainment
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
from paretoprune.frontier.separation import separated
from paretoprune.frontier.statistics import (
    Interval,
    PairedTest,
    bootstrap_area,
    bootstrap_mean,
    paired_test,
)

__all__ = [
    "BUDGETS",
    "Interval",
    "PairedTest",
    "additive_epsilon",
    "average_hausdorff",
    "bootstrap_area",
    "bootstrap_mean",
    "front_of",
    "heldout_front_area",
    "heldout_front_area_samples",
    "hypervolume",
    "igd_plus",
    "median_attainment",
    "nondominated",
    "normalise",
    "paired_test",
    "picks",
    "separated",
]
