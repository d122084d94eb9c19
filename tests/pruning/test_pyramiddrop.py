"""PyramidDrop's rule against eager attention weights of the unmodified model."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.pruning.base import ranking_cost
from paretoprune.pruning.pruners.pyramiddrop import PyramidDrop
from paretoprune.testing.models import question_batch, tiny_llava, tiny_qwen2_5_vl
from paretoprune.testing.pruners import context_of


@pytest.mark.parametrize("make", [tiny_llava, tiny_qwen2_5_vl])
@pytest.mark.parametrize("layer", [0, 2])
@torch.no_grad()
def test_scores_are_attention_in_the_layer_behind_the_drop(make, layer):
    """arXiv 2410.17247, section 3.2: last instruction token, mean over heads."""
    adapter = make(attn="eager", dtype=torch.float32)
    inputs = adapter.inputs(*[list(x) for x in zip(*_one(adapter), strict=True)])
    prefill = adapter.prefill(inputs)
    score = PyramidDrop().score(context_of(adapter, prefill, layer))
    dense = adapter.model(**inputs, use_cache=False, output_attentions=True)
    weights = dense.attentions[layer][0].mean(0)[-1]
    assert torch.allclose(score[0], weights[prefill.visual[0]], atol=1e-5)


def _one(adapter):
    from paretoprune.testing.models import random_pictures

    return [(random_pictures(1)[0], "what colour is the star ?")]


@torch.no_grad()
def test_flops_are_those_of_keys_and_one_query():
    adapter = tiny_llava()
    context = context_of(adapter, adapter.prefill(question_batch(adapter, 1)), 1)
    with FlopCounterMode(display=False) as counter:
        PyramidDrop().score(context)
    length = context.hidden.shape[1]
    expected = ranking_cost(PyramidDrop(), adapter.spec, length, context.visual.shape[1])
    assert counter.get_total_flops() == expected
