"""VisPCO's formulation on the toy relaxation, and its Lagrangian by hand."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from paretoprune.compression.problem import Compression
from paretoprune.core.strategy import SearchContext
from paretoprune.core.study import run_study
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.policies.files import read_policy, write_policy
from paretoprune.pruning.policies.vispco import VispcoPolicy, token_predictor_flops
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.search.gradient.state import GradientState
from paretoprune.search.gradient.vispco import Vispco, VispcoOptions
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.policies import PolicyContract
from paretoprune.testing.relaxations import ToyPruning
from paretoprune.testing.strategies import StrategyContract


class TestVispco(StrategyContract):
    budget_of_resumed = 400.0
    handles_continuous = False
    handles_conditional = False
    asks = 30

    def make(self):
        return Vispco(batch=8, inner_steps=4, learning_rate=0.02)

    def problem(self):
        return ToyPruning(step_cost=20.0)


def started(**options):
    search = Vispco(VispcoOptions(**options))
    context = SearchContext(seed=0, budget=30.0)
    search.start(ToyPruning(step_cost=0.05), context)
    return search, context


class TestVispcoPolicy(PolicyContract):
    kernel = "single-step"

    def make(self, spec):
        policy = VispcoPolicy(spec.layers, 8, spec.hidden, self.kernel, 0.6, width=4)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in policy.net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            policy.net.head.weight.mul_(0.3)
            policy.net.head.bias.zero_()
        return policy


def test_one_step_descends_the_papers_lagrangian():
    """The gradient of KL - w c + sigma/2 c^2, taken here in one piece on the same draws."""
    search, context = started(batch=4, inner_steps=1, sigma=30.0)
    search.w = 0.7
    context.asks = 1
    rng = context.rng()
    budgets = torch.from_numpy(0.01 + 0.94 * rng.random(4))
    samples = rng.permutation(16)[:4]
    rows = search.ratios(samples, budgets)
    gap = budgets - search.relaxed.sample_compute(rows, samples)
    loss = search.relaxed.loss(rows, samples, tau=0.1)
    whole = (loss - 0.7 * gap + 15.0 * gap**2).mean()
    parameters = list(search.policy.net.parameters())
    expected = torch.autograd.grad(whole, parameters)
    search.ask(1)
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-10)


def test_the_predictor_looks_at_every_token_of_the_input():
    """Schedules of two inputs differ; padding plays no part; order of tokens neither (a mean)."""
    policy = TestVispcoPolicy().make(SimpleNamespace(layers=8, hidden=6))
    embeddings = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
    there = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    rows = policy.predict(embeddings, there)
    assert not torch.allclose(rows[0], rows[1])
    other = torch.where(there[..., None], embeddings, 7.0 + embeddings)
    assert torch.allclose(policy.predict(other, there), rows)
    assert torch.allclose(policy.predict(embeddings[:1].flip(1), there[:1])[0], rows[0], atol=1e-5)
    one = embeddings.clone()
    one[0, 4] += 1.0
    assert not torch.allclose(policy.predict(one, there)[0], rows[0])


def test_the_predictor_is_paid_for():
    """Forward and backward on the batch, five passes for the report's curves, in every epoch."""
    search, context = started(batch=4, inner_steps=2)
    context.asks = 1
    search.ask(1)
    row = float(token_predictor_flops(np.array([1]), 1, 2, 32)[0]) / 1e9
    assert context.spent == pytest.approx(1.0 + 2 * 0.05 + row * (3 * 8 + 5 * 4))


def test_multiplier_and_penalty_follow_the_rules():
    """w <- w - sigma c; sigma doubles where |c| fell by less than half; three epochs to stop."""
    search, _ = started()
    update = partial(search._update, samples=np.arange(2))
    update(0.0, 0.02, 0.2)
    assert search.w == pytest.approx(1.0 - 100.0 * 0.02)
    assert search.sigma == 100.0  # there is no epoch before the first
    update(0.0, -0.01, 0.15)
    assert search.w == pytest.approx(-1.0 + 100.0 * 0.01)
    assert search.sigma == 200.0
    update(0.0, 0.0, 0.05)
    assert search.sigma == 200.0  # fell to a third
    assert search.met == 0
    for expected in (1, 2, 3):
        update(0.0, 0.0, 0.009)
        assert search.met == expected
    update(0.0, 0.0, 0.02)
    assert search.met == 0


@pytest.mark.slow
def test_learns_to_meet_budgets_with_a_larger_step_size():
    """At the paper's 1e-4 two hundred steps move little; the formulation itself works."""
    search = Vispco(learning_rate=0.02, batch=16, max_final_evaluations=8)
    run_study(ToyPruning(step_cost=0.05), search, budget=40.0)
    budgets = torch.linspace(0.35, 0.9, 8, dtype=torch.float64)
    with torch.no_grad():
        rows = search.ratios(np.arange(8), budgets)
        reached = search.relaxed.sample_compute(rows, np.arange(8))
    assert float((reached - budgets).abs().max()) < 0.08
    distances = [h["distance"][0] for h in search.history]
    assert np.mean(distances[-3:]) < 0.5 * np.mean(distances[:3])


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 3, 40])
def test_a_stored_state_continues_identically(tmp_path, after):
    def play(search, context, asks):
        found = []
        for _ in range(asks):
            context.asks += 1
            found += [c.policy.key for c in search.ask(2)]
        return found

    whole, context = started(learning_rate=0.01, batch=8)
    play(whole, context, after)
    spent = context.spent
    whole.state().save(tmp_path / "state.safetensors")
    expected = play(whole, context, 40)
    again, other = started(learning_rate=0.01, batch=8)
    other.asks, other.spent = after, spent
    again.restore(GradientState.load(tmp_path / "state.safetensors"))
    assert play(again, other, 40) == expected
    assert again.history == whole.history


def test_bad_options_are_named():
    with pytest.raises(InvalidValueError, match="batch must be 1 or more, got 0"):
        Vispco(batch=0)
    with pytest.raises(InvalidValueError, match="sigma must be positive, got -1"):
        Vispco(sigma=-1)


def test_the_kernel_of_the_options_is_searched():
    """It once fell back to the problem's default space."""
    search = Vispco(learning_rate=0.02, max_final_evaluations=2)
    found = run_study(ToyPruning(step_cost=0.05), search, budget=10.0)
    assert {e.candidate.policy.kernel_name for e in found.evaluations} == {"single-step"}
    by_space = run_study(ToyPruning(step_cost=0.05), Vispco(), budget=10.0, space="linear")
    assert {e.candidate.policy.kernel_name for e in by_space.evaluations} == {"linear"}


@pytest.mark.slow
def test_on_the_mini_llava_its_policies_are_evaluated_and_stored(mini, tmp_path):
    problem = Compression(
        mini.adapter, mini.samples[:16], Tokens(FastV()), heldout_samples=mini.samples[16:32]
    )
    search = Vispco(batch=4, inner_steps=2, max_final_evaluations=3, learning_rate=0.02)
    result = run_study(problem, search, budget=8.0)
    assert result.spent <= 8.0
    assert [e.metrics["budget"] for e in result.evaluations] == [0.01, 0.48, 0.95]
    policy = result.evaluations[1].candidate.policy
    write_policy(tmp_path / "p.json", policy, pruner="fastv")
    assert read_policy(tmp_path / "p.json").policy.key == policy.key
    (held,) = problem.heldout.evaluate([result.evaluations[1].candidate])
    assert held.complete
