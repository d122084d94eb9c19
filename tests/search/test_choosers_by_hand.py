"""The choosers of other papers against their rules, written once more in plain loops, and by hand.

G-Search and P-Sigmoid (arXiv 2412.00556), FitPrune (arXiv 2409.10197), VTW (arXiv 2405.05803).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import paretoprune
from paretoprune import load_problem, run_study
from paretoprune.core.problem import Problem
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.search.fitprune import FitPruneSearch, kept_shares
from paretoprune.search.g_search import GSearch
from paretoprune.search.p_sigmoid import PSigmoid
from paretoprune.search.vtw import VTWSearch
from paretoprune.testing.layered import Layered

BUDGET = 1000.0


def finished(strategy: SearchStrategy, problem: Problem) -> list[list[float]]:
    """Run a strategy to its end and return the ratios it asked for, layer 0 left out."""
    result = run_study(problem, strategy, seed=0, budget=BUDGET)
    assert result.stopped == "finished"
    return [[float(v) for v in e.candidate.values.values()] for e in result.evaluations]


def quality(needs: Sequence[float], ratios: Sequence[float]) -> float:
    """That of the toy: what every layer misses is lost."""
    return 1 - sum(max(0.0, n - r) for n, r in zip(needs, (1.0, *ratios), strict=True))


# --- G-Search


def slow_g_search(needs: Sequence[float], levels: int, tolerance: float) -> list[float]:
    """Layer by layer from shallow to deep, every rate from the lowest on; deeper layers follow."""
    settled: list[float] = []
    layers = len(needs) - 1
    for layer in range(layers):
        for level in range(levels + 1):
            tried = [*settled, *[level / levels] * (layers - layer)]
            if quality(needs, np.minimum.accumulate(tried).tolist()) >= 1 - tolerance - 1e-9:
                settled.append(level / levels)
                break
    return settled


@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.13, 0.3, 0.9])
@pytest.mark.parametrize(
    "needs", [(1, 0.75, 0.5, 0.5, 0.25, 0), (1, 1, 1, 1), (1, 0, 0, 0), (1, 0.6, 0.35, 0.1)]
)
def test_g_search_finds_what_trying_every_rate_finds(
    needs: tuple[float, ...], tolerance: float
) -> None:
    strategy = GSearch(tolerances=tolerance)
    finished(strategy, Layered(needs, levels=8))
    (chosen,) = strategy.chosen
    expected = slow_g_search(needs, 8, tolerance)
    assert [float(v) for v in chosen.values.values()] == pytest.approx(expected)


def test_g_search_by_hand() -> None:
    """Needs 0.5, 0.25, 0 on quarters, a tolerance of 0.25.

    Layer 1: 0 would miss 0.5 + 0.25, a quarter misses 0.25, which is allowed. Nothing is left of
    the tolerance, so layer 2 holds its quarter, and layer 3 needs none.
    """
    strategy = GSearch(tolerances="0/0.25")
    finished(strategy, Layered((1, 0.5, 0.25, 0), levels=4))
    found = [[float(v) for v in c.values.values()] for c in strategy.chosen]
    assert found == [[0.5, 0.25, 0.0], [0.25, 0.25, 0.0]]


def test_g_search_pays_for_every_rate_it_tries() -> None:
    problem = Layered()
    result = run_study(problem, GSearch(tolerances=0.1), seed=0, budget=BUDGET)
    prices = [problem.price(e.candidate) for e in result.evaluations]
    assert result.spent == pytest.approx(sum(prices))
    assert len(prices) <= 1 + 5 * math.ceil(math.log2(9))  # dense, and a bisection per layer


# --- FitPrune


def slow_kept_shares(attention: NDArray[np.float64], threshold: float) -> list[float]:
    """One sample, one layer, one token after the other."""
    kinds, samples, layers, _ = attention.shape
    shares = np.zeros((samples, layers))
    for sample in range(samples):
        tokens = [t for t, a in enumerate(attention[0, sample, 0]) if not math.isnan(a)]
        alive = set(tokens)
        for layer in range(layers):
            shares[sample, layer] = len(alive) / len(tokens)
            low = []
            for kind in range(kinds):
                received = attention[kind, sample, layer]
                total = sum(received[t] for t in tokens)
                lost = sum(received[t] for t in tokens if t not in alive)
                removable = set()
                for token in sorted(alive, key=lambda t: (received[t], t)):
                    lost += received[token]
                    if lost > threshold * total * (1 + 1e-12):
                        break
                    removable.add(token)
                low.append(removable)
            alive -= low[0] & low[1]
    return [float(x) for x in shares.mean(0)]


def random_attention(rng: np.random.Generator) -> NDArray[np.float64]:
    attention = rng.random((2, 3, 5, 12)) ** 3
    attention[:, 1, :, 9:] = np.nan
    attention[:, 2, :, 7:] = np.nan
    return np.asarray(attention)


@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.1, 0.3, 0.7, 1.0])
def test_fitprune_keeps_what_plain_loops_keep(threshold: float) -> None:
    attention = random_attention(np.random.default_rng(0))
    found = kept_shares(attention, threshold)
    assert found.tolist() == pytest.approx(slow_kept_shares(attention, threshold))
    if threshold == 1.0:
        assert found[1:].tolist() == [0.0] * 4
    if threshold == 0.0:
        assert found.tolist() == [1.0] * 5


def test_fitprune_by_hand() -> None:
    """Four tokens that receive 4, 3, 2, 1 of 10, from pictures and question alike.

    A tenth may be lost: the last token leaves. Three tenths: the last two. What has left counts as
    lost in the next layer, so nothing more leaves there.
    """
    one = np.array([4.0, 3.0, 2.0, 1.0])
    attention = np.broadcast_to(one, (2, 1, 3, 4)).copy()
    assert kept_shares(attention, 0.1).tolist() == [1.0, 0.75, 0.75]
    assert kept_shares(attention, 0.29).tolist() == [1.0, 0.75, 0.75]
    assert kept_shares(attention, 0.3).tolist() == [1.0, 0.5, 0.5]
    attention[1] = one[::-1]  # what is low for the pictures is high for the question
    assert kept_shares(attention, 0.5).tolist() == [1.0, 1.0, 1.0]
    assert kept_shares(attention, 0.6).tolist() == [1.0, 0.5, 0.5]  # 1, 2 and 3 of 10, twice


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.1, 0.35, 0.6, 0.9])
def test_fitprune_bisects_to_the_lowest_threshold_that_meets_the_target(target: float) -> None:
    problem = Layered()
    strategy = FitPruneSearch(targets=[target])
    strategy.start(problem, SearchContext(seed=0, budget=BUDGET))
    attention = problem.probe("attention", 16)

    def share(threshold: float) -> tuple[float, str]:
        kept = kept_shares(attention, threshold)
        candidate = strategy.schedule(kept[1:])
        return strategy.share(candidate), problem.identity(candidate)

    tried = [share(t) for t in np.linspace(0, 1, 5001)]  # every one, from the lowest on
    price, expected = next(found for found in tried if found[0] <= target + 1e-9)
    chosen = strategy.recipe(attention, target)
    assert problem.identity(chosen) == expected
    assert strategy.share(chosen) == pytest.approx(price)


def test_fitprune_pays_for_its_statistics_once() -> None:
    problem = Layered()
    result = run_study(problem, FitPruneSearch(targets=6), seed=0, budget=BUDGET)
    evaluated = sum(problem.price(e.candidate) for e in result.evaluations)
    assert result.spent == pytest.approx(evaluated + problem.probe_price("attention", 16))


# --- VTW


@pytest.mark.parametrize(
    ("thresholds", "layers"),
    [
        ("0.003", [3]),  # the paper's: 10^-3 is the first below it
        ("0.01", [3]),  # 10^-2 is not below 10^-2
        ("0.011", [2]),
        ("3", [1]),  # layer 0 is before what the space may prune
        ("0.003/0.01/0.5", [3, 1]),  # the same layer twice is one schedule
        ("0.0000001", [6]),  # none is below: nothing leaves
    ],
)
def test_vtw_takes_the_first_layer_below_the_threshold(thresholds: str, layers: list[int]) -> None:
    """The toy's divergence is 10^-layer, for layers 0 to 5."""
    asked = finished(VTWSearch(thresholds=thresholds), Layered())
    assert asked == [[1.0] * (k - 1) + [0.0] * (6 - k) for k in layers]


def test_vtw_pays_for_its_statistics_once() -> None:
    problem = Layered()
    result = run_study(problem, VTWSearch(), seed=0, budget=BUDGET)
    evaluated = sum(problem.price(e.candidate) for e in result.evaluations)
    assert result.spent == pytest.approx(evaluated + problem.probe_price("withdrawal", 20))


def test_the_withdrawals_divergence_is_that_of_pruned_models() -> None:
    """KL(dense || withdrawn) of the next token, from whole models run side by side."""
    problem = load_problem("mini-llava", search_size=8, heldout_size=0)
    adapter, layers = problem.adapter, problem.adapter.spec.layers
    inputs = adapter.inputs([s.image for s in problem.samples], [s.prompt for s in problem.samples])
    with torch.no_grad():
        dense = adapter.model(**inputs).logits[:, -1].double().log_softmax(-1)
        expected = []
        for layer in range(1, layers):
            keep = [1.0] * layer + [0.0] * (layers - layer)
            view = paretoprune.pruned(adapter.model, keep, "vtw")
            gone = view(**inputs).logits[:, -1].double().log_softmax(-1)
            expected.append(float((dense.exp() * (dense - gone)).sum(-1).mean()))
    found = problem.probe("withdrawal", 8)
    assert found[1:].tolist() == pytest.approx(expected, abs=1e-4)


# --- P-Sigmoid


@pytest.mark.parametrize("target", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("centre", "slope"), [(0.5, 5.0), (0.0, 1.0), (1.0, 50.0)])
def test_p_sigmoid_scales_its_curve_to_the_target(
    centre: float, slope: float, target: float
) -> None:
    """No height of thousands gives a schedule that is dearer and still within the target."""
    problem = Layered()
    strategy = PSigmoid(targets=[target])
    strategy.start(problem, SearchContext(seed=0, budget=BUDGET))
    curve = [1 / (1 + math.exp(slope * (i / 4 - centre))) for i in range(5)]
    best = 0.0
    for height in np.concatenate([np.linspace(0, 5, 4001), np.geomspace(5, 1 / min(curve), 500)]):
        candidate = strategy.schedule([min(1.0, height * value) for value in curve])
        if strategy.share(candidate) <= target + 1e-9:
            best = max(best, strategy.share(candidate))
    found = strategy.share(strategy.curve(centre, slope, target))
    assert found <= target + 1e-9
    assert found >= best - 1e-9  # more, where a step between two tried heights is narrow
