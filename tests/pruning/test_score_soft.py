"""VisPCO's mask in score space: threshold, straight-through mask, accumulation, gradients."""

import numpy as np
import pytest
import torch

from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import Pruner, Selection
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.pruning.pruners.random import RandomPruner
from paretoprune.pruning.score_soft import run_score_soft, score_mask, score_threshold
from paretoprune.testing.agreement import assert_close
from paretoprune.testing.models import question_batch, tiny_llava


@pytest.fixture(scope="module")
def small():
    adapter = tiny_llava(patch=12)
    with torch.no_grad():
        return adapter, adapter.prefill(question_batch(adapter, 2))


def logits(adapter, prefill, ratios, pruner=None, **options):
    tokens = run_score_soft(
        adapter, prefill, ratios.expand(2, -1), pruner or FastV(), **{"temperature": 0.1, **options}
    )
    return adapter.head(tokens.at(prefill.prompt_end[:, None]))[:, 0]


@pytest.mark.parametrize("straight_through", [True, False])
def test_checkpointing_changes_neither_value_nor_gradient(small, straight_through):
    adapter, prefill = small
    found = []
    for checkpoint in (False, True):
        ratios = torch.tensor([1.0, 0.6, 0.4, 0.3], dtype=torch.float64).requires_grad_()
        told = logits(
            adapter, prefill, ratios, straight_through=straight_through, checkpoint=checkpoint
        )
        (gradient,) = torch.autograd.grad(told.log_softmax(-1)[:, 7].sum(), ratios)
        found.append((told.detach(), gradient))
    assert_close(found[0][0], found[1][0])
    assert found[0][1].abs().max() > 0
    assert_close(found[0][1], found[1][1])


def test_the_threshold_by_hand():
    """Scores 5, 4, 3, 2, 1 at n = 2: weights exp(-(i - 2)^2 / 5) over positions 1 to 5."""
    scores = torch.tensor([[3.0, 5.0, 1.0, 4.0, 2.0]], dtype=torch.float64)
    weights = np.exp(-((np.arange(1, 6) - 2) ** 2) / 5)
    expected = (weights * [5, 4, 3, 2, 1]).sum() / weights.sum()
    everyone = torch.ones(1, 5, dtype=torch.bool)
    found = score_threshold(scores, everyone, torch.tensor([2.0], dtype=torch.float64))
    assert found.item() == pytest.approx(expected)


def test_only_candidates_count():
    scores = torch.tensor([[3.0, 5.0, 1.0, 4.0, 2.0]], dtype=torch.float64)
    some = torch.tensor([[True, False, True, True, False]])
    count = torch.tensor([2.0], dtype=torch.float64)
    alone = torch.tensor([[3.0, 1.0, 4.0]], dtype=torch.float64)
    everyone = torch.ones(1, 3, dtype=torch.bool)
    assert score_threshold(scores, some, count).item() == pytest.approx(
        score_threshold(alone, everyone, count).item()
    )


def test_on_even_scores_the_hard_mask_keeps_the_count():
    """Far from the ends, where a Gaussian mean of a straight line is its middle: the n-th score."""
    scores = torch.arange(64, dtype=torch.float64)[None]
    everyone = torch.ones(1, 64, dtype=torch.bool)
    for n in (12, 30, 50):
        hard, soft = score_mask(scores, everyone, torch.tensor([n - 0.01]), torch.tensor([64]), 0.1)
        assert hard.sum().item() == n - 1 or hard.sum().item() == n
        assert bool((soft[hard.bool()] >= 0.5).all())


@pytest.mark.parametrize("keep", [1.0, 0.0])
def test_all_and_none_are_exact(small, keep):
    """The dense decoder and the blind one."""
    adapter, prefill = small
    ratios = torch.tensor([1.0, keep, keep, keep], dtype=torch.float64)
    with torch.no_grad():
        found = logits(adapter, prefill, ratios)
    (leaf,) = run_population(adapter, prefill, ratios.numpy()[None], FastV())
    exact = adapter.head(leaf.tokens.at(prefill.prompt_end[:, None]))[:, 0]
    assert_close(found, exact)


@torch.no_grad()
def test_hard_forward_is_the_pruned_decoder_at_the_count_that_the_mask_keeps(small):
    """With a fixed order of tokens, dropped once: the same logits as top-k of some count."""
    adapter, prefill = small
    ratios = torch.tensor([1.0, 1.0, 0.5, 0.5], dtype=torch.float64)
    with torch.no_grad():
        found = logits(adapter, prefill, ratios)
    close = []
    for count in range(20, 44):
        row = np.array([[1.0, 1.0, count / 64, count / 64]])
        (leaf,) = run_population(adapter, prefill, row, FastV())
        exact = adapter.head(leaf.tokens.at(prefill.prompt_end[:, None]))[:, 0]
        close.append((found - exact).abs().amax(1))
    # the second drop in a row at the same count falls on fewer candidates, hence near, not equal
    best = torch.stack(close).min(0).values
    assert float(best.max()) < 0.25 * float(torch.stack(close).max(0).values.min())


def test_masks_accumulate(small):
    """A token that is gone stays gone: later ratios that would take more change nothing."""
    adapter, prefill = small
    with torch.no_grad():
        down = logits(adapter, prefill, torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64))
        up = logits(adapter, prefill, torch.tensor([1.0, 0.0, 0.9, 0.9], dtype=torch.float64))
    assert_close(down, up)


def test_the_soft_gradient_agrees_with_finite_differences(small):
    """With a pruner whose scores do not depend on what was dropped, and a wide temperature."""
    adapter, prefill = small

    def figure(ratios):
        found = logits(
            adapter, prefill, ratios, RandomPruner(), straight_through=False, temperature=0.2
        )
        return found.log_softmax(-1)[:, 7].sum()

    start = torch.tensor([1.0, 0.77, 0.52, 0.33], dtype=torch.float64)
    ratios = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(figure(ratios), ratios)
    step = 2e-4
    for layer in range(1, 4):
        moved = torch.zeros(4, dtype=torch.float64)
        moved[layer] = step
        with torch.no_grad():
            difference = (figure(start + moved) - figure(start - moved)) / (2 * step)
        assert gradient[layer].item() == pytest.approx(difference.item(), rel=0.05, abs=0.05)
    assert float(gradient.abs().max()) > 0.1


def test_straight_through_has_the_hard_value_and_a_gradient(small):
    adapter, prefill = small
    ratios = torch.tensor([1.0, 0.77, 0.52, 0.33], dtype=torch.float64, requires_grad=True)
    found = logits(adapter, prefill, ratios)
    with torch.no_grad():
        hard = logits(adapter, prefill, ratios)
    assert_close(found.detach(), hard)
    (gradient,) = torch.autograd.grad(found.log_softmax(-1)[:, 7].sum(), ratios)
    assert bool(gradient.isfinite().all())
    assert float(gradient[1:].abs().max()) > 0


def test_a_pruner_without_scores_is_refused_by_name(small):
    class Fixed(Pruner):
        name = "fixed"

        def select(self, context, counts):
            n = int(counts.max())
            return Selection(torch.arange(n).expand(len(context.visual), -1))

    adapter, prefill = small
    with pytest.raises(UnsupportedError, match="'fixed' is not top-k of a score"):
        logits(adapter, prefill, torch.ones(4, dtype=torch.float64), Fixed())
