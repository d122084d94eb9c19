"""The pruned decoder against the unmodified model and an independent, slow reference."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.cost import decoder_cost
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.base import Pruner, Selection, ranking_cost
from paretoprune.pruning.decoder import Executed, run_population
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.pruning.tokens import enter
from paretoprune.testing.models import question_batch, random_pictures, tiny_llava


def last_logits(adapter, prefill, rows, executed=None):
    found = {}
    for leaf in run_population(adapter, prefill, rows, FastV(), executed=executed):
        logits = adapter.head(leaf.tokens.at(prefill.prompt_end[:, None]))[:, 0]
        found |= dict.fromkeys(leaf.candidates, logits)
    return torch.stack([found[i] for i in range(len(rows))])


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_keep_all_equals_dense_at_every_position(attn, side):
    # eager attention works in float32 inside transformers and gives NaN for float64 padding rows
    dtype, atol = (torch.float64, 1e-9) if attn == "sdpa" else (torch.float32, 1e-4)
    adapter = tiny_llava(attn=attn, dtype=dtype)
    inputs = question_batch(adapter, 4, padding_side=side)
    prefill = adapter.prefill(inputs)
    # transformers counts positions through left padding; generate() passes what we use
    dense = adapter.model(**inputs, position_ids=adapter.positions(inputs)).logits
    (leaf,) = run_population(adapter, prefill, np.ones((1, adapter.spec.layers)), FastV())
    for row in range(4):
        places = prefill.valid[row].nonzero()[:, 0]
        mine = adapter.head(leaf.tokens.hidden[row, : len(places)])
        assert torch.allclose(mine, dense[row, places], atol=atol)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-4), (torch.bfloat16, 0.35)])
@torch.no_grad()
def test_keep_all_equals_dense_in_low_precision(dtype, atol):
    adapter = tiny_llava(dtype=dtype)
    inputs = question_batch(adapter)
    dense = adapter.model(**inputs).logits
    prefill = adapter.prefill(inputs)
    mine = last_logits(adapter, prefill, np.ones((1, 4)))[0]
    reference = dense[torch.arange(3), prefill.prompt_end]
    scale = reference.abs().max()
    assert (mine - reference).abs().max() < atol * max(1.0, float(scale) / 10)


@torch.no_grad()
def reference_logits(adapter, picture, prompt, counts):
    """One sample, one schedule: eager attention weights, plain lists, no shared code."""
    model = adapter.model
    inputs = adapter.inputs([picture], [prompt])
    ids = inputs["input_ids"][0]
    hidden = model.get_input_embeddings()(ids)
    features = model.get_image_features(inputs["pixel_values"]).pooler_output[0]
    hidden[ids == model.config.image_token_index] = features
    positions = torch.arange(len(ids))
    kinds = (ids == model.config.image_token_index).tolist()
    attention = None
    decoder = model.get_decoder()
    for layer, count in zip(decoder.layers, counts, strict=True):
        visual = [i for i, kind in enumerate(kinds) if kind]
        if count < len(visual):
            ranked = sorted(visual, key=lambda i: (-float(attention[i]), i))
            gone = set(ranked[count:])
            keep = [i for i in range(len(kinds)) if i not in gone]
            hidden, positions = hidden[keep], positions[keep]
            kinds = [kinds[i] for i in keep]
        x = hidden[None]
        rotary = decoder.rotary_emb(x, positions[None])
        mask = torch.full((len(kinds), len(kinds)), -torch.inf, dtype=x.dtype).triu(1)
        weights = layer.self_attn(
            layer.input_layernorm(x), position_embeddings=rotary, attention_mask=mask[None, None]
        )[1]
        attention = weights[0].mean(0)[-1]
        hidden = layer(x, attention_mask=mask[None, None], position_embeddings=rotary)[0]
    return model.lm_head(decoder.norm(hidden[-1]))


def test_equals_an_independent_reference():
    adapter = tiny_llava(attn="eager")
    fast = tiny_llava(attn="sdpa")
    pictures = random_pictures(2)
    prompts = ["read the sign ?", "what colour is the star ?"]
    rng = np.random.default_rng(0)
    rows = np.minimum.accumulate(rng.integers(0, 17, (6, 4)) / 16, axis=1)
    rows[:, 0] = 1.0
    with torch.no_grad():
        prefill = fast.prefill(fast.inputs(pictures, prompts))
        mine = last_logits(fast, prefill, rows)
    for i, row in enumerate(rows):
        counts = np.rint(row * 16).astype(int).tolist()
        for sample in range(2):
            reference = reference_logits(adapter, pictures[sample], prompts[sample], counts)
            assert torch.allclose(mine[i, sample], reference, atol=1e-5)  # eager: fp32 softmax


@torch.no_grad()
def test_each_sample_keeps_its_share_of_its_own_count():
    adapter = tiny_llava()
    prefill = adapter.prefill(question_batch(adapter, 2))
    visual = prefill.visual.clone()
    visual[1, visual[1].nonzero()[:8, 0]] = False  # sample 1 has 8 visual tokens, sample 0 has 16
    prefill.visual.copy_(visual)
    rows = np.array([[1.0, 0.5, 0.5, 0.25]])
    (leaf,) = run_population(adapter, prefill, rows, FastV())
    assert leaf.tokens.visual.sum(1).tolist() == [4, 2]


@pytest.mark.parametrize("row", [[1, 1, 1, 1], [1, 0.5, 0.5, 0.25], [1, 0, 0, 0], [0, 0, 0, 0]])
@torch.no_grad()
def test_analytic_flops_equal_the_flop_counter(row):
    """Grouped queries included; the counter ignores the CPU attention kernel, hence MATH."""
    adapter = tiny_llava()
    inputs = adapter.inputs(random_pictures(1), ["read the sign ?"])
    prefill = adapter.prefill(inputs)
    executed = Executed()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        list(run_population(adapter, prefill, np.array([row]), FastV(), executed=executed))
    text = int((~prefill.visual).sum())
    tokens = np.rint(np.array(row) * 16).astype(np.int64) + text
    ranked = [i for i in range(1, 4) if 0 < row[i] < row[i - 1]]
    before = [round(row[i - 1] * 16) + text for i in ranked]
    expected = decoder_cost(adapter.spec, tokens)
    expected += sum(
        float(ranking_cost(FastV(), adapter.spec, np.array(n), np.array(n))) for n in before
    )
    assert executed.flops == expected
    # the rotary table is a matrix product too: 2 x tokens x head_dim / 2 at most, once
    assert 0 <= counter.get_total_flops() - expected <= 2 * (16 + text) * adapter.spec.head_dim


@torch.no_grad()
def test_sharing_executes_the_distinct_segments_only():
    adapter = tiny_llava()
    prefill = adapter.prefill(adapter.inputs(random_pictures(2), ["read the sign ?"] * 2))
    rows = np.array([[1, 1, 1, 0.5], [1, 1, 1, 0.25], [1, 1, 1, 1.0]])
    together, alone = Executed(), Executed()
    list(run_population(adapter, prefill, rows, FastV(), executed=together))
    for row in rows:
        list(run_population(adapter, prefill, row[None], FastV(), executed=alone))
    text = int((~prefill.visual[0]).sum())
    shared = 2 * decoder_cost(adapter.spec, np.array([16 + text] * 3 + [0]))
    ranking = float(ranking_cost(FastV(), adapter.spec, np.array(16 + text), np.array(16)))
    assert alone.flops - together.flops == pytest.approx(2 * (shared + ranking))


@torch.no_grad()
def test_the_model_is_left_untouched():
    adapter = tiny_llava()
    before = {k: v.clone() for k, v in adapter.model.state_dict().items()}
    forward = type(adapter.model.get_decoder().layers[0]).forward
    inputs = question_batch(adapter)
    dense = adapter.model(**inputs).logits
    last_logits(adapter, adapter.prefill(inputs), np.array([[1, 0.5, 0.5, 0.5]]))
    assert type(adapter.model.get_decoder().layers[0]).forward is forward
    assert all(torch.equal(v, before[k]) for k, v in adapter.model.state_dict().items())
    assert torch.equal(adapter.model(**inputs).logits, dense)


def test_wrong_number_of_layers_is_one_sentence():
    adapter = tiny_llava()
    prefill = adapter.prefill(question_batch(adapter))
    with pytest.raises(InvalidValueError, match=r"has 4 layers, got ratios of shape \(1, 3\)"):
        list(run_population(adapter, prefill, np.ones((1, 3)), FastV()))


class AveragingPruner(Pruner):
    """Keeps the first n visual tokens; each becomes the mean of all of them."""

    name = "averaging"

    def select(self, context, counts):
        n = int(counts.max())
        batch, visual = context.visual.shape
        weights = torch.full((batch, n, visual), 1 / visual)
        return Selection(torch.arange(n).expand(batch, -1), weights)


@torch.no_grad()
def test_merging_weights_are_applied():
    adapter = tiny_llava()
    prefill = adapter.prefill(adapter.inputs(random_pictures(2), ["read the sign ?"] * 2))
    tokens = enter(prefill, torch.arange(2))
    before = tokens.run(adapter, 0)
    mean = before.hidden[:, 1:17].mean(1)
    seen = {}

    class Spy(AveragingPruner):
        def select(self, context, counts):
            seen["text"] = context.hidden[:, 17:].clone()
            return super().select(context, counts)

    original = adapter.run_layer

    def run_layer(index, hidden, *rest):
        if index == 1:
            seen["hidden"] = hidden
        return original(index, hidden, *rest)

    adapter.run_layer = run_layer
    list(run_population(adapter, prefill, np.array([[1, 0.25, 0.25, 0.25]]), Spy()))
    assert torch.allclose(seen["hidden"][:, 1:5], mean[:, None].expand(-1, 4, -1))
    assert torch.equal(seen["hidden"][:, 5:], seen["text"])
