"""Every registered strategy runs to its budget: on mixed knobs, on a toy of layers, on mini-LLaVA.

`.ci/run` runs this with the lowest version of each direct dependency, too.
"""

import pytest

from paretoprune.compression.load import load_problem
from paretoprune.core.study import run_study
from paretoprune.frontier import front_of
from paretoprune.registry import strategies
from paretoprune.search.specs import StrategySpec
from paretoprune.testing.layered import Layered
from paretoprune.testing.toys import Toy

pytestmark = pytest.mark.slow  # the contract suites run every strategy, too
BUILT_IN = sorted(strategy.name for strategy in strategies if not strategy.is_plugin)
GRADIENT = {n for n in BUILT_IN if strategies.load(n).requires_gradient}
PER_LAYER = {"g-search", "p-sigmoid", "fitprune", "vtw", "autoprune"}
SMALLER = {"gp": "gp:startup=22", "fitprune": "fitprune:targets=2"}
"""A Gaussian process takes a good part of a second to fit, an attention profile to measure."""


@pytest.fixture(scope="module")
def small():
    return load_problem("mini-llava", search_size=16, heldout_size=0)


def check(problem, name, budget):
    result = run_study(problem, StrategySpec.parse(SMALLER.get(name, name)).build(), budget=budget)
    assert 0 < result.spent <= budget + 1e-6
    assert result.evaluations and not [e.failure for e in result.evaluations if e.failure]
    assert front_of(result.evaluations, problem.objectives).size


@pytest.mark.parametrize("name", BUILT_IN)
def test_it_searches_token_pruning(small, name):
    check(small, name, budget=12)


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - GRADIENT - PER_LAYER - {"grid"}))
def test_it_searches_mixed_knobs(name):
    """Real, whole, categorical and conditional ones: more than one generation of each algorithm."""
    check(Toy(), name, budget=24)


@pytest.mark.parametrize("name", sorted(PER_LAYER))
def test_it_searches_ratios_per_layer(name):
    check(Layered(), name, budget=12)
