"""The adaptive search against the closed form of the toy relaxation, and on the mini-LLaVA."""

import numpy as np
import pytest
import torch

from paretoprune.compression.problem import Compression
from paretoprune.core.strategy import SearchContext
from paretoprune.core.study import run_study
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError
from paretoprune.pruning.policies.files import read_policy, write_policy
from paretoprune.pruning.policies.predictor import Predicted, between
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.search.gradient.adaptive import AdaptiveOptions, AdaptiveSearch
from paretoprune.search.gradient.state import GradientState
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.layered import Layered
from paretoprune.testing.policies import PolicyContract
from paretoprune.testing.relaxations import WEIGHTS, ToyPruning
from paretoprune.testing.strategies import StrategyContract, Toy

SMALL = {"batch": 8, "inner_steps": 4, "width": 4, "grid_points": 3}


def drawn(policy, seed=0):
    """The policy with weights that make it depend on its input."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        policy.net.centres.copy_(torch.randn(policy.net.centres.shape, generator=generator))
        policy.net.head.weight.mul_(0.5)
    return policy


class TestPredicted(PolicyContract):
    kernel = "free"
    clusters = 1

    def make(self, spec):
        policy = Predicted(
            spec.layers, 8, spec.hidden, self.kernel, [0.2, 0.5, 0.9], 0.6, width=4,
            aims=[0.1, 0.5, 0.9], reached=[0.2, 0.5, 0.8], clusters=self.clusters,
        )  # fmt: skip
        return drawn(policy)


class TestPredictedSteps(TestPredicted):
    kernel = "multi-step"


class TestPredictedKinds(TestPredicted):
    clusters = 3


class TestAdaptive(StrategyContract):
    handles_continuous = False
    handles_conditional = False
    asks = 30

    def make(self):
        return AdaptiveSearch(**SMALL)

    def problem(self):
        return ToyPruning(step_cost=20.0)


@pytest.mark.slow
def test_easy_samples_pay_for_hard_ones_as_the_closed_form_says():
    """Minimum of mean_z f_z sum_l a_l d_zl^2 under mean d = 1 - b: d_zl = lambda / (f_z a_l)."""
    factors = np.array([0.5, 1.5])
    problem = ToyPruning(step_cost=0.02, factors=(0.5, 1.5))
    search = AdaptiveSearch(
        width=8, grid_points=4, batch=16, loss="kl", grid_exponent=1.0, final_share=0.45
    )
    result = run_study(problem, search, budget=14.0)
    weight = (1 / WEIGHTS[1:]).sum()
    checked, losses, fixed = 0, 0.0, 0.0
    for found in result.evaluations:
        budget, missing = found.candidate.policy.budget, 4 * (1 - found.candidate.policy.budget)
        scale = missing / ((1 / factors).mean() * weight)
        if scale / (factors.min() * WEIGHTS[1:].min()) > 0.95:
            continue  # some layer would keep nothing: no longer the closed form
        checked += 1
        assert found.objectives["compute"] == pytest.approx(budget, abs=0.015)
        lost = (1 - found.objectives["score"]) * WEIGHTS.sum()
        assert lost >= 0.97 * scale * missing
        losses, fixed = losses + lost, fixed + missing / weight * missing
        rows = problem.rows(found.candidate)
        assert rows[0].mean() < rows[1].mean()
    assert checked >= 2
    assert losses < 0.9 * fixed  # the best loses 3/4 of what the best fixed schedules lose


@pytest.mark.slow
def test_a_checkpoint_continues_as_if_nothing_had_happened(tmp_path):
    def played(asks, state=None):
        search = AdaptiveSearch(**SMALL)
        context = SearchContext(seed=1, budget=40.0)
        search.start(ToyPruning(step_cost=0.4), context)
        if state is not None:
            search.restore(state)
            context.spent, context.asks = spent
        told = []
        for _ in range(asks):
            context.asks += 1
            told += [c.policy.key for c in search.ask(4)]
            if search.finished:
                break
        return search, context, told

    half, context, _ = played(4)
    half.state().save(tmp_path / "state")
    spent = context.spent, context.asks
    rest = played(100, GradientState.load(tmp_path / "state"))[2]
    assert rest
    assert rest == played(104)[2]


@pytest.mark.slow
def test_without_its_input_it_is_a_static_front():
    search = AdaptiveSearch(grid_points=4)
    search.start(ToyPruning(), SearchContext(seed=0, budget=30.0))
    rows = search.policy.at_aims(search.relaxed.features, np.full(16, search.grid.budgets[2]))
    assert torch.allclose(rows, rows[:1])
    assert float(rows.mean()) == pytest.approx(search.grid.budgets[2], abs=0.02)


def test_between_budgets_weights_are_linear():
    found = between(np.array([0.2, 0.4, 0.9]), np.array([0.1, 0.2, 0.3, 0.65, 1.0]))
    assert found.tolist() == pytest.approx(
        np.array([[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1]])
    )


def test_what_it_costs_is_charged():
    """The predictor's own passes, forward and backward, of the batch and of all constraints."""
    search = AdaptiveSearch(**SMALL)
    context = SearchContext(seed=0, budget=1000.0)
    search.start(ToyPruning(step_cost=2.0), context)
    context.asks = 1
    search.ask(1)
    own = 3 * search._row_flops * (8 + 16 * 3) / 1e9
    clustering = search.clusters.flops / 1e9
    assert context.spent == pytest.approx(1.0 + clustering + 4 * (2.0 + own), rel=1e-12)


def test_problems_without_inputs_are_refused():
    for problem in (Toy(), Layered()):
        with pytest.raises(UnsupportedError):
            AdaptiveSearch().start(problem, SearchContext(seed=0, budget=10.0))


@pytest.mark.parametrize(
    "option", [{"grid_points": 1}, {"final_share": 1.0}, {"learning_rate": 0.0}]
)
def test_impossible_options_are_refused(option):
    with pytest.raises(InvalidValueError, match=next(iter(option))):
        AdaptiveOptions(**option)
    with pytest.raises(UnknownNameError):
        AdaptiveOptions(loss="mse")


@pytest.mark.slow
def test_on_the_mini_llava_it_costs_less_than_a_hundredth_and_is_deployed(mini, tmp_path):
    problem = Compression(
        mini.adapter, mini.samples[:16], Tokens(FastV()), heldout_samples=mini.samples[16:32]
    )
    search = AdaptiveSearch(batch=4, inner_steps=2, grid_points=3, max_final_evaluations=3)
    result = run_study(problem, search, budget=6.0)
    assert result.spent <= 6.0
    assert result.evaluations
    for found in result.evaluations:
        assert found.metrics["deciding"] < 0.01
        assert found.objectives["compute"] == pytest.approx(found.metrics["budget"], abs=0.03)
    policy = result.evaluations[0].candidate.policy
    write_policy(tmp_path / "p.json", policy, pruner="fastv")
    write_policy(tmp_path / "q.json", policy.at(0.7), pruner="fastv")
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert read_policy(tmp_path / "p.json").policy.key == policy.key
    (held,) = problem.heldout.evaluate([result.evaluations[0].candidate])
    assert held.metrics["budget"] == policy.budget
