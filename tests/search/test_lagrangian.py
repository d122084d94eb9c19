"""The gradient search on a toy relaxation with a known solution, and on the embedded model."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from paretoprune.compression.analytic import ZDT1
from paretoprune.compression.problem import Compression
from paretoprune.core.problem import Problem
from paretoprune.core.space import Float, SearchSpace
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.core.study import run_study
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    UnknownNameError,
    UnsupportedError,
)
from paretoprune.pruning.base import Pruner, Selection
from paretoprune.search.gradient import lagrangian
from paretoprune.search.gradient.lagrangian import LagrangianOptions, LagrangianSearch, project
from paretoprune.search.gradient.relaxation import loss_and_slope
from paretoprune.search.gradient.state import GradientState
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.relaxations import WEIGHTS, ToyPruning, ToyRelaxation
from paretoprune.testing.strategies import StrategyContract

LAYERS = ToyRelaxation.layers


class TestLagrangian(StrategyContract):
    handles_continuous = False
    handles_conditional = False
    asks = 30
    budget_of_resumed = 400.0

    def make(self) -> SearchStrategy:
        return LagrangianSearch(LagrangianOptions(grid_points=3, batch=8, inner_steps=2))

    def problem(self) -> Problem:
        return ToyPruning(step_cost=20.0)  # the suite's runs have a budget of 1000


class TestKernelParameters(TestLagrangian):
    def make(self) -> SearchStrategy:
        return LagrangianSearch(kernel="linear", grid_points=3, batch=8, inner_steps=2)


class TestGumbel(TestLagrangian):
    def make(self) -> SearchStrategy:
        return LagrangianSearch(grid_points=3, batch=8, inner_steps=2, estimator="gumbel")


@pytest.fixture
def unsmoothed(monkeypatch):
    """Gradients of single grid points: a neighbour's pulls each a little off its own optimum."""
    monkeypatch.setattr(lagrangian, "NEIGHBOUR_SMOOTHING", 0.0)


def solve(**options):
    search = LagrangianSearch(LagrangianOptions(loss="kl", **options))
    result = run_study(ToyPruning(step_cost=0.05), search, seed=0, budget=40.0)
    return search, result


def test_finds_the_closed_form_optimum_and_meets_every_budget(unsmoothed):
    """1 - r_l proportional to 1 / a_l where no bound is active."""
    search, result = solve(grid_points=4, batch=16)
    assert result.stopped in ("finished", "budget")
    for budget, row in zip(search.grid.budgets, search.ratios.detach().numpy(), strict=True):
        assert row.mean() <= budget + 0.02
    shares = (1 / WEIGHTS[1:]) / (1 / WEIGHTS[1:]).sum()
    for point in (2, 3):  # no bound is active there, nor at their neighbours
        expected = 1 - LAYERS * (1 - search.grid.budgets[point]) * shares
        assert expected.min() > 0
        assert np.allclose(search.ratios.detach().numpy()[point, 1:], expected, atol=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["single-step", "multi-step", "linear", "exponential"])
def test_a_kernel_search_comes_near_the_best_of_its_kernel(unsmoothed, kernel):
    """Against a lattice of the whole kernel, at budgets that every kernel can reach."""
    search, _ = solve(kernel=kernel, grid_points=4, batch=16)
    shape = ToyPruning().kernels[kernel]
    rows = np.stack([shape.schedule(v).ratios for v in thinned(shape.space)])
    losses = (WEIGHTS * (1 - rows) ** 2).sum(1)
    # the second budget's best two steps are in another valley than where the search starts
    first = 2 if kernel == "multi-step" else 1
    for budget, row in list(zip(search.grid.budgets, search.ratios.numpy(), strict=True))[first:]:
        assert row.mean() <= budget + 0.03
        best = losses[rows.mean(1) <= budget].min()
        assert (WEIGHTS * (1 - row) ** 2).sum() <= best + 0.2


def thinned(space):
    knobs = [
        dataclasses.replace(k, step=0.1 if len(space) > 3 else 0.05) if isinstance(k, Float) else k
        for k in space.knobs
    ]
    return SearchSpace(tuple(knobs)).grid()


@pytest.mark.slow
def test_kernels_are_chosen_by_option_or_space():
    problem = ToyPruning()
    by_option = run_study(problem, LagrangianSearch(kernel="sigmoid"), budget=10.0)
    by_space = run_study(problem, LagrangianSearch(), budget=10.0, space="sigmoid")
    assert [c.candidate for c in by_option.evaluations] == [
        c.candidate for c in by_space.evaluations
    ]
    assert {c.candidate.space for c in by_space.evaluations} == {"sigmoid"}
    with pytest.raises(UnsupportedError, match="kernel=sigmoid and space=linear name two kernels"):
        run_study(problem, LagrangianSearch(kernel="sigmoid"), budget=10.0, space="linear")
    with pytest.raises(UnknownNameError, match="unknown search space 'sigmod'"):
        run_study(problem, LagrangianSearch(kernel="sigmod"), budget=10.0)


def test_candidates_carry_what_they_were_before_rounding():
    problem = ToyPruning()
    result = run_study(problem, LagrangianSearch(grid_points=3, batch=8), budget=10.0)
    for evaluation in result.evaluations:
        relaxed = evaluation.candidate.relaxed
        rounded = problem.kernels["free"].schedule(evaluation.candidate.values).ratios
        assert np.abs(np.subtract(relaxed["keep"], rounded)).max() <= 0.005 + 1e-9
        assert relaxed["tau"] == pytest.approx(2.0, rel=0.02)
        assert json.loads(json.dumps(relaxed)) == relaxed


@pytest.mark.parametrize("after", [0, 2, 6, 30])
@pytest.mark.parametrize("kernel", ["free", "multi-step"])
def test_a_stored_state_continues_identically(tmp_path, after, kernel):
    """In a fresh instance, by way of the file; also from amid the final configurations."""

    def make():
        search = LagrangianSearch(kernel=kernel, grid_points=3, batch=8)
        context = SearchContext(seed=3, budget=8.0)
        search.start(ToyPruning(step_cost=0.05), context)
        return search, context

    def play(search, context, asks):
        found = []
        for _ in range(asks):
            context.asks += 1
            found += search.ask(2)
        return found

    whole, context = make()
    before = play(whole, context, after)
    whole.state().save(tmp_path / "state.safetensors")
    expected = play(whole, context, 40)
    assert before or expected
    again, other = make()
    other.asks, other.spent = after, context.spent - 0.0
    again.restore(GradientState.load(tmp_path / "state.safetensors"))
    other.spent = again.history[-1]["spent"] if again.history else 0.0
    found = play(again, other, 40)
    assert found == expected
    assert [c.relaxed for c in found] == [c.relaxed for c in expected]
    assert again.history == whole.history
    assert torch.equal(again.x, whole.x)


def test_a_broken_state_is_one_sentence(tmp_path):
    (tmp_path / "a").write_bytes(b"nonsense")
    for name in ("a", "missing"):
        with pytest.raises(BrokenFileError, match="cannot read .*search.*" + name):
            GradientState.load(tmp_path / name)


def test_micro_batches_change_nothing(mini):
    """Loss and slope of a step, all rows together or two at a time, also of drawn masks."""
    relaxed = mini.relaxation()
    rng = np.random.default_rng(0)
    rows = np.sort(rng.random((6, 8)), axis=1)[:, ::-1].copy()
    rows[:, 0] = 1.0
    samples = rng.permutation(64)[:6]
    for noise in (None, rng.integers(2**63, size=6)):
        args = relaxed, torch.from_numpy(rows), samples
        loss, slope = loss_and_slope(*args, tau=2.0, noise=noise)
        small, slope_of_small = loss_and_slope(*args, tau=2.0, noise=noise, micro_batch=2)
        assert torch.allclose(loss, small, atol=1e-4)
        assert torch.allclose(slope, slope_of_small, atol=1e-3, rtol=1e-2)
        assert float(slope.abs().max()) > 0.1


def test_starts_at_constant_schedules_that_meet_their_budgets():
    search = LagrangianSearch(LagrangianOptions(grid_points=5))
    search.start(ToyPruning(), SearchContext(seed=0, budget=10.0))
    assert np.allclose(search.ratios.detach().numpy().mean(1), search.grid.budgets)


def test_never_spends_more_than_the_budget_and_charges_its_own_steps():
    _, result = solve(grid_points=3, batch=8, max_final_evaluations=5)
    assert result.spent <= 40.0
    evaluated = sum(e.cost for e in result.evaluations)
    assert result.spent > evaluated + 1.0  # the teacher's pass and the gradient steps are in it


def test_the_projection_is_euclidean_and_monotone():
    rng = np.random.default_rng(0)
    raw = torch.from_numpy(rng.normal(0.5, 0.6, (20, 6)))
    fixed = project(raw, 1).numpy()
    assert np.all(np.diff(fixed, axis=1) <= 1e-12)
    assert fixed.min() >= 0
    assert fixed.max() <= 1
    assert np.all(fixed[:, 0] == 1)
    for _ in range(50):  # no valid schedule is nearer
        other = np.sort(rng.random((20, 6)), axis=1)[:, ::-1].copy()
        other[:, 0] = 1
        near = ((fixed[:, 1:] - raw[:, 1:].numpy()) ** 2).sum(1)
        assert np.all(near <= ((other[:, 1:] - raw[:, 1:].numpy()) ** 2).sum(1) + 1e-12)


def test_a_black_box_is_refused_with_the_way_out():
    with pytest.raises(UnsupportedError, match="black box.*choose a sampler"):
        run_study(ZDT1(), LagrangianSearch(), budget=5.0)


def test_a_pruner_without_scores_is_refused(mini):
    class Fixed(Pruner):
        name = "fixed"

        def select(self, context, counts):
            n = int(counts.max())
            return Selection(torch.arange(n).expand(len(context.visual), -1))

    problem = Compression(mini.adapter, mini.samples, Tokens(Fixed()))
    with pytest.raises(UnsupportedError, match="not top-k of a score"):
        run_study(problem, LagrangianSearch(), budget=5.0)


def test_bad_options_are_named():
    with pytest.raises(InvalidValueError, match="grid_points must be 2 or more, got 1"):
        LagrangianOptions(grid_points=1)
    with pytest.raises(UnknownNameError, match="unknown loss 'k'"):
        LagrangianOptions(loss="k")
    with pytest.raises(UnknownNameError, match="unknown estimator 'gumble'.*'gumbel'"):
        LagrangianOptions(estimator="gumble")
    with pytest.raises(InvalidValueError, match="final_share must be between 0 and 1, got 2"):
        LagrangianOptions(final_share=2)


def test_relaxed_compute_is_exact_at_lattice_points(mini):
    """The relaxation's u equals the problem's, up to the ranking, which it leaves out."""
    relaxed = mini.relaxation()
    rng = np.random.default_rng(0)
    for _ in range(5):
        ratios = np.minimum.accumulate(rng.integers(0, 19, 8) / 18)
        ratios[0] = 1.0
        soft = float(relaxed.compute(torch.from_numpy(ratios[None])))
        hard = mini.cost_model.relative_compute(ratios)
        assert soft <= hard + 1e-12
        assert hard - soft < 0.01


def test_relaxed_loss_at_hard_counts_is_the_evaluations_kl(mini):
    relaxed = mini.relaxation()
    ratios = torch.tensor([[1.0, 1.0, 0.5, 0.5, 0.5, 1 / 9, 1 / 9, 1 / 9]], dtype=torch.float64)
    rows = ratios.expand(len(mini.samples), -1)
    with torch.no_grad():
        soft = relaxed.loss(rows, np.arange(len(mini.samples)), tau=2.0)
    (hard,) = mini.evaluate([relaxed.candidate(ratios[0].numpy())])
    assert float(soft.mean()) == pytest.approx(hard.metrics["kl_to_dense"], rel=1e-3)


def test_constant_schedules_meet_their_budget(mini):
    relaxed = mini.relaxation()
    low, high = relaxed.reachable
    for budget in np.linspace(low, high, 7):
        row = relaxed.constant(float(budget))
        assert float(relaxed.compute(torch.from_numpy(row[None]))) == pytest.approx(budget)


def test_the_more_grid_points_the_smaller_are_their_steps():
    def moved(points):
        search = LagrangianSearch(grid_points=points, initial_share=0, max_step=1.0)
        search.start(ToyPruning(), SearchContext(seed=0, budget=10.0))
        before = search.x.clone()
        search._descend(before, torch.full_like(before, 0.1))
        return float((before - search.x)[-1, 1:].mean())

    assert moved(2) == pytest.approx(moved(5))
    assert moved(10) == pytest.approx(moved(5) / 2)
