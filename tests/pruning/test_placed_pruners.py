"""Grids, the vision encoder's class token, and the pruners that look at nothing else."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.adapters.extras import prefill_for
from paretoprune.adapters.token_geometry import cells, rows_of_lines
from paretoprune.adapters.vision_encoder import class_attention
from paretoprune.deploy.views import pruned
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.pruners.centre import Centre
from paretoprune.pruning.pruners.fastervlm import FasterVLM
from paretoprune.pruning.pruners.uniform import Uniform
from paretoprune.registry import pruners
from paretoprune.tasks.base import Video
from paretoprune.testing.models import (
    question_batch,
    random_pictures,
    tiny_internvl,
    tiny_llava,
    tiny_llava_next,
    tiny_llava_onevision,
    tiny_qwen2_5_vl,
)
from paretoprune.testing.pruners import context_of, handmade_context, select_each

TOWER = frozenset({"vision_encoder"})
GRID = frozenset({"grid"})


def on_grid(*pictures):
    """A context whose visual tokens lie on grids of (rows, columns)."""
    place = torch.cat([cells(i, *size) for i, size in enumerate(pictures)])[None]
    states = torch.zeros(1, place.shape[1], 2)
    return handmade_context(states, states[:, :1], extras={"grid": place})


def test_uniform_by_hand():
    """4 x 4: the first of the middle four, then the far corner, then the two other corners."""
    assert select_each(Uniform(), on_grid((4, 4)), 4).indices.tolist() == [[5, 15, 3, 12]]


def test_uniform_gives_every_picture_a_token_before_one_gets_two():
    order = Uniform().order(on_grid((2, 2), (3, 3), (2, 3)))[0].tolist()
    assert sorted((i >= 4) + (i >= 13) for i in order[:3]) == [0, 1, 2]


@pytest.mark.parametrize("n", [4, 9, 16])
def test_uniform_leaves_no_hole(n):
    """No token of an 8 x 8 grid is farther from a kept one than farthest-point order allows."""
    place = cells(0, 8, 8)[:, 1:]
    kept = place[select_each(Uniform(), on_grid((8, 8)), n).indices[0]]
    gap = torch.cdist(place, kept).amin(1).max()
    assert gap <= torch.pdist(kept).min() + 1e-6


def test_centre_by_hand():
    assert set(select_each(Centre(), on_grid((4, 4)), 4).indices[0].tolist()) == {5, 6, 9, 10}
    ring = {(r, c) for r in (2, 3, 4) for c in (2, 3, 4)}
    found = select_each(Centre(), on_grid((7, 7)), 9).indices[0].tolist()
    assert {divmod(i, 7) for i in found} == ring


def test_lines_with_ends():
    """Two lines of two tokens and an end each."""
    ends = torch.tensor([False, False, True] * 2)
    expected = [[1, 0.25, 0.25], [1, 0.25, 0.75], [1, 0.25, 1], [1, 0.75, 0.25], [1, 0.75, 0.75]]
    assert rows_of_lines(1, ends)[:5].tolist() == expected


def test_grids_of_qwen_follow_size_and_time():
    adapter = tiny_qwen2_5_vl(dtype=torch.float32)
    first, second, third = random_pictures(3)
    clip = Video([first[:32, :64]] * 4, fps=2.0)
    inputs = adapter.inputs([[second[:64], clip], third], ["read the sign ?"] * 2)
    grid = prefill_for(adapter, inputs, needs=GRID)
    visual = grid.extras["grid"][0][grid.visual[0]]
    high, wide = 4, 6  # 64 x 96 pixels at 16 per token
    assert torch.equal(visual[: high * wide], cells(0, high, wide))
    steps = visual[high * wide :]
    assert len(steps[:, 0].unique()) == 2  # four frames are two time steps
    assert not set(steps[:, 0].tolist()) & {0.0}


@pytest.mark.parametrize("make", [tiny_llava_next, tiny_llava_onevision])
def test_grids_of_tiles_are_the_whole_and_then_the_lines(make):
    adapter = make(dtype=torch.float32)
    inputs = adapter.inputs(random_pictures(1), ["read the sign ?"])
    found = prefill_for(adapter, inputs, needs=GRID)
    visual = found.extras["grid"][0][found.visual[0]]
    assert torch.equal(visual[:16], cells(0, 4, 4))
    lines = visual[16:].view(8, 9, 3)  # 8 x 8 patches of four tiles, and the ends
    assert torch.equal(lines[:, :8].reshape(64, 3), cells(1, 8, 8))
    assert torch.equal(lines[:, 8, 2], torch.ones(8))


def eager_tower(adapter, inputs, layers):
    """Attention weights of all layers of the tower, [pictures, heads, T, T] each."""
    pixels = inputs["pixel_values"].flatten(0, -4)
    return adapter.model.model.vision_tower(pixels, output_attentions=True).attentions[layers]


@torch.no_grad()
def test_class_attention_of_llava_is_the_towers_own():
    adapter = tiny_llava(attn="eager", dtype=torch.float32)
    inputs = question_batch(adapter)
    prefill = prefill_for(adapter, inputs, needs=TOWER)
    score = FasterVLM().score(context_of(adapter, prefill, 0))
    assert torch.allclose(score, eager_tower(adapter, inputs, -1).mean(1)[:, 0, 1:], atol=1e-6)


@torch.no_grad()
def test_the_layer_is_the_one_whose_output_is_projected():
    """LLaVA-1.5 takes the output of the layer before the last."""
    adapter = tiny_llava(dtype=torch.float32)
    tower = adapter.model.model.vision_tower
    tower.encoder.layers.append(tower.encoder.layers[0])
    for choice, expected in ((-1, 1), (-2, 0), (1, 0), ([-2, -1], 1)):
        adapter.model.config.vision_feature_layer = choice
        assert adapter.class_token_layer() is tower.encoder.layers[expected]


@torch.no_grad()
def test_class_attention_of_internvl_is_the_mean_of_four_patches():
    adapter = tiny_internvl(attn="eager", dtype=torch.float32)
    inputs = question_batch(adapter, 1)
    prefill = prefill_for(adapter, inputs, needs=TOWER)
    score = FasterVLM().score(context_of(adapter, prefill, 0))[0].view(-1, 3, 3)
    weights = eager_tower(adapter, inputs, -1).mean(1)[:, 0, 1:].view(-1, 6, 6)
    for tile in range(len(weights)):
        for row in range(3):
            for column in range(3):
                part = weights[tile, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                assert float(score[tile, row, column]) == pytest.approx(float(part.mean()), 1e-4)


@torch.no_grad()
def test_class_attention_of_tiles_follows_their_layout():
    """LLaVA-NeXT: the whole, then lines over four tiles; ends have none."""
    adapter = tiny_llava_next(attn="eager", dtype=torch.float32)
    inputs = question_batch(adapter, 1)
    prefill = prefill_for(adapter, inputs, needs=TOWER)
    score = FasterVLM().score(context_of(adapter, prefill, 0))[0]
    weights = eager_tower(adapter, inputs, -1).mean(1)[:, 0, 1:]
    assert torch.allclose(score[:16], weights[0], atol=1e-6)
    tiles = weights[1:].view(2, 2, 4, 4).permute(0, 2, 1, 3).reshape(8, 8)
    lines = score[16:].view(8, 9)
    assert torch.allclose(lines[:, :8], tiles, atol=1e-6)
    assert torch.equal(lines[:, 8], torch.zeros(8))


@pytest.mark.parametrize("make", [tiny_llava, tiny_internvl])
@torch.no_grad()
def test_the_price_of_asking_the_tower_is_what_is_run(make):
    adapter = make()
    vision = adapter.model.config.vision_config
    patches = 16 if make is tiny_llava else 36
    hidden = torch.randn(1, 1 + patches, vision.hidden_size, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter:
        keys = class_attention(adapter.class_token_layer(), hidden)[1]
    tokens = 16 if make is tiny_llava else 9
    assert counter.get_total_flops() == pytest.approx(adapter.spec.class_query * tokens)
    assert keys.shape[-1] == adapter.spec.class_key


def test_asking_the_tower_runs_it_once_and_leaves_the_model_alone():
    adapter = tiny_llava()
    inputs = question_batch(adapter)
    calls = []
    handle = adapter.model.model.vision_tower.embeddings.register_forward_hook(
        lambda *_: calls.append(1)
    )
    prefill_for(adapter, inputs, needs=TOWER)
    handle.remove()
    assert len(calls) == 1
    hooks = [m for m in adapter.model.modules() if m._forward_pre_hooks or m._forward_hooks]
    assert not hooks


NO_CLASS_TOKEN = [tiny_qwen2_5_vl, tiny_llava_onevision]


@pytest.mark.parametrize("make", NO_CLASS_TOKEN)
@pytest.mark.parametrize("name", ["fastervlm", "vispruner", "visionzip"])
def test_a_tower_without_class_token_is_one_sentence(make, name):
    adapter = make()
    pruner = pruners.load(name)()
    with pytest.raises(UnsupportedError, match="has no class token"):
        prefill_for(adapter, question_batch(adapter), needs=pruner.needs)
    with pytest.raises(UnsupportedError, match="choose another, such as 'fastv'"):
        pruned(adapter.model, [0.5] * adapter.spec.layers, pruner=name)


def test_a_prefill_without_extras_says_how_to_make_them():
    adapter = tiny_llava()
    context = context_of(adapter, adapter.prefill(question_batch(adapter)), 0)
    with pytest.raises(InvalidValueError, match="prefill_for"):
        Uniform().score(context)
