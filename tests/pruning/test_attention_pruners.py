"""FitPrune, SparseVLM and AIM's PageRank against eager attention weights of unmodified models."""

import numpy as np
import pytest
import torch

from paretoprune.adapters.prompts import visual_mask
from paretoprune.pruning.pruners.aim import AIM
from paretoprune.pruning.pruners.fitprune import FitPrune
from paretoprune.pruning.pruners.sparsevlm import SparseVLM, density_peaks
from paretoprune.testing.models import question_batch, tiny_llava, tiny_qwen2_5_vl
from paretoprune.testing.pruners import context_of, handmade_context, select_each

FAMILIES = pytest.mark.parametrize("make", [tiny_llava, tiny_qwen2_5_vl])


@torch.no_grad()
def eager(make, pruner, layer=2):
    """Per sample: the context before `layer`, the model's own weights [heads, T, T] and places."""
    adapter = make(attn="eager", dtype=torch.float32)
    prefill = adapter.prefill(question_batch(adapter))
    context = context_of(adapter, prefill, layer, pruner)
    for row in range(3):
        inputs = question_batch(adapter)
        kept = inputs["attention_mask"][row].bool()
        rows = {
            k: inputs[k][row : row + 1, kept]
            for k in ("input_ids", "attention_mask", "mm_token_type_ids")
            if k in inputs
        }
        if "image_grid_thw" in inputs:
            patches = int(inputs["image_grid_thw"][row].prod())
            rows["pixel_values"] = inputs["pixel_values"][row * patches : (row + 1) * patches]
            rows["image_grid_thw"] = inputs["image_grid_thw"][row : row + 1]
        else:
            rows["pixel_values"] = inputs["pixel_values"][row : row + 1]
        weights = adapter.model(**rows, use_cache=False, output_attentions=True).attentions
        visual = visual_mask(adapter, rows["input_ids"])[0].nonzero()[:, 0]
        embedded = prefill.hidden[row][prefill.valid[row]]
        yield row, context, weights[layer - 1][0].double(), visual.tolist(), embedded


@FAMILIES
@torch.no_grad()
def test_fitprune_is_the_product_of_two_received_attentions(make):
    for row, context, weights, visual, _ in eager(make, FitPrune()):
        score = FitPrune().score(context)[row]
        words = range(visual[-1] + 1, weights.shape[-1])
        for place, token in enumerate(visual):
            within = np.mean([float(weights[:, q, token].max()) for q in visual])
            across = np.mean([float(weights[:, q, token].max()) for q in words])
            assert float(score[place]) == pytest.approx(within * across, rel=1e-3, abs=1e-9)


@FAMILIES
@torch.no_grad()
def test_sparsevlm_scores_by_the_words_that_see_the_picture(make):
    pruner = SparseVLM()
    for row, context, weights, visual, embedded in eager(make, pruner):
        words = list(range(visual[-1] + 1, weights.shape[-1]))
        related = np.zeros(len(words))
        for v in visual:
            products = np.array([float(embedded[v].double() @ embedded[w].double()) for w in words])
            e = np.exp(products - products.max())
            related += e / e.sum() / len(visual)
        raters = [w for w, x in zip(words, related, strict=True) if x > related.mean()]
        flags = context.extras["raters"][row, :, 0].nonzero()[:, 0].tolist()
        assert flags == raters
        assert 0 < len(raters) < len(words)
        expected = [np.mean([float(weights[:, r, v].mean()) for r in raters]) for v in visual]
        mine = pruner.score(context)[row].tolist()
        assert mine == pytest.approx(expected, rel=1e-3, abs=1e-8)


@pytest.mark.parametrize("visual", [2, 9, 40, 144])
def test_sparsevlm_counts_add_up(visual):
    """Of the dropped, 30 % (and one) are recycled, a tenth of them (and one) as clusters."""
    for n in range(1, visual):
        kept, clusters = SparseVLM().split(n, visual)
        assert kept + clusters == n
        recycled = int((visual - kept) * 0.3) + 1
        assert 1 <= clusters <= recycled <= visual - kept
        if kept:
            assert clusters == recycled // 10 + 1


@pytest.mark.parametrize(("recycled", "per_cluster"), [(0.0, 10), (1.0, 1), (0.5, 32)])
def test_sparsevlm_counts_add_up_whatever_its_knobs(recycled, per_cluster):
    pruner = SparseVLM(recycled=recycled, per_cluster=per_cluster)
    for visual in (2, 7, 30):
        for n in range(1, visual):
            kept, clusters = pruner.split(n, visual)
            assert kept + clusters == n
            assert 1 <= clusters <= pruner.recycled_of(visual - kept) <= visual - kept


def slow_density_peaks(tokens, clusters):
    """DPC-KNN in plain loops."""
    count, width = tokens.shape
    gap = np.array([[np.linalg.norm(a - b) / width**0.5 for b in tokens] for a in tokens])
    density = [np.exp(-np.mean(np.sort(gap[i])[:clusters] ** 2)) for i in range(count)]
    score = []
    for i in range(count):
        denser = [gap[i, j] for j in range(count) if (density[j], -j) > (density[i], -i)]
        score.append((min(denser) if denser else gap.max()) * density[i])
    centres = sorted(range(count), key=lambda i: (-score[i], i))[:clusters]
    member = [int(np.argmin([gap[i, c] for c in centres])) for i in range(count)]
    for number, centre in enumerate(centres):
        member[centre] = number
    return centres, member


@pytest.mark.parametrize("clusters", [1, 3, 5])
def test_density_peaks_equal_the_slow_reference(clusters):
    tokens = torch.randn(17, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    centres, member = density_peaks(tokens, clusters)
    expected = slow_density_peaks(tokens.numpy(), clusters)
    assert (centres.tolist(), member.tolist()) == expected


def test_two_heaps_are_two_clusters():
    heaps = torch.tensor([[0.0, 0], [0.1, 0], [5.0, 5], [5.1, 5], [5.2, 5]], dtype=torch.float64)
    _, member = density_peaks(heaps, 2)
    assert member[0] == member[1] != member[2] == member[3] == member[4]


@pytest.mark.parametrize(("cluster", "share"), [("mean", 1 / 4), ("sum", 1.0)])
def test_sparsevlm_recycles_the_best_of_what_goes(cluster, share, monkeypatch):
    """12 tokens, n = 3: 2 stay; of 10 dropped, the 4 best become one token."""
    scores = torch.arange(12.0, 0.0, -1.0, dtype=torch.float64)[None]
    pruner = SparseVLM(cluster=cluster)
    monkeypatch.setattr(pruner, "score", lambda _: scores)
    states = torch.randn(1, 12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = select_each(pruner, handmade_context(states, states[:, :1]), 3)
    assert found.indices[0, :2].tolist() == [0, 1]
    assert int(found.indices[0, 2]) in (2, 3, 4, 5)
    expected = torch.zeros(12, dtype=torch.float64)
    expected[2:6] = share
    assert torch.allclose(found.weights[0, 2], expected)
    assert torch.equal(found.weights[0, :2], torch.eye(12, dtype=torch.float64)[:2])


@FAMILIES
@torch.no_grad()
def test_aim_ranks_by_pagerank_on_attention(make):
    """softmax(logits / 0.1) is the tenth power of the weights, normalised again."""
    for row, context, weights, visual, _ in eager(make, AIM()):
        sharp = (weights.clamp(min=1e-300).log() * 10).softmax(-1)
        length = weights.shape[-1]
        sharp = sharp * torch.ones(length, length, dtype=torch.float64).tril()
        total = torch.zeros(length, dtype=torch.float64)
        for head in sharp:
            rank = torch.full((length,), 1 / length, dtype=torch.float64)
            for _ in range(5):
                rank = torch.stack([(rank * head[:, j]).sum() for j in range(length)])
            total += rank**2 / len(sharp)
        expected = total.sqrt()[visual]
        mine = AIM().score(context.one(row))[0].double()
        assert torch.allclose(mine, expected, rtol=2e-2, atol=1e-6)
