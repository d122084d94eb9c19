"""The relaxed loss reads only the samples of a step: in any order, from memory or from disk."""

import numpy as np
import pytest
import torch

from paretoprune.compression.load import load_problem
from paretoprune.core.strategy import SearchContext
from paretoprune.search.gradient.adaptive import AdaptiveSearch
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.gradient.relaxation import loss_and_slope
from paretoprune.search.gradient.vispco import Vispco
from paretoprune.testing.agreement import assert_close


@pytest.fixture(scope="module")
def problem():
    return load_problem(search_size=24, heldout_size=0)


def loss(problem, ratios, samples):
    with torch.no_grad():
        return problem.relaxation().loss(ratios, np.array(samples), tau=2.0)


def test_each_row_meets_its_own_sample_and_its_own_teacher(problem):
    """Samples of different lengths, out of order, one of them twice: as if each were alone."""
    rng = np.random.default_rng(0)
    samples = [int(i) for i in rng.permutation(24)[:11]]
    samples.append(samples[3])
    assert len({len(problem.samples[i].prompt.split()) for i in samples}) > 2
    ratios = torch.from_numpy(np.sort(rng.random((12, 8)), axis=1)[:, ::-1].copy())
    ratios[:, 0] = 1.0
    together = loss(problem, ratios, samples)
    alone = torch.cat([loss(problem, ratios[i : i + 1], [s]) for i, s in enumerate(samples)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert together.std() > 0.1  # rows differ, so that an exchange would show


def test_prefills_on_disk_give_the_same_loss(problem):
    stored = load_problem(search_size=24, heldout_size=0, prefill_bytes=0)
    ratios = torch.full((4, 8), 0.5, dtype=torch.float64)
    ratios[:, 0] = 1.0
    samples = [17, 2, 9, 4]
    assert_close(loss(problem, ratios, samples), loss(stored, ratios, samples), 1e-4)


@pytest.mark.parametrize(("mask", "tau"), [("rank", 2.0), ("score", 0.1)])
def test_less_memory_finds_the_same_at_the_price_of_a_forward_pass(problem, mask, tau):
    """Layers run once more on the way back, a few samples at a time: both for any strategy."""
    whole = problem.relaxation()
    frugal = whole.checkpointed()
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(np.sort(rng.random((6, 8)), axis=1)[:, ::-1].copy())
    rows[:, 0] = 1.0
    samples = np.array([17, 2, 9, 4, 20, 11])
    loss, slope = loss_and_slope(whole, rows, samples, tau=tau, mask=mask)
    again = loss_and_slope(frugal, rows, samples, tau=tau, mask=mask, micro_batch=2)
    assert slope.abs().max() > 0
    assert torch.allclose(loss, again[0], atol=1e-4)
    assert torch.allclose(slope, again[1], rtol=1e-2, atol=1e-3 * float(slope.abs().max()))
    prices = [r.step_price(rows.numpy(), tau=tau, mask=mask) for r in (whole, frugal)]
    passes = 4 if mask == "rank" else 3
    assert prices[1] == pytest.approx(prices[0] * (passes + 1) / passes)


@pytest.mark.parametrize("strategy", [AdaptiveSearch, Vispco, LagrangianSearch])
def test_strategies_ask_for_less_memory_where_told_to(problem, strategy):
    """Only `gradient` did: policies of large models could not be trained."""
    for asked in (False, True):
        search = strategy(checkpoint=asked, micro_batch=3, batch=8, inner_steps=1)
        search.start(problem, SearchContext(seed=0, budget=8.0))
        seen = []
        inner = search.relaxed.loss

        def loss(ratios, samples, inner=inner, seen=seen, **options):
            seen.append(len(ratios))
            return inner(ratios, samples, **options)

        search.relaxed.loss = loss
        asks = 0
        while not seen and asks < 50:
            asks += 1
            search.tell(problem.evaluate(search.ask(4)))
        assert search.relaxed.checkpoint is asked
        assert max(seen) == 3
        del search.relaxed.loss
