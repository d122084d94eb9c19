"""DivPrune, CDPruner and DART against hand computations and slow references in plain loops."""

import math

import numpy as np
import pytest
import torch

from paretoprune.pruning.pruners.cdpruner import CDPruner, greedy_map
from paretoprune.pruning.pruners.dart import DART
from paretoprune.pruning.pruners.divprune import DivPrune
from paretoprune.testing.pruners import handmade_context, select_each


def on_circle(*degrees):
    """Unit vectors in the plane, [1, V, 2]."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)[None]


def random_states(batch, visual, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, visual, width, dtype=torch.float64, generator=generator)


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


TEXT = torch.ones(1, 2, 2, dtype=torch.float64)


def test_divprune_by_hand():
    """At 0, 10, 100, 195 degrees: 195 has the farthest neighbour (95 degrees away).

    Then 10 (175 degrees from it), 100 (90 degrees from the nearer of the two), and 0.
    """
    context = handmade_context(on_circle(0, 10, 100, 195), TEXT)
    assert DivPrune().order(context).tolist() == [[3, 1, 2, 0]]


def slow_divprune(tokens):
    """Algorithm 1 of arXiv 2503.02175."""
    count = len(tokens)
    away = [[1 - cosine(a, b) for b in tokens] for a in tokens]
    nearest = [min(away[i][j] for j in range(count) if j != i) for i in range(count)]
    chosen = [max(range(count), key=lambda i: (nearest[i], -i))]
    while len(chosen) < count:
        left = [i for i in range(count) if i not in chosen]
        chosen.append(max(left, key=lambda i: (min(away[i][j] for j in chosen), -i)))
    return chosen


def test_divprune_equals_the_slow_reference_in_a_batch_of_mixed_sizes():
    states = random_states(3, 11)
    present = torch.ones(3, 11, dtype=torch.bool)
    present[1, 7:] = False
    order = DivPrune().order(handmade_context(states, states[:, :2], present=present))
    for row, size in enumerate((11, 7, 11)):
        assert order[row, :size].tolist() == slow_divprune(states[row, :size].tolist())


def slow_cdpruner(tokens, text):
    """Kernel r_i S_ij r_j; always the token with the largest determinant of the kept minor."""
    raw = [np.mean([cosine(v, t) for t in text]) for v in tokens]
    r = [(x - min(raw)) / (max(raw) - min(raw)) for x in raw]
    kernel = np.array(
        [[r[i] * cosine(a, b) * r[j] for j, b in enumerate(tokens)] for i, a in enumerate(tokens)]
    )
    chosen = []
    for _ in range(min(len(tokens) - 1, len(tokens[0]))):  # beyond the rank every gain is 0
        left = [i for i in range(len(tokens)) if i not in chosen]

        def volume(i, chosen=tuple(chosen)):
            minor = [*chosen, i]
            return np.linalg.det(kernel[np.ix_(minor, minor)])

        chosen.append(max(left, key=volume))
    return chosen


def test_cdpruner_equals_the_greedy_determinant():
    states, text = random_states(3, 10, seed=1), random_states(3, 4, seed=2)
    present = torch.ones(3, 10, dtype=torch.bool)
    present[2, 8:] = False
    order = CDPruner().order(handmade_context(states, text, present=present))
    for row, size in enumerate((10, 10, 8)):
        expected = slow_cdpruner(states[row, :size].tolist(), text[row].tolist())
        assert order[row, : len(expected)].tolist() == expected
        assert set(order[row, :size].tolist()) == set(range(size))


def test_map_of_independent_tokens_is_by_relevance_and_duplicates_come_last():
    states = torch.eye(3, dtype=torch.float64)[[0, 1, 1, 2]][None]
    relevance = torch.tensor([[0.5, 1.0, 0.9, 0.7]], dtype=torch.float64)
    score = greedy_map(relevance, states, torch.ones(1, 4, dtype=torch.bool))
    assert score.tolist() == [[-2.0, 0.0, -3.0, -1.0]]  # token 2 repeats token 1


def test_relevance_by_hand():
    """Question at 0 degrees: cosines 1, 1/2, -1 become 1, 3/4, 0."""
    context = handmade_context(on_circle(0, 60, 180), on_circle(0, 0))
    expected = torch.tensor([[1.0, 0.75, 0.0]], dtype=torch.float64)
    assert torch.allclose(CDPruner().relevance(context), expected)


def test_dart_by_hand():
    """One visual pivot (largest key) at 0 degrees, one text pivot at 90; n = 4: two for the first.

    Least similar to 0 degrees: 180 and 170; of 80 and 20 the text pivot's least similar is 20.
    """
    states, text = on_circle(0, 180, 170, 80, 20), on_circle(45, 90)
    size = torch.tensor([9.0, 1, 1, 1, 1, 2, 5], dtype=torch.float64)
    keys = torch.stack([size / 2, -size / 2], 1)[None, None]  # L1 norms are the sizes
    context = handmade_context(states, text, keys=keys, layer=1)
    pruner = DART(visual_pivots=1, text_pivots=1)
    assert select_each(pruner, context, 4).indices.tolist() == [[0, 1, 2, 4]]
    assert select_each(pruner, context, 1).indices.tolist() == [[0]]


def slow_dart(tokens, text, norms, text_norms, n, pivots=4):
    visual = sorted(range(len(tokens)), key=lambda i: (-norms[i], i))[: min(pivots, n)]
    words = sorted(range(len(text)), key=lambda i: (-text_norms[i], i))[:pivots]
    every = [tokens[i] for i in visual] + [text[i] for i in words]
    chosen = list(visual)
    for number, pivot in enumerate(every):
        share = (n - len(visual)) // len(every) + (number < (n - len(visual)) % len(every))
        left = [i for i in range(len(tokens)) if i not in chosen]
        left.sort(key=lambda i, pivot=pivot: cosine(tokens[i], pivot))
        chosen += left[:share]
    return chosen


@pytest.mark.parametrize("n", [1, 3, 4, 5, 13, 19])
def test_dart_equals_the_slow_reference(n):
    states, text = random_states(2, 20, seed=3), random_states(2, 6, seed=4)
    keys = random_states(2, 2 * 26, 3, seed=5).view(2, 2, 26, 3)
    chosen = select_each(DART(), handmade_context(states, text, keys=keys, layer=1), n).indices
    for row in range(2):
        norms = [float(keys[row, :, i].abs().sum()) for i in range(26)]
        expected = slow_dart(states[row].tolist(), text[row].tolist(), norms[:20], norms[20:], n)
        assert chosen[row].tolist() == expected


@pytest.mark.parametrize("pruner", [DivPrune(), CDPruner(), DART()])
@pytest.mark.parametrize("n", [3, 7])
def test_the_order_of_tokens_plays_no_part(pruner, n):
    states, text = random_states(1, 12, 20, seed=6), random_states(1, 3, 20, seed=7)
    keys = random_states(1, 15, 4, seed=8)[:, None]
    chosen = select_each(pruner, handmade_context(states, text, keys=keys, layer=1), n).indices[0]
    turn = torch.randperm(12, generator=torch.Generator().manual_seed(9))
    turned = torch.cat([keys[:, :, :12][:, :, turn], keys[:, :, 12:]], 2)
    context = handmade_context(states[:, turn], text, keys=turned, layer=1)
    again = select_each(pruner, context, n).indices[0]
    assert set(turn[again].tolist()) == set(chosen.tolist())


@pytest.mark.parametrize("pruner", [DivPrune(), CDPruner(), DART()])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_equal_tokens_go_from_the_end(pruner, dtype):
    states = torch.ones(2, 8, 4, dtype=dtype)  # of length 2: every sum is exact, in any order
    keys = torch.ones(2, 1, 10, 4, dtype=dtype)
    context = handmade_context(states, torch.ones(2, 2, 4, dtype=dtype), keys=keys, layer=1)
    assert select_each(pruner, context, 5).indices.tolist() == [[0, 1, 2, 3, 4]] * 2
