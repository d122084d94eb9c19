"""ToMe, AIM's merging, VisionZip and VisPruner against hand computations and plain loops."""

import numpy as np
import pytest
import torch

from paretoprune.pruning.pruners.aim import AIM
from paretoprune.pruning.pruners.tome import ToMe
from paretoprune.pruning.pruners.visionzip import VisionZip
from paretoprune.pruning.pruners.vispruner import VisPruner
from paretoprune.testing.agreement import assert_close
from paretoprune.testing.pruners import handmade_context, select_each


def random_states(batch, visual, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, visual, width, dtype=torch.float64, generator=generator)


def cosine(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


TEXT = torch.ones(1, 1, 6, dtype=torch.float64)


def tower(attention, keys=None):
    found = {"class_attention": torch.tensor(attention, dtype=torch.float64)[..., None]}
    if keys is not None:
        found["vision_keys"] = keys
    return found


def test_tome_by_hand():
    """A = tokens 0, 2; B = 1, 3. Token 0 equals 1, token 2 is unlike both: 0 merges into 1."""
    east, north, west = [1.0, 0], [0, 1.0], [-1.0, 0]
    states = torch.tensor([[east, [3.0, 0], north, west]], dtype=torch.float64)
    context = handmade_context(states, TEXT[..., :2])
    found = select_each(ToMe(), context, 3)
    assert found.indices.tolist() == [[2, 1, 3]]
    assert found.weights[0].tolist() == [[0, 0, 1, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 1]]


def slow_merge(tokens, n, weighted, in_order):
    """Rounds of bipartite matching: each token is (place, members, value)."""
    now = [(i, [i], np.asarray(t), 1) for i, t in enumerate(tokens)]
    while len(now) > n:
        first, second = now[::2], [list(t) for t in now[1::2]]
        edges = []
        for i, a in enumerate(first):
            likeness = [cosine(a[2], b[2]) for b in second]
            edges.append((-max(likeness), i, int(np.argmax(likeness))))
        edges.sort()
        gone = edges[: min(len(now) - n, len(now) // 2)]
        groups = {}
        for _, i, j in gone:
            groups.setdefault(j, []).append(first[i])
        for j, joining in groups.items():
            members = [tuple(second[j]), *joining]
            sizes = [m[3] if weighted else 1 for m in members]
            value = sum(s * m[2] for s, m in zip(sizes, members, strict=True)) / sum(sizes)
            second[j] = [
                second[j][0], [i for m in members for i in m[1]], value, sum(m[3] for m in members)
            ]  # fmt: skip
        rest = [i for _, i, _ in edges[len(gone) :]]
        rest = sorted(rest) if in_order else rest
        now = [first[i] for i in rest] + [tuple(t) for t in second]
    return now


@pytest.mark.parametrize("n", [1, 2, 5, 9, 12, 13])
@pytest.mark.parametrize("pruner", [ToMe(), AIM()])
def test_merging_equals_the_slow_reference(pruner, n):
    weighted = isinstance(pruner, ToMe)
    states = random_states(2, 14, seed=1)
    found = select_each(pruner, handmade_context(states, TEXT.expand(2, -1, -1)), n)
    mine = torch.bmm(found.weights, states)
    for row in range(2):
        expected = slow_merge(states[row].tolist(), n, weighted, weighted)
        assert found.indices[row].tolist() == [t[0] for t in expected]
        assert np.allclose(mine[row].numpy(), np.stack([t[2] for t in expected]))
        assert torch.allclose(found.weights[row].sum(1), torch.ones(n, dtype=torch.float64))


def test_tome_keeps_the_sum_of_all_tokens_by_size():
    states = random_states(1, 14, seed=2)
    found = select_each(ToMe(), handmade_context(states, TEXT), 4)
    size = 1 / found.weights[0].amax(1)  # equal shares within a group
    assert float(size.sum()) == pytest.approx(14)
    assert torch.allclose((size @ found.weights[0]), torch.ones(14, dtype=torch.float64))


def test_visionzip_by_hand():
    """n = 4 of 8, half contextual. Dominant: 7, 2. Left: 0 1 3 4 5 6, targets at steps of 3: 0, 4.

    Keys: 1 and 3 are like 0; 5 is like 4; 6 is like 4. So 0 takes half of 1 and 3, 4 of 5 and 6.
    """
    attention = [[0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.1, 0.9]]
    a, b = [1.0, 0.1], [0.1, 1.0]
    keys = torch.tensor([[a, a, b, a, b, b, b, a]], dtype=torch.float64)
    context = handmade_context(random_states(1, 8), TEXT, extras=tower(attention, keys))
    found = select_each(VisionZip(contextual=0.5), context, 4)
    assert found.indices.tolist() == [[7, 2, 0, 4]]
    expected = torch.zeros(4, 8, dtype=torch.float64)
    expected[0, 7] = expected[1, 2] = expected[2, 0] = expected[3, 4] = 1.0
    expected[2, [1, 3]] = expected[3, [5, 6]] = 0.5
    assert torch.equal(found.weights[0], expected)


def test_visionzip_shares_are_the_papers():
    """Table 1: 54 + 10, 108 + 20 and 162 + 30 tokens."""
    assert VisionZip()._contextual(np.array([64, 128, 192])).tolist() == [10, 20, 30]


def test_vispruner_by_hand():
    """Attention falls with the index; 4 of 5 stay, two by attention; of 2 and 4, 4 is like 3."""
    states = torch.tensor(
        [[[1.0, 0], [1.0, 0], [1.0, 0], [0, 1.0], [0.2, 1.0]]], dtype=torch.float64
    )
    context = handmade_context(states, TEXT[..., :2], extras=tower([[5.0, 4, 3, 2, 1]]))
    assert select_each(VisPruner(), context, 4).indices.tolist() == [[0, 1, 2, 3]]
    # one diverse token of 1 2 3 4: rounds drop 1 and 3, then 2, whatever the features
    assert select_each(VisPruner(), context, 2).indices.tolist() == [[0, 4]]


def slow_vispruner(tokens, attention, n):
    order = sorted(range(len(tokens)), key=lambda i: (-attention[i], i))
    important, left = order[: n // 2], order[n // 2 :]
    while n - n // 2 < len(left):
        first, second = left[0::2], left[1::2]
        gone = min(8, len(left) - (n - n // 2), len(first))
        alike = {i: max(cosine(tokens[i], tokens[j]) for j in second) for i in first}
        ranked = sorted(first, key=lambda i: -alike[i])
        left = ranked[gone:] + second
    return important + left


@pytest.mark.parametrize("n", [1, 2, 9, 20, 29])
def test_vispruner_equals_the_slow_reference(n):
    states = random_states(2, 30, seed=3)
    attention = random_states(2, 30, 1, seed=4)
    extras = {"class_attention": attention}
    context = handmade_context(states, TEXT.expand(2, -1, -1), extras=extras)
    chosen = select_each(VisPruner(), context, n).indices
    for row in range(2):
        expected = slow_vispruner(states[row].tolist(), attention[row, :, 0].tolist(), n)
        assert chosen[row].tolist() == expected


@pytest.mark.parametrize("pruner", [ToMe(), AIM(), VisionZip(), VisPruner()])
def test_every_sample_merges_to_its_own_count(pruner):
    """Counts 0, 3 and all in one batch; what stays whole is left as it is."""
    states = random_states(3, 8, seed=5)
    extras = tower(np.linspace(1, 0, 24).reshape(3, 8).tolist(), random_states(3, 8, 4, seed=6))
    context = handmade_context(states, TEXT.expand(3, -1, -1), extras=extras)
    found = pruner.select(context, torch.tensor([0, 3, 8]))
    alone = pruner.select(context.one(1), torch.tensor([3]))
    assert found.indices[1, :3].tolist() == alone.indices[0].tolist()
    assert found.indices[2].tolist() == list(range(8))
    if found.weights is not None:
        assert_close(found.weights[1, :3], alone.weights[0])
        assert_close(found.weights[2], torch.eye(8, dtype=torch.float64))
