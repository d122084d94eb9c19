"""Lean layers give what the model's own layers give, or step aside."""

from unittest.mock import patch

import numpy as np
import pytest
import torch

from paretoprune.adapters.fast_layers import FastLayer, with_fast_layers
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.testing import models
from paretoprune.testing.agreement import assert_close, assert_same_samples

from . import families

NEAR = {"rtol": 1e-4, "atol": 1e-4}
TINY = [
    models.tiny_llava,
    models.tiny_llava_next,
    models.tiny_llava_onevision,
    models.tiny_qwen2_5_vl,
    models.tiny_internvl,
]


def layer_inputs(adapter, batch=20, length=9, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(batch, length, adapter.spec.hidden, generator=generator, dtype=dtype)
    angles = torch.randn(batch, length, adapter.spec.head_dim // 2, generator=generator).to(dtype)
    angles = torch.cat([angles, angles], -1)
    return hidden, (angles.cos(), angles.sin())


@torch.no_grad()
def both(adapter, dtype=torch.float32, mask=None):
    hidden, rotary = layer_inputs(adapter, dtype=dtype)
    own = adapter.run_layer(1, hidden, rotary, mask)
    quick = with_fast_layers(adapter)
    with patch.object(FastLayer, "__call__", autospec=True, side_effect=FastLayer.__call__) as ran:
        found = quick.run_layer(1, hidden, rotary, mask)
    used = quick._fast_layers.get(adapter.decoder.layers[1])
    return own, found, used if ran.called else None


@pytest.mark.parametrize("make", TINY, ids=lambda make: make.__name__)
def test_a_fast_layer_equals_the_models_own(make):
    adapter = make()
    adapter.model.float()
    own, found, used = both(adapter)
    assert used is not None
    assert used._proven == {torch.float32: True}
    assert (own - found).abs().max() <= 2e-5 * own.abs().max()


def test_double_precision_is_left_to_the_models_own_layers():
    """Llama's norms compute in float32 whatever they are given; a fast one would not."""
    adapter = models.tiny_llava()
    adapter.model.double()
    own, found, used = both(adapter, torch.float64)
    assert used is None
    assert_close(own, found)


def test_padding_is_masked_the_same_way():
    adapter = models.tiny_llava()
    adapter.model.float()
    seen = torch.ones(9, 9, dtype=torch.bool).tril().repeat(20, 1, 1, 1)
    seen[::2, :, :, 7:] = False
    own, found, used = both(adapter, mask=seen)
    assert used is not None
    assert torch.allclose(own, found, **NEAR)


@pytest.mark.parametrize(
    "family", [families.paligemma, families.glm4v, families.qwen3_vl], ids=lambda f: f.__name__
)
def test_layers_of_another_shape_are_left_alone(family):
    """Norms with an offset, more norms, norms of queries: parts that a fast layer has not got."""
    model = family().model.float().eval()
    for layer in model.get_decoder().layers:
        found = FastLayer.of(layer)
        if found is not None:  # the parts are those of the shape, so the probe must tell
            size = found.parts["q_proj"].in_features
            hidden = torch.zeros(1, 2, size)
            table = torch.ones(1, 2, found.parts["self_attn"].head_dim)
            with torch.no_grad():
                assert not found.may_run(hidden, (table, table))


def test_changed_weights_are_read():
    adapter = models.tiny_llava()
    adapter.model.float()
    hidden, rotary = layer_inputs(adapter)
    quick = with_fast_layers(adapter)
    with torch.no_grad():
        before = quick.run_layer(1, hidden, rotary, None)
        adapter.decoder.layers[1].mlp.down_proj.weight.mul_(1.5)
        after = quick.run_layer(1, hidden, rotary, None)
        assert torch.allclose(
            after, adapter.run_layer(1, hidden, rotary, None), rtol=1e-4, atol=1e-4
        )
        assert not torch.allclose(after, before)
        adapter.decoder.layers[1].mlp.up_proj = torch.nn.Linear(
            adapter.spec.hidden, adapter.spec.mlp, bias=False
        )
        swapped = quick.run_layer(1, hidden, rotary, None)
        assert torch.allclose(
            swapped, adapter.run_layer(1, hidden, rotary, None), rtol=1e-4, atol=1e-4
        )


def test_a_hook_on_a_module_is_heard():
    adapter = models.tiny_llava()
    adapter.model.float()
    hidden, rotary = layer_inputs(adapter)
    quick = with_fast_layers(adapter)
    heard = []
    with torch.no_grad():
        quick.run_layer(1, hidden, rotary, None)
        hook = adapter.decoder.layers[1].mlp.register_forward_hook(lambda *_: heard.append(1))
        quick.run_layer(1, hidden, rotary, None)
        hook.remove()
    assert heard == [1]


def test_gradients_pass_through_the_models_own_layers():
    adapter = models.tiny_llava()
    hidden, rotary = layer_inputs(adapter, dtype=torch.float32)
    quick = with_fast_layers(adapter)
    hidden.requires_grad_()
    quick.run_layer(1, hidden, rotary, None).sum().backward()
    assert hidden.grad is not None
    assert not quick._fast_layers


def test_the_adapter_and_its_model_stay_as_they_were():
    adapter = models.tiny_llava()
    kind, names = type(adapter), set(vars(adapter))
    layer = type(adapter.decoder.layers[0]).forward
    both(adapter, torch.float32)
    assert type(adapter) is kind
    assert set(vars(adapter)) == names
    assert type(adapter.decoder.layers[0]).forward is layer


@torch.no_grad()
def test_a_population_gives_the_same_hidden_states():
    adapter = models.tiny_llava()
    adapter.model.float()
    inputs = models.question_batch(adapter, 17)
    prefill = adapter.prefill(inputs)
    rows = np.array([[1, 1, 0.5, 0.25], [1, 0.5, 0.5, 0.0], [1, 1, 1, 1]])
    own = list(run_population(adapter, prefill, rows, FastV()))
    quick = list(run_population(with_fast_layers(adapter), prefill, rows, FastV()))
    for one, other in zip(own, quick, strict=True):
        assert one.candidates == other.candidates
        kept_alike = (one.tokens.origin == other.tokens.origin).all(1)
        assert_same_samples(kept_alike, torch.ones(17))
        one_hidden, other_hidden = one.tokens.hidden[kept_alike], other.tokens.hidden[kept_alike]
        assert torch.allclose(one_hidden, other_hidden, rtol=1e-3, atol=1e-3)
