"""The distinct-segment bound and the last layer that is run for answers only."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.cost import answer_layer_cost, distinct_flops, layer_cost
from paretoprune.pruning.base import ranking_cost
from paretoprune.pruning.decoder import Executed, run_population
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.pruning.tokens import Trunk, can_run_at, enter, run_last_at, trunk_bytes
from paretoprune.testing.agreement import assert_close
from paretoprune.testing.models import (
    question_batch,
    tiny_internvl,
    tiny_llava,
    tiny_llava_next,
    tiny_llava_onevision,
    tiny_qwen2_5_vl,
)


def test_the_bound_counts_each_segment_once():
    spec = tiny_llava().spec
    counts = np.array([[16, 16, 8, 8], [16, 16, 8, 4], [16, 16, 4, 4]])[..., None]
    text = np.array([5])
    distinct, alone = distinct_flops(spec, counts, text)
    cost = lambda n: float(layer_cost(spec, n + 5))  # noqa: E731
    # the last two layers: 8 then 8 or 4, and 4 then 4, which is another 4 than the one after 8
    assert distinct == pytest.approx(2 * cost(16) + 2 * cost(8) + 3 * cost(4))
    assert alone == pytest.approx(6 * cost(16) + 3 * cost(8) + 3 * cost(4))


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_answers_are_those_of_the_whole_layer(attn, side):
    dtype, atol = (torch.float64, 1e-10) if attn == "sdpa" else (torch.float32, 1e-4)
    adapter = tiny_llava(attn=attn, dtype=dtype)
    prefill = adapter.prefill(question_batch(adapter, 4, padding_side=side))
    end = prefill.prompt_end
    places = torch.stack([end, end - 1, end], 1)  # out of order and twice, as padded answers are
    rows = np.array([[1, 1, 1, 1], [1, 0.5, 0.5, 0.25], [1, 0, 0, 0]])
    whole = list(run_population(adapter, prefill, rows, FastV()))
    short = list(run_population(adapter, prefill, rows, FastV(), answers=places))
    for one, other in zip(whole, short, strict=True):
        assert one.candidates == other.candidates
        assert torch.allclose(one.tokens.at(places), other.tokens.at(places), atol=atol)


@pytest.mark.parametrize(
    "make", [tiny_llava_next, tiny_llava_onevision, tiny_qwen2_5_vl, tiny_internvl]
)
@torch.no_grad()
def test_answers_are_those_of_the_whole_layer_in_every_family(make):
    adapter = make(dtype=torch.float64)
    prefill = adapter.prefill(question_batch(adapter, 3))
    places = prefill.prompt_end[:, None] - torch.arange(2)
    layers = adapter.spec.layers
    rows = np.stack([np.ones(layers), np.r_[1.0, np.full(layers - 1, 0.5)]])
    assert can_run_at(adapter)
    whole = list(run_population(adapter, prefill, rows, FastV()))
    short = list(run_population(adapter, prefill, rows, FastV(), answers=places))
    for one, other in zip(whole, short, strict=True):
        assert one.candidates == other.candidates
        assert other.tokens.hidden.shape[1] == 2
        assert_close(one.tokens.at(places), other.tokens.at(places))


@torch.no_grad()
def test_its_flops_equal_the_flop_counter():
    adapter = tiny_llava()
    inputs = question_batch(adapter, 1)
    prefill = adapter.prefill(inputs)
    tokens = enter(prefill, torch.arange(1))
    places = prefill.prompt_end[:, None] - torch.arange(2)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run_last_at(adapter, tokens, places)
    assert counter.get_total_flops() == answer_layer_cost(adapter.spec, tokens.length, 2)


@torch.no_grad()
def test_what_is_executed_is_the_bound_less_the_answers_layer():
    adapter = tiny_llava()
    prefill = adapter.prefill(question_batch(adapter, 1))
    rows = np.array([[1, 1, 0.5, 0.5], [1, 1, 0.5, 0.25], [1, 1, 0.25, 0.25]])
    meter = Executed()
    list(run_population(adapter, prefill, rows, FastV(), executed=meter))
    text = int((~prefill.visual).sum())
    counts = np.rint(rows * 16).astype(np.int64)[..., None]
    distinct, _ = distinct_flops(adapter.spec, counts, np.array([text]))
    ranking = sum(
        float(ranking_cost(FastV(), adapter.spec, np.array(n + text), np.array(n))) for n in (16, 8)
    )
    assert meter.flops == pytest.approx(distinct + ranking)


@torch.no_grad()
def test_a_trunk_spares_the_dense_layers_and_changes_nothing():
    adapter = tiny_llava()
    prefill = adapter.prefill(question_batch(adapter, 3))
    places = prefill.prompt_end[:, None]
    rows = np.array([[1, 1, 0.5, 0.5], [1, 1, 1, 0.25], [1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    trunk, first, second, bare = Trunk(), Executed(), Executed(), Executed()

    def run(meter, trunk):
        leaves = run_population(
            adapter, prefill, rows, FastV(), executed=meter, answers=places, trunk=trunk
        )
        return {tuple(leaf.candidates): leaf.tokens.hidden for leaf in leaves}

    plain, once, again = run(bare, None), run(first, trunk), run(second, trunk)
    for members, hidden in plain.items():
        assert_close(hidden, once[members])
        assert_close(hidden, again[members])
    assert sorted(trunk.after) == [0, 1, 2]
    assert first.flops == bare.flops
    length = prefill.hidden.shape[1]
    spared = 3 * 3 * float(layer_cost(adapter.spec, length))
    visual = prefill.visual.sum(1).numpy()
    ranking = float(ranking_cost(FastV(), adapter.spec, np.full(3, length), visual).sum())
    assert bare.flops - second.flops == pytest.approx(spared + 2 * ranking)


@torch.no_grad()
def test_a_trunk_holds_what_it_says():
    adapter = tiny_llava()
    prefill = adapter.prefill(question_batch(adapter, 2))
    trunk = Trunk()
    list(run_population(adapter, prefill, np.ones((1, 4)), FastV(), trunk=trunk))
    held = sum(
        x.numel() * x.element_size() for t in trunk.after.values() for x in (t.hidden, t.keys)
    )
    assert held == trunk_bytes(adapter.spec, prefill)
