"""The soft decoder: mask sums, the straight-through estimator, and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import Pruner, Selection
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.fastv import FastV
from paretoprune.pruning.random import RandomPruner
from paretoprune.pruning.soft import logistic_noise, mask_logits, run_soft, soft_mask
from paretoprune.testing.models import question_batch, tiny_llava


@given(count=st.floats(0.5, 143.5), tau=st.floats(0.3, 6.0))
@settings(max_examples=60, deadline=None)
def test_the_mask_sums_to_the_count(count, tau):
    mask = soft_mask(torch.tensor([count], dtype=torch.float64), 144, tau)
    assert mask.sum().item() == pytest.approx(count, abs=1e-6)
    assert bool((mask.diff() <= 0).all())


@given(count=st.floats(0.0, 16.0), tau=st.floats(0.3, 4.0))
@settings(max_examples=60, deadline=None)
def test_one_more_token_moves_the_mask_by_one_in_total(count, tau):
    """Also at the bounds, where a plain sigmoid would have lost its gradient."""
    counts = torch.tensor(count, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(soft_mask(counts, 16, tau).sum(), counts)
    assert slope.item() == pytest.approx(1.0, abs=1e-6)


def test_straight_through_is_hard_forward_and_soft_backward():
    """Forward: the pruned decoder, also off the lattice. Backward: a bounded, non-zero gradient."""
    adapter = tiny_llava(patch=12)
    with torch.no_grad():
        prefill = adapter.prefill(question_batch(adapter, 2))
    ratios = torch.tensor([1.0, 0.77, 0.52, 0.33], dtype=torch.float64, requires_grad=True)
    tokens = run_soft(adapter, prefill, ratios.expand(2, -1), FastV(), tau=2.0)
    logits = adapter.head(tokens.at(prefill.prompt_end[:, None]))[:, 0]
    (leaf,) = run_population(adapter, prefill, ratios.detach().numpy()[None], FastV())
    hard = adapter.head(leaf.tokens.at(prefill.prompt_end[:, None]))[:, 0]
    assert torch.allclose(logits, hard, atol=1e-9)
    (gradient,) = torch.autograd.grad(logits.log_softmax(-1)[:, 7].sum(), ratios)
    assert gradient[0] == 0
    assert bool((gradient[1:] != 0).all())


def test_the_gradient_stays_bounded_where_a_dropped_token_would_be_attended_to_most():
    """A mask-space estimator gave e^s / Z here: gradients hundreds of times the loss's range."""
    adapter = tiny_llava(patch=12)
    for layer in adapter.layers:  # attention logits of +-50 instead of +-3
        layer.self_attn.q_proj.weight.data *= 12
    with torch.no_grad():
        prefill = adapter.prefill(question_batch(adapter, 2))
    ratios = torch.tensor([1.0, 0.5, 0.5, 0.25], dtype=torch.float64, requires_grad=True)
    tokens = run_soft(adapter, prefill, ratios.expand(2, -1), RandomPruner(), tau=2.0)
    probability = adapter.head(tokens.at(prefill.prompt_end[:, None])).softmax(-1)[..., 7].sum()
    (gradient,) = torch.autograd.grad(probability, ratios)
    assert float(gradient.abs().max()) < 100.0


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_gradient_agrees_with_finite_differences(attn):
    """RMSNorm and rotary tables work in float32 inside transformers: hence the wide step."""
    adapter = tiny_llava(patch=12, attn=attn)
    with torch.no_grad():
        prefill = adapter.prefill(question_batch(adapter, 2))

    def figure(ratios):
        tokens = run_soft(
            adapter, prefill, ratios.expand(2, -1), FastV(), tau=2.0, straight_through=False
        )
        logits = adapter.head(tokens.at(prefill.prompt_end[:, None]))
        return logits.log_softmax(-1)[..., 7].sum()

    ratios = torch.tensor([1.0, 0.77, 0.52, 0.33], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(figure(ratios), ratios)
    step = 2e-4
    for layer in range(1, 4):
        moved = torch.zeros(4, dtype=torch.float64)
        moved[layer] = step
        with torch.no_grad():
            difference = (figure(ratios + moved) - figure(ratios - moved)) / (2 * step)
        assert gradient[layer].item() == pytest.approx(difference.item(), rel=0.05, abs=0.05)
    assert gradient[0].item() == 0.0


def test_a_pruner_without_scores_is_refused_by_name():
    class Fixed(Pruner):
        name = "fixed"

        def select(self, context, n):
            return Selection(torch.arange(n).expand(len(context.visual), -1))

    adapter = tiny_llava()
    prefill = adapter.prefill(question_batch(adapter))
    with pytest.raises(UnsupportedError, match="'fixed' is not top-k of a score"):
        run_soft(adapter, prefill, torch.ones(3, 4), Fixed(), tau=1.0)


def run(adapter, prefill, ratios, **options):
    tokens = run_soft(adapter, prefill, ratios, FastV(), tau=2.0, **options)
    return adapter.head(tokens.at(prefill.prompt_end[:, None]))[:, 0]


@pytest.fixture(scope="module")
def small():
    adapter = tiny_llava(patch=12)
    with torch.no_grad():
        return adapter, adapter.prefill(question_batch(adapter, 2))


RATIOS = torch.tensor([1.0, 0.77, 0.52, 0.33], dtype=torch.float64)


def test_drawn_masks_keep_the_count_on_average():
    """P(z_j + L_j > 0) = m_j, so that the hard samples' mean is the soft mask, which sums to n."""
    logits = mask_logits(torch.tensor(20.3, dtype=torch.float64), 64, 3.0)
    noise = logistic_noise(np.arange(4000), 64)
    kept = (logits + noise > 0).double().mean(0)
    assert kept.sum().item() == pytest.approx(20.3, abs=0.15)
    assert torch.allclose(kept, torch.sigmoid(logits), atol=0.035)


def test_drawn_masks_depend_on_the_seed_of_their_row_alone(small):
    adapter, prefill = small
    rows = RATIOS.expand(2, -1)
    with torch.no_grad():
        one = run(adapter, prefill, rows, noise=np.array([5, 6]))
        again = run(adapter, prefill, rows, noise=np.array([5, 9]))
    assert torch.equal(one[0], again[0])
    assert not torch.allclose(one[1], again[1])


def test_nothing_is_drawn_of_all_tokens_or_none(small):
    adapter, prefill = small
    rows = torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 2, dtype=torch.float64)
    with torch.no_grad():
        drawn = run(adapter, prefill, rows, noise=np.array([5, 6]))
        exact = run(adapter, prefill, rows)
    assert torch.allclose(drawn, exact)


@pytest.mark.parametrize("noise", [None, np.array([1, 2])], ids=["soft", "gumbel"])
def test_the_gradient_of_both_relaxations_agrees_with_finite_differences(small, noise):
    """Soft masks, and drawn ones whose noise is held fixed. Off the ranking's jumps."""
    adapter, prefill = small

    def figure(ratios):
        logits = run(adapter, prefill, ratios.expand(2, -1), straight_through=False, noise=noise)
        return logits.log_softmax(-1)[..., 7].sum()

    ratios = RATIOS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(figure(ratios), ratios)
    step = 2e-4
    for layer in range(1, 4):
        moved = torch.zeros(4, dtype=torch.float64)
        moved[layer] = step
        with torch.no_grad():
            difference = (figure(RATIOS + moved) - figure(RATIOS - moved)) / (2 * step)
        assert gradient[layer].item() == pytest.approx(difference.item(), rel=0.05, abs=0.05)
    assert gradient.abs().max() > 0.1


@pytest.mark.parametrize("straight_through", [True, False])
def test_checkpointing_changes_neither_value_nor_gradient(small, straight_through):
    adapter, prefill = small
    found = []
    for checkpoint in (False, True):
        ratios = RATIOS.clone().requires_grad_()
        logits = run(
            adapter, prefill, ratios.expand(2, -1), straight_through=straight_through,
            checkpoint=checkpoint,
        )  # fmt: skip
        (gradient,) = torch.autograd.grad(logits.log_softmax(-1)[:, 7].sum(), ratios)
        found.append((logits.detach(), gradient))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-9)
