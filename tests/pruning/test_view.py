"""Pruned views and their cache, beyond what the adapter contract checks on every family."""

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from paretoprune.adapters.views import view_of
from paretoprune.deploy import pruned
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError
from paretoprune.pruning.cache import PrunedCache
from paretoprune.testing.agreement import assert_close
from paretoprune.testing.models import question_batch, random_pictures, tiny_llava, tiny_qwen2_5_vl

HALF = [1.0, 0.5, 0.25, 0.25]


def test_a_generated_image_token_is_text():
    """A random Idefics3 once said `<image>`, and the pruned decoder dropped its own answer."""
    adapter = tiny_llava()
    view = pruned(adapter.model, [1.0, 0.0, 0.0, 0.0])
    inputs = question_batch(adapter, 1)
    with torch.no_grad():
        out = view(**inputs, use_cache=True)
        image = torch.tensor([[adapter.image_token_id]])
        again = view(input_ids=image, past_key_values=out.past_key_values)
    assert torch.isfinite(again.logits).all()
    assert again.logits.abs().max() > 0


def test_logits_of_dropped_tokens_are_those_of_zero_states():
    adapter = tiny_llava()
    view = pruned(adapter.model, [1.0, 0.0, 0.0, 0.0])
    inputs = question_batch(adapter, 1)
    with torch.no_grad():
        logits = view(**inputs).logits[0]
    visual = adapter.visual_mask(inputs["input_ids"])[0]
    assert logits[visual].abs().max() == 0
    assert (logits[~visual].abs().amax(-1) > 0).all()


def test_another_picture_in_a_later_turn_is_pruned_by_its_own_question():
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    pictures = random_pictures(2)
    with torch.no_grad():
        first = adapter.inputs(pictures[:1], ["read the sign ?"])
        out = view(**first, use_cache=True)
        second = adapter.inputs(pictures[1:], ["what colour is the star ?"])
        out = view(
            input_ids=second["input_ids"], pixel_values=second["pixel_values"],
            past_key_values=out.past_key_values, use_cache=True,
        )  # fmt: skip
    text = int(first["input_ids"].shape[1] + second["input_ids"].shape[1] - 32)
    assert out.past_key_values.held == [text + 32, text + 16, text + 8, text + 8]


def test_cropping_forgets_the_last_tokens():
    """As assisted generation does: crop, then go on, equals never having seen them."""
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    inputs = question_batch(adapter, 1)
    more = torch.tensor([[20, 30, 40]])
    with torch.no_grad():
        cache = view(**inputs, use_cache=True).past_key_values
        held = cache.held
        view(input_ids=more, past_key_values=cache)
        cache.crop(-3)
        assert cache.held == held
        assert cache.get_seq_length() == inputs["input_ids"].shape[1]
        again = view(input_ids=more, past_key_values=cache).logits
        fresh = view(**inputs, use_cache=True).past_key_values
        expected = view(input_ids=more, past_key_values=fresh).logits
    assert_close(again, expected)


def test_cache_rows_can_be_repeated_and_selected():
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    inputs = question_batch(adapter, 2, padding_side="left")
    step = torch.tensor([[20], [30]])
    with torch.no_grad():
        mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1).long()], 1)
        positions = adapter.positions({**inputs, "attention_mask": mask})[:, -1:]
        options = {"attention_mask": mask, "position_ids": positions}
        whole = view(**inputs, use_cache=True)
        expected = view(input_ids=step, past_key_values=whole.past_key_values, **options).logits
        cache = view(**inputs, use_cache=True).past_key_values
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(torch.tensor([3, 0]))
        turned = {k: v.flip(0) for k, v in options.items()}
        swapped = view(input_ids=step.flip(0), past_key_values=cache, **turned).logits
    assert_close(swapped.flip(0), expected)


def test_a_cache_that_another_model_filled_is_refused():
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    inputs = question_batch(adapter, 1)
    with torch.no_grad():
        filled = adapter.model(**inputs, use_cache=True).past_key_values
        with pytest.raises(UnsupportedError, match="DynamicCache with 21 tokens cannot be"):
            view(input_ids=torch.tensor([[20]]), past_key_values=filled)
        with pytest.raises(UnsupportedError, match="a cache of its own, not a StaticCache"):
            view.generate(**inputs, max_new_tokens=2, cache_implementation="static")
    assert isinstance(PrunedCache.of(DynamicCache(), 4), PrunedCache)


def test_what_does_not_fit_is_one_sentence():
    model = tiny_llava().model
    with pytest.raises(InvalidValueError, match="has 3 layers, LlavaForConditionalGeneration has"):
        pruned(model, [1.0, 0.5, 0.5])
    with pytest.raises(InvalidValueError, match="must not rise"):
        pruned(model, [1.0, 0.5, 0.75, 0.5])
    with pytest.raises(InvalidValueError, match="cannot rank tokens before layer 1"):
        pruned(model, [0.5, 0.5, 0.5, 0.5])
    with pytest.raises(UnknownNameError, match="Did you mean 'fastv'"):
        pruned(model, HALF, pruner="fast-v")
    view = pruned(model, HALF)
    with pytest.raises(UnsupportedError, match="needs input_ids to tell visual tokens from text"):
        view(inputs_embeds=torch.zeros(1, 3, 48, dtype=torch.float64))


def test_settings_of_a_view_stay_there():
    model = tiny_llava().model
    before = model.generation_config.max_length
    view = pruned(model, HALF)
    view.generation_config.max_length = 7
    assert model.generation_config.max_length == before


def test_shared_modules_stay_shared_in_a_view():
    shared = torch.nn.Linear(2, 2)
    pair = torch.nn.ModuleList([shared, shared, torch.nn.Linear(2, 2)])
    view = view_of(pair)
    assert view[0] is view[1]
    assert view[0] is not shared
    assert view[0].weight is shared.weight
    view[2].extra = torch.nn.Linear(1, 1)
    assert not hasattr(pair[2], "extra")


@pytest.mark.parametrize("make", [tiny_llava, tiny_qwen2_5_vl])
def test_a_pruner_before_the_decoder_caches_less_from_the_first_layer(make):
    """PyramidDrop may act at layer 0; logical lengths must not come from any layer's size."""
    adapter = make()
    view = pruned(adapter.model, [0.5, 0.5, 0.25, 0.25], pruner="pyramiddrop")
    inputs = adapter.inputs(random_pictures(2), ["read the sign ?"] * 2)
    with torch.no_grad():
        out = view.generate(
            **inputs, max_new_tokens=3, do_sample=False, return_dict_in_generate=True
        )
    cache = out.past_key_values
    visual = int(adapter.visual_mask(inputs["input_ids"])[0].sum())
    text = inputs["input_ids"].shape[1] - visual + 2
    expected = np.floor(np.array([0.5, 0.5, 0.25, 0.25]) * visual + 0.5) + text
    assert cache.held == expected.astype(int).tolist()
    assert cache.get_seq_length() == visual + text
