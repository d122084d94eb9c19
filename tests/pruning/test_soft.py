"""The soft decoder: mask sums, the straight-through estimator, and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import Pruner, Selection
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.pruning.pruners.random import RandomPruner
from paretoprune.pruning.soft import (
    logistic_noise,
    mask_logits,
    run_soft,
    soft_mask,
    survival_logits,
)
from paretoprune.testing.agreement import assert_close
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
    assert_close(logits, hard)
    (gradient,) = torch.autograd.grad(logits.log_softmax(-1)[:, 7].sum(), ratios)
    assert gradient[0] == 0
    assert bool((gradient[1:] != 0).all())


def test_the_gradient_stays_bounded_where_a_dropped_token_would_be_attended_to_most():
    """A mask-space estimator gave e^s / Z here: gradients hundreds of times the loss's range."""
    adapter = tiny_llava(patch=12)
    for layer in adapter.decoder.layers:  # attention logits of +-50 instead of +-3
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
        assert gradient[layer].item() == pytest.approx(difference.item(), rel=0.02, abs=0.02)
    assert gradient[0].item() == 0.0


def test_a_pruner_without_scores_is_refused_by_name():
    class Fixed(Pruner):
        name = "fixed"

        def select(self, context, counts):
            n = int(counts.max())
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
    assert_close(one[0], again[0])
    assert not torch.allclose(one[1], again[1])


def test_nothing_is_drawn_of_all_tokens_or_none(small):
    adapter, prefill = small
    rows = torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 2, dtype=torch.float64)
    with torch.no_grad():
        drawn = run(adapter, prefill, rows, noise=np.array([5, 6]))
        exact = run(adapter, prefill, rows)
    assert torch.allclose(drawn, exact)


@pytest.mark.parametrize("noise", [None, np.array([5, 6])], ids=["soft", "gumbel"])
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
        assert gradient[layer].item() == pytest.approx(difference.item(), rel=0.02, abs=0.02)
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
    assert_close(found[0][0], found[1][0])
    assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("checkpoint", [False, True])
def test_no_mask_needs_a_gradient_alone_pytorch_188302(monkeypatch, checkpoint):
    """Else attention on CUDA fails in its backward pass, or reads what it did not keep."""
    adapter = tiny_llava(patch=12)
    adapter.model.requires_grad_(False)  # as `load_problem` leaves it
    prefill = adapter.prefill(question_batch(adapter, 2))
    seen = []
    whole = adapter.run_layer

    def watched(index, hidden, rotary, mask, cache=None):
        if torch.is_grad_enabled():
            seen.append((mask.requires_grad, hidden.requires_grad))
        return whole(index, hidden, rotary, mask, cache)

    monkeypatch.setattr(adapter, "run_layer", watched)
    ratios = RATIOS.clone().requires_grad_()
    logits = run(adapter, prefill, ratios.expand(2, -1), checkpoint=checkpoint)
    torch.autograd.grad(logits.sum(), ratios)
    assert (True, True) in seen
    assert (True, False) not in seen


def test_in_bf16_the_gradient_points_the_same_way():
    """Masks stay float64; weights and activations of the decoder are rounded to eight bits."""
    found = []
    for dtype in (torch.float64, torch.bfloat16):
        adapter = tiny_llava(patch=12, dtype=dtype)
        with torch.no_grad():
            prefill = adapter.prefill(question_batch(adapter, 2))
        ratios = RATIOS.clone().requires_grad_()
        logits = run(adapter, prefill, ratios.expand(2, -1), straight_through=False)
        (gradient,) = torch.autograd.grad(logits.double().log_softmax(-1)[:, 7].sum(), ratios)
        found.append(gradient)
    assert found[1].dtype == torch.float64
    assert torch.cosine_similarity(*found, dim=0) > 0.95


@given(count=st.floats(0.6, 9.0), tau=st.floats(0.3, 4.0), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_what_is_left_under_the_mask_sums_to_the_count(count, tau, seed):
    rng = np.random.default_rng(seed)
    here = torch.from_numpy(rng.uniform(0.05, 1.0, 40))
    place = here.cumsum(-1) - here / 2
    counts = torch.tensor(count, dtype=torch.float64)
    mask = torch.sigmoid(survival_logits(counts, here, place, tau))
    assert float((here * mask).sum()) == pytest.approx(count, abs=1e-6)


def test_the_edge_is_differentiated_in_the_count_and_in_what_is_left():
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.normal(size=12))

    def figure(both):
        count, here = both[0], both[1:]
        place = here.cumsum(-1) - here / 2
        return (weights * here * torch.sigmoid(survival_logits(count, here, place, 1.5))).sum()

    both = torch.cat([torch.tensor([4.3]), torch.from_numpy(rng.uniform(0.2, 1.0, 12))]).double()
    assert torch.autograd.gradcheck(figure, both.requires_grad_(), eps=1e-5, atol=1e-6)


def test_an_earlier_layer_feels_what_a_later_one_makes_of_a_token():
    """Layers after the first drop see scores turned round: its last tokens are their best ones."""

    class Turned(RandomPruner):
        name = "turned"

        def score(self, context):
            place = context.origin.gather(1, context.visual).double()
            return -place if context.layer == 1 else place

    adapter = tiny_llava(patch=12)
    with torch.no_grad():
        prefill = adapter.prefill(question_batch(adapter, 2))
    ratios = torch.tensor([1.0, 0.53, 0.26, 0.12], dtype=torch.float64, requires_grad=True)
    tokens = run_soft(
        adapter, prefill, ratios.expand(2, -1), Turned(), tau=1.0, straight_through=False
    )
    logits = adapter.head(tokens.at(prefill.prompt_end[:, None]))[:, 0]
    (gradient,) = torch.autograd.grad(logits.log_softmax(-1)[:, 7].sum(), ratios)
    step, moved = 1e-4, torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    with torch.no_grad():
        ends = [
            adapter.head(
                run_soft(
                    adapter, prefill, (ratios + s * step * moved).expand(2, -1), Turned(), tau=1.0,
                    straight_through=False,
                ).at(prefill.prompt_end[:, None])
            )[:, 0].log_softmax(-1)[:, 7].sum()
            for s in (1, -1)
        ]  # fmt: skip
    slope = float(ends[0] - ends[1]) / (2 * step)
    assert gradient[1].item() == pytest.approx(slope, rel=0.02)
    assert abs(slope) > 0.1  # one more token in layer 1 is the best of layers 2 and 3
