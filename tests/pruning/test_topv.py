"""TopV against hand computations, a plain Sinkhorn, and the layer's own activations."""

import math

import numpy as np
import pytest
import torch

from paretoprune.adapters.extras import prefill_for
from paretoprune.adapters.token_geometry import cells
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import ranking_cost
from paretoprune.pruning.pruners import topv
from paretoprune.pruning.pruners.topv import TopV, row_sums
from paretoprune.testing.models import (
    question_batch,
    tiny_internvl,
    tiny_llava,
    tiny_qwen2_5_vl,
)
from paretoprune.testing.pruners import context_of, handmade_context, select_each


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def places(batch, *pictures):
    """Grids of (rows, columns) one after another: [batch, V, 3]."""
    place = torch.cat([cells(i, *size) for i, size in enumerate(pictures)])
    return place.double().expand(batch, -1, -1)


def slow_importance(pruner, source, target, place, count):
    """Costs and Sinkhorn as the paper writes them, in plain loops and without logarithms."""
    away = [[sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) for t in target] for s in source]
    typical = sum(map(sum, away)) / count**2
    kernel = np.zeros((count, count))
    for i, (picture, y, x) in enumerate(place):
        for j, (other, y2, x2) in enumerate(place):
            near = 0.0
            if picture == other:
                near = math.exp(-((24 * (x - x2)) ** 2 + (24 * (y - y2)) ** 2) / (2 * 10**2))
            centre = 24 * math.hypot(x - 0.5, y - 0.5)
            cost = away[i][j] / typical + pruner.spatial * (1 - near) + pruner.central * centre
            kernel[i, j] = math.exp(-cost / pruner.epsilon)
    p = np.array([math.sqrt(sum(a * a for a in s)) for s in source])
    q = np.array([math.sqrt(sum(a * a for a in t)) for t in target])
    p, q = p / p.sum(), q / q.sum()
    u = np.ones(count)
    v = q / (kernel.T @ u)
    for _ in range(pruner.iterations - 1):
        u = p / (kernel @ v)
        v = q / (kernel.T @ u)
    return (u[:, None] * kernel * v).sum(1)


@pytest.mark.parametrize(
    "pruner",
    [TopV(), TopV(iterations=1), TopV(iterations=16, epsilon=0.5, central=0.1), TopV(spatial=0.0)],
)
def test_importance_equals_the_slow_reference_in_a_batch_of_mixed_sizes(pruner):
    source, target = drawn(2, 12, 5), drawn(2, 12, 5, seed=1)
    keep_mask = torch.ones(2, 12, dtype=torch.bool)
    keep_mask[1, 9:] = False
    place = places(2, (3, 3), (1, 3))
    mine = pruner.importance(source, target, place, keep_mask)
    assert mine[1, 9:].isneginf().all()
    for row, count in enumerate((12, 9)):
        expected = slow_importance(
            pruner, *(x[row, :count].tolist() for x in (source, target, place)), count
        )
        assert np.allclose(mine[row, :count].exp(), expected, rtol=1e-9)


def test_two_tokens_by_hand():
    """K = [[1, 1/2], [1/4, 1]], equal masses: v = 1/2 / (5/4, 3/2) = (2/5, 1/3), u = 1.

    Row sums 2/5 + 1/6 = 17/30 and 1/10 + 1/3 = 13/30. One update more: u = 1/2 over those, and
    v = 1/2 / (u_1 + u_2 / 4, u_1 / 2 + u_2).
    """
    kernel = torch.tensor([[[1.0, 0.5], [0.25, 1.0]]], dtype=torch.float64).log()
    rows = [(slice(0, 1), kernel[:, :1]), (slice(1, 2), kernel[:, 1:])]
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    first = row_sums(lambda: rows, half, half, 1).exp()
    assert torch.allclose(first, torch.tensor([[17 / 30, 13 / 30]], dtype=torch.float64))
    u = (15 / 17, 15 / 13)
    v = (0.5 / (u[0] + u[1] / 4), 0.5 / (u[0] / 2 + u[1]))
    expected = [u[0] * (v[0] + v[1] / 2), u[1] * (v[0] / 4 + v[1])]
    assert row_sums(lambda: rows, half, half, 2)[0].exp().tolist() == pytest.approx(expected)


def test_a_token_that_the_output_resembles_stays():
    """All targets equal source 2, which stays first; source 0 is farthest from them."""
    source = torch.tensor([[[0.0, 5.0], [4.0, 1.0], [5.0, 0.0]]], dtype=torch.float64)
    target = source[:, [2, 2, 2]]
    keep_mask = torch.ones(1, 3, dtype=torch.bool)
    score = TopV(spatial=0.0, central=0.0, iterations=1).importance(
        source, target, places(1, (1, 3)), keep_mask
    )
    assert score.argsort(1, descending=True).tolist() == [[2, 1, 0]]


def test_the_middle_and_the_neighbourhood_count():
    """Of equal tokens, the middle one gives most if central; corners, far from all, give least."""
    same = torch.ones(1, 25, 3, dtype=torch.float64)
    keep_mask = torch.ones(1, 25, dtype=torch.bool)
    corners = {0, 4, 20, 24}
    for weights in ({"spatial": 0.0, "central": 0.1}, {"spatial": 1.0, "central": 0.0}):
        pruner = TopV(**weights, iterations=1)
        score = pruner.importance(same, same, places(1, (5, 5)), keep_mask)[0]
        assert set(score.argsort(descending=True, stable=True)[-4:].tolist()) == corners
        if weights["central"]:
            assert int(score.argmax()) == 12


def test_columns_of_the_plan_carry_the_targets_masses():
    """So what all sources give is 1."""
    source, target = drawn(3, 10, 4, seed=2), drawn(3, 10, 4, seed=3)
    keep_mask = torch.ones(3, 10, dtype=torch.bool)
    total = TopV().importance(source, target, places(3, (2, 5)), keep_mask).exp().sum(1)
    assert torch.allclose(total, torch.ones(3, dtype=torch.float64))


def test_the_order_of_tokens_plays_no_part():
    source, target, place = drawn(1, 12, 6), drawn(1, 12, 6, seed=4), places(1, (3, 4))
    keep_mask = torch.ones(1, 12, dtype=torch.bool)
    turn = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    score = TopV().importance(source, target, place, keep_mask)
    turned = TopV().importance(source[:, turn], target[:, turn], place[:, turn], keep_mask)
    assert torch.allclose(turned, score[:, turn])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equal_tokens_in_equal_places_go_from_the_end(dtype):
    same = torch.ones(2, 8, 4, dtype=dtype)  # of length 2: every sum is exact, in any order
    keep_mask = torch.ones(2, 8, dtype=torch.bool)
    score = TopV().importance(same, same, torch.full((2, 8, 3), 0.5, dtype=dtype), keep_mask)
    assert torch.equal(score, score[:, :1].expand(-1, 8))


def test_a_large_picture_is_the_same_in_blocks(monkeypatch):
    source, target = drawn(2, 30, 4, seed=6), drawn(2, 30, 4, seed=7)
    keep_mask = torch.ones(2, 30, dtype=torch.bool)
    keep_mask[0, 25:] = False
    whole = TopV().importance(source, target, places(2, (5, 6)), keep_mask)
    monkeypatch.setattr(topv, "BLOCK", 7)
    held = TopV().importance(source, target, places(2, (5, 6)), keep_mask)
    monkeypatch.setattr(topv, "HELD", 29)
    anew = TopV().importance(source, target, places(2, (5, 6)), keep_mask)
    assert torch.allclose(held, whole)
    assert torch.allclose(anew, whole)
    flops = [
        float(ranking_cost(TopV(), tiny_llava().spec, np.array(40), np.array(v))) for v in (29, 30)
    ]
    attention, products = 2 * 40 * (4 * 48 * 48) + 4 * 40**2 * 48, 2 * 48
    assert flops[1] - attention - products * 4 * 30**2 == pytest.approx(0, abs=attention / 2)
    assert flops[0] < flops[1]


@pytest.mark.parametrize("make", [tiny_llava, tiny_qwen2_5_vl, tiny_internvl])
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@torch.no_grad()
def test_sources_and_targets_are_the_layers_own(make, attn):
    """The second norm's output, as a hook sees it when the model runs, in a padded batch."""
    adapter, pruner = make(attn=attn), TopV()
    noted = []
    handle = adapter.decoder.layers[1].post_attention_layernorm.register_forward_hook(
        lambda _, __, out: noted.append(out)
    )
    prefill = prefill_for(adapter, question_batch(adapter), needs=pruner.needs)
    context = context_of(adapter, prefill, 2, pruner)
    assert len(noted) == 1
    found = context.attended
    handle.remove()
    seen = context.active[..., None]
    assert torch.allclose(found * seen, noted[0] * seen, atol=1e-9)
    keep_mask, place = context.keep_mask, context.extra("grid").double()
    index = context.visual[..., None].expand(-1, -1, found.shape[-1])
    source, target = context.before.gather(1, index), noted[0].gather(1, index)
    expected = pruner.importance(source, target, place, keep_mask)
    assert torch.allclose(pruner.score(context), expected, atol=1e-9)


def with_scores(pruner, *scores, monkeypatch):
    values = torch.tensor(scores, dtype=torch.float64)
    monkeypatch.setattr(pruner, "score", lambda _: values)
    states = torch.zeros(*values.shape, 2, dtype=torch.float64)
    return handmade_context(states, states[:, :1])


def test_recovered_tokens_lie_at_even_steps_among_the_others(monkeypatch):
    """9 tokens, n = 5, 3 / 5 recovered: the best are 8 and 7, then 0, 2 and 4 of 0 ... 6."""
    pruner = TopV(recovered=0.6)
    context = with_scores(pruner, [float(i) for i in range(9)], monkeypatch=monkeypatch)
    assert select_each(pruner, context, 5).indices.tolist() == [[8, 7, 0, 2, 4]]
    assert select_each(pruner, context, 1).indices.tolist() == [[0]]
    assert sorted(select_each(pruner, context, 9).indices[0].tolist()) == list(range(9))
    assert TopV().relaxable
    assert not pruner.relaxable


def test_the_papers_interval_of_four_is_a_fifth_of_the_kept_tokens(monkeypatch):
    """Half of 576 go after the layer, and every fourth of them comes back: 288 + 72."""
    pruner = TopV(recovered=0.2)
    context = with_scores(pruner, [float(-i) for i in range(576)], monkeypatch=monkeypatch)
    chosen = select_each(pruner, context, 360).indices[0].tolist()
    assert chosen == [*range(288), *range(288, 576, 4)]


def test_every_sample_recovers_for_its_own_count(monkeypatch):
    pruner = TopV(recovered=0.5)
    row = [float(i) for i in range(6)]
    context = with_scores(pruner, row, row, monkeypatch=monkeypatch)
    found = pruner.select(context, torch.tensor([2, 4])).indices.tolist()
    assert found[0][:2] == [5, 0]
    assert found[1] == [5, 4, 0, 2]
    assert len(set(found[0])) == 4


@torch.no_grad()
def test_a_layer_without_a_second_norm_is_one_sentence():
    adapter = tiny_llava()
    context = context_of(adapter, adapter.prefill(question_batch(adapter)), 1)
    del adapter.decoder.layers[0].post_attention_layernorm
    with pytest.raises(UnsupportedError, match="no norm between attention and MLP"):
        context.attended  # noqa: B018
