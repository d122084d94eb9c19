"""One function per claim, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from paretoprune.experiments.reproduce.cached_runs import CachedRuns
from paretoprune.experiments.reproduce.claims.approximates import (
    across_families,
    across_pruners,
    against_the_grid,
)
from paretoprune.experiments.reproduce.claims.gap import relaxation_gap
from paretoprune.experiments.reproduce.claims.kernels import multi_step_beats_single_step
from paretoprune.experiments.reproduce.claims.patterns import layer_patterns
from paretoprune.experiments.reproduce.claims.transfer import transfer
from paretoprune.experiments.reproduce.claims.untuned import where_nothing_was_tuned
from paretoprune.experiments.reproduce.finding import Finding

Claim = Callable[[CachedRuns], tuple[Finding, Figure]]

CLAIMS: dict[int, tuple[str, Claim]] = {
    1: ("grid", against_the_grid),
    2: ("pruners", across_pruners),
    3: ("families", across_families),
    4: ("kernels", multi_step_beats_single_step),
    5: ("patterns", layer_patterns),
    6: ("gap", relaxation_gap),
    7: ("untuned", where_nothing_was_tuned),
    8: ("transfer", transfer),
}
