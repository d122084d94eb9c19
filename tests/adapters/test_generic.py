"""Families without an adapter of their own: driven where that is right, refused where it is not."""

import re

import numpy as np
import pytest
import torch

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.generic import GenericAdapter
from paretoprune.adapters.verify import verify
from paretoprune.deploy.views import pruned
from paretoprune.errors import UnsupportedError
from paretoprune.testing.adapters import AdapterContract
from paretoprune.testing.agreement import assert_close
from paretoprune.testing.models import random_pictures, tiny_llava, tiny_qwen2_5_vl
from paretoprune.zoo.load import load_adapter

from . import families


class TestIdefics3(AdapterContract):
    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        parts = families.idefics3(dtype)
        return GenericAdapter(parts.model, parts.tokenizer, parts.image_processor, parts.processor)


class TestMistral3(AdapterContract):
    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        parts = families.mistral3(dtype)
        return GenericAdapter(parts.model, parts.tokenizer, parts.image_processor)


class TestGlm4v(AdapterContract):
    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        parts = families.glm4v(dtype)
        return GenericAdapter(parts.model, parts.tokenizer, parts.image_processor)


class TestLlavaThroughTheGenericAdapter(AdapterContract):
    """What the family's own adapter does, the generic one does too."""

    def make(self, dtype: torch.dtype = torch.float64) -> Adapter:
        own = tiny_llava(dtype=dtype)
        return GenericAdapter(own.model, own.tokenizer, own.image_processor)


@torch.no_grad()
@pytest.mark.parametrize("make", [tiny_llava, tiny_qwen2_5_vl])
def test_the_generic_adapter_agrees_with_the_familys_own(make):
    own = make()
    generic = GenericAdapter(own.model, own.tokenizer, own.image_processor)
    inputs = own.inputs(random_pictures(2), ["read the sign ?", "what colour is the star ?"])
    one, two = own.prefill(inputs), generic.prefill(inputs)
    assert torch.equal(one.visual, two.visual)
    for a, b in ((one.hidden, two.hidden), *zip(one.rotary, two.rotary, strict=True)):
        assert_close(a[one.valid], b[two.valid])


@pytest.mark.parametrize("name", ["idefics3", "glm4v", "mistral3", "smolvlm"])
def test_checkpoints_of_other_families_load(tmp_path, name, recwarn):
    folder = getattr(families, name)().save(tmp_path / name)
    adapter = load_adapter(folder)
    assert adapter.family == "generic"
    found = verify(adapter)
    assert found.problem is None
    assert min(found.visual_tokens) > 0


def test_a_processor_that_cannot_be_loaded_is_said(tmp_path):
    folder = families.mistral3().save(tmp_path / "mistral3")
    pytest.importorskip("PIL")
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        with pytest.warns(UserWarning, match="placed as a plain run of image tokens"):
            assert load_adapter(folder).note
    else:
        assert load_adapter(folder).note is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("paligemma", "attend to each other in both directions"),
        ("aya_vision", "layers of type sliding_attention"),
        ("qwen3_vl", "adds vision features to hidden states again behind several layers"),
        ("mllama", "cross-attention layers"),
    ],
)
def test_what_cannot_be_driven_is_refused_with_what_is_different(tmp_path, name, reason):
    folder = getattr(families, name)().save(tmp_path / name)
    with pytest.raises(UnsupportedError, match=re.escape(reason)) as error:
        load_adapter(folder)
    assert "\n" not in str(error.value)


def test_a_model_that_does_something_unknown_is_refused():
    """Logits scaled behind the head would go unnoticed by a decoder check alone."""
    parts = families.idefics3()

    class Odd(GenericAdapter):
        def head(self, hidden):
            return super().head(hidden) * 1.1

    from paretoprune.adapters.verify import require

    odd = Odd(parts.model, parts.tokenizer, parts.image_processor, parts.processor)
    with pytest.raises(UnsupportedError, match="logits differ from the model's own"):
        require(odd)


def test_pruned_refuses_a_decoder_that_does_more_than_its_layers_say():
    parts = families.idefics3()
    decoder = parts.model.model.text_model

    class Doubling(type(decoder.layers[0])):
        def forward(self, hidden_states, **kwargs):
            return super().forward(hidden_states, **kwargs)

    def twice(module, args, output):
        output.last_hidden_state = output.last_hidden_state * 2
        return output

    handle = decoder.register_forward_hook(twice)
    with pytest.raises(UnsupportedError, match="output around its layers differs"):
        pruned(parts.model, [1.0, 0.5, 0.5, 0.5])
    handle.remove()
    pruned(parts.model, [1.0, 0.5, 0.5, 0.5])


def test_the_causal_check_finds_windows_and_bidirectional_attention():
    from paretoprune.adapters.views import _require_causal

    causal = torch.ones(1, 1, 5, 5, dtype=torch.bool).tril()
    _require_causal(causal, "Model", 0)
    padded = causal.clone()
    padded[..., :2] = False  # left padding: nobody attends to it
    _require_causal(padded, "Model", 0)
    window = causal & ~torch.ones(5, 5, dtype=torch.bool).tril(-3)
    with pytest.raises(UnsupportedError, match="a sliding window"):
        _require_causal(window, "Model", 1)
    both = causal.clone()
    both[..., :3, :3] = True
    with pytest.raises(UnsupportedError, match="bidirectional"):
        _require_causal(both, "Model", 1)
    added = torch.where(causal, 0.0, torch.finfo(torch.float32).min)
    _require_causal(added, "Model", 0)


def test_noise_pictures_of_the_verification_differ_in_size():
    from paretoprune.adapters.verify import SIZES

    assert len(set(SIZES)) == 2
    assert np.prod(SIZES[0]) != np.prod(SIZES[1])


def test_an_offline_hub_name_is_one_sentence(monkeypatch):
    """Offline by the hub library's own switch: without a network it would try for half a minute."""
    import huggingface_hub.constants

    from paretoprune.errors import BrokenFileError

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BrokenFileError, match="hub cannot be reached") as error:
        load_adapter("nobody/nothing")
    assert "\n" not in str(error.value)
