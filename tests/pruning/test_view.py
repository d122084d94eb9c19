"""Pruned views and their cache, beyond what the adapter contract checks on every family."""

import copy
import functools
import gc
import json
import threading
import weakref

import numpy as np
import pytest
import torch
from transformers import DynamicCache, LogitsProcessor

from paretoprune.adapters.prompts import token_inputs, visual_mask
from paretoprune.adapters.views import Scope, view_of
from paretoprune.deploy.views import pruned
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError
from paretoprune.pruning.cache import PrunedCache
from paretoprune.registry import pruners
from paretoprune.tasks.base import Video
from paretoprune.testing.agreement import assert_close
from paretoprune.testing.models import (
    QUESTIONS,
    assert_same_without_cache,
    question_batch,
    random_pictures,
    tiny_internvl,
    tiny_llava,
    tiny_llava_next,
    tiny_llava_onevision,
    tiny_qwen2_5_vl,
)

HALF = [1.0, 0.5, 0.25, 0.25]
FAMILIES = [tiny_llava, tiny_llava_next, tiny_llava_onevision, tiny_qwen2_5_vl, tiny_internvl]
LOOKING = ["fastervlm", "uniform", "topv"]
"""Pruners that look at the vision encoder, at grids, and at both grids and the decoder."""


def test_a_generated_image_token_is_text():
    """A random Idefics3 once said `<image>`, and the pruned decoder dropped its own answer."""
    adapter = tiny_llava()
    view = pruned(adapter.model, [1.0, 0.0, 0.0, 0.0])
    inputs = question_batch(adapter, 1)
    with torch.no_grad():
        out = view(**inputs, use_cache=True)
        image = torch.tensor([[adapter.visual_token_ids[0]]])
        again = view(input_ids=image, past_key_values=out.past_key_values)
    assert torch.isfinite(again.logits).all()
    assert again.logits.abs().max() > 0


def test_logits_of_dropped_tokens_are_those_of_zero_states():
    adapter = tiny_llava()
    view = pruned(adapter.model, [1.0, 0.0, 0.0, 0.0])
    inputs = question_batch(adapter, 1)
    with torch.no_grad():
        logits = view(**inputs).logits[0]
    visual = visual_mask(adapter, inputs["input_ids"])[0]
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
    with pytest.raises(
        UnsupportedError, match="needs input_ids to distinguish visual tokens from text"
    ):
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
    visual = int(visual_mask(adapter, inputs["input_ids"])[0].sum())
    text = inputs["input_ids"].shape[1] - visual + 2
    expected = np.floor(np.array([0.5, 0.5, 0.25, 0.25]) * visual + 0.5) + text
    assert cache.held == expected.astype(int).tolist()
    assert cache.get_seq_length() == visual + text


# --- nothing stays of a call


def looking(make, name):
    """An adapter and a view pruned by a pruner that looks at pictures; skips what does not fit."""
    if (
        make in (tiny_qwen2_5_vl, tiny_llava_onevision)
        and "vision_encoder" in pruners.load(name).needs
    ):
        pytest.skip("its tower has no class token")
    adapter = make()
    return adapter, pruned(adapter.model, HALF, pruner=name)


def answer(view, inputs, **options):
    """Logits of the first step of `generate`."""
    out = view.generate(
        **inputs, max_new_tokens=1, do_sample=False, output_logits=True,
        return_dict_in_generate=True, **options,
    )  # fmt: skip
    return out.logits[0]


class Interrupting(LogitsProcessor):
    def __call__(self, input_ids, scores):
        raise KeyboardInterrupt


def refused_cache(adapter, view, inputs):
    with pytest.raises(UnsupportedError, match="a cache of its own, not a StaticCache"):
        answer(view, inputs, cache_implementation="static")


def missing_placeholder(adapter, view, inputs):
    ids = inputs["input_ids"].clone()
    ids[0, visual_mask(adapter, ids)[0].nonzero()[0]] = 20
    with pytest.raises((ValueError, RuntimeError)):
        answer(view, {**inputs, "input_ids": ids})
    with pytest.raises((ValueError, RuntimeError)):
        view(**{**inputs, "input_ids": ids})


def features_alone(adapter, view, inputs):
    grids = ("image_grid_thw", "image_sizes", "batch_num_images")
    given = {name: inputs[name] for name in ("pixel_values", *grids) if name in inputs}
    view.get_image_features(**given)
    view.model.get_image_features(**given)


def strange_mask(adapter, view, inputs):
    mask = torch.ones(1, 1, 1, 1)
    with pytest.raises((UnsupportedError, ValueError, RuntimeError, IndexError)):
        view(**{**inputs, "attention_mask": mask})


def interrupted_before_the_decoder(adapter, view, inputs):
    def stop(*_):
        raise KeyboardInterrupt

    handle = view.get_decoder().register_forward_pre_hook(stop)
    for call in (lambda: view(**inputs), lambda: answer(view, inputs)):
        with pytest.raises(KeyboardInterrupt):
            call()
    handle.remove()


def interrupted_between_steps(adapter, view, inputs):
    for cached in (True, False):
        with pytest.raises(KeyboardInterrupt):
            answer(view, inputs, logits_processor=[Interrupting()], use_cache=cached)


def failed_in_a_layer(adapter, view, inputs):
    def stop(*_):
        raise RuntimeError("out of memory")

    handle = view.get_decoder().layers[2].register_forward_pre_hook(stop)
    with pytest.raises(RuntimeError, match="out of memory"):
        answer(view, inputs)
    handle.remove()


FAULTS = [
    refused_cache, missing_placeholder, features_alone, strange_mask,
    interrupted_before_the_decoder, interrupted_between_steps, failed_in_a_layer,
]  # fmt: skip


@pytest.mark.parametrize("make", FAMILIES)
@pytest.mark.parametrize("name", LOOKING)
@torch.no_grad()
def test_a_failed_or_separate_call_leaves_no_trace(name, make):
    """The tower's notes of one picture ranked the tokens of the next, or the next call crashed."""
    adapter, view = looking(make, name)
    good = adapter.inputs(random_pictures(2, seed=1), list(QUESTIONS[:2]), padding_side="left")
    other = adapter.inputs([random_pictures(1, seed=2)[0][:64]], [QUESTIONS[2]])
    expected = answer(pruned(adapter.model, HALF, pruner=name), good)
    for fault in FAULTS:
        fault(adapter, view, other)
        assert torch.equal(answer(view, good), expected), fault.__name__


@torch.no_grad()
def test_nothing_holds_the_pictures_of_a_call_that_has_ended():
    adapter, view = looking(tiny_llava, "visionzip")
    held = {}
    for fault in [*FAULTS, lambda adapter, view, inputs: answer(view, inputs)]:
        inputs = question_batch(adapter, 1)
        fault(adapter, view, inputs)
        held[fault.__name__] = weakref.ref(inputs["pixel_values"])
        del inputs
    gc.collect()
    assert [name for name, pixels in held.items() if pixels() is not None] == []


@torch.no_grad()
def test_what_was_decided_is_not_that_of_an_earlier_call():
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    inputs = question_batch(adapter, 1)
    view(**inputs)
    assert view.pruning.decided.tolist() == [HALF]
    refused_cache(adapter, view, inputs)
    assert view.pruning.decided is None


@torch.no_grad()
def test_features_carry_how_they_were_made():
    """Made beforehand by the view they rank as ever, in whatever order they are used."""
    adapter, view = looking(tiny_llava, "fastervlm")
    batches = [
        adapter.inputs(random_pictures(1, seed=seed), [QUESTIONS[0]]) for seed in range(2)
    ]  # fmt: skip
    expected = [answer(view, inputs) for inputs in batches]
    features = [view.get_image_features(inputs["pixel_values"]) for inputs in batches]
    for inputs, made, logits in zip(batches[::-1], features[::-1], expected[::-1], strict=True):
        text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        assert torch.equal(answer(view, text, mm_encoder_outputs={"image": made}), logits)
        forward = view(**text, mm_encoder_outputs={"image": made}).logits[:, -1]
        assert torch.allclose(forward.to(logits.dtype), logits)


@torch.no_grad()
def test_features_that_were_made_elsewhere_are_one_sentence():
    adapter, view = looking(tiny_llava, "fastervlm")
    inputs = adapter.inputs([random_pictures(2)], [QUESTIONS[0]])
    text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    elsewhere = adapter.model.get_image_features(inputs["pixel_values"])
    with pytest.raises(UnsupportedError, match="features that were made elsewhere do not say"):
        answer(view, text, mm_encoder_outputs={"image": elsewhere})
    fastv = pruned(adapter.model, HALF)  # looks at hidden states alone
    assert torch.equal(
        answer(fastv, text, mm_encoder_outputs={"image": elsewhere}), answer(fastv, inputs)
    )
    half = view.get_image_features(inputs["pixel_values"])
    half.pooler_output = half.pooler_output[:1]
    one = adapter.inputs(random_pictures(1), [QUESTIONS[0]])
    text = {name: one[name] for name in ("input_ids", "attention_mask")}
    with pytest.raises(UnsupportedError, match="16 visual tokens, but the vision encoder made 32"):
        answer(view, text, mm_encoder_outputs={"image": half})


@torch.no_grad()
def test_features_of_a_picture_do_not_speak_for_a_video():
    """Qwen makes them with one call each."""
    adapter = tiny_qwen2_5_vl()
    view = pruned(adapter.model, HALF, pruner="uniform")
    first, second = random_pictures(2)
    clip = Video([second[:32, :64]] * 4, fps=2.0)
    inputs = adapter.inputs([[first, clip]], [QUESTIONS[0]])
    image = view.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
    videos = [
        model.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"])
        for model in (view, adapter.model)
    ]
    text = {k: v for k, v in inputs.items() if not k.startswith("pixel_values")}
    own, elsewhere = ({"image": image, "video": video} for video in videos)
    expected = view(**inputs).logits
    assert torch.equal(view(**text, mm_encoder_outputs=own).logits, expected)
    with pytest.raises(UnsupportedError, match="made elsewhere"):
        view(**text, mm_encoder_outputs=elsewhere)


@torch.no_grad()
def test_calls_at_the_same_time_do_not_mix():
    """Two threads meet between the features of their pictures and the decoder."""
    adapter, view = looking(tiny_llava, "fastervlm")
    batches = [adapter.inputs(random_pictures(1, seed=s), [QUESTIONS[s]]) for s in range(2)]
    expected = [answer(view, inputs) for inputs in batches]
    meeting, found = threading.Barrier(2), {}

    def meet(*_):
        meeting.wait(timeout=60)

    def run(number):
        with torch.no_grad():
            found[number] = answer(view, batches[number])

    handle = view.get_decoder().register_forward_pre_hook(meet)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handle.remove()
    for number in range(2):
        assert torch.equal(found[number], expected[number])


def test_a_scope_ends_with_its_block():
    scope, seen = Scope(), []

    def inside():
        with scope.holding(1):
            with scope.holding(2):
                seen.append(scope.now)
            seen.append(scope.now)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inside()
    assert [*seen, scope.now] == [2, 1, None]


def fails(module):
    """Let a module raise as if memory had run out, once it has run."""

    def stop(*_):
        raise RuntimeError("out of memory")

    return module.register_forward_hook(stop)


@pytest.mark.parametrize("where", ["layer", "head", "between steps"])
@torch.no_grad()
def test_a_call_that_failed_leaves_the_conversation_as_it_was(where):
    """Some layers held the failed turn's tokens, and the next turn attended to them."""
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    first, second = (adapter.inputs([p], [QUESTIONS[0]]) for p in random_pictures(2))
    whole = first["input_ids"].shape[1] + second["input_ids"].shape[1]
    options = {**second, "attention_mask": torch.ones(1, whole, dtype=torch.long)}
    caches = [view(**first, use_cache=True).past_key_values for _ in range(2)]
    held = caches[0].held
    if where == "between steps":
        with pytest.raises(KeyboardInterrupt):
            answer(view, options, past_key_values=caches[0], logits_processor=[Interrupting()])
    else:
        handle = fails(view.get_decoder().layers[2].mlp if where == "layer" else view.lm_head)
        for call in (
            lambda **more: view(**second, **more),
            lambda **more: answer(view, options, **more),
        ):
            with pytest.raises(RuntimeError, match="out of memory"):
                call(past_key_values=caches[0])
        handle.remove()
    assert (caches[0].held, caches[0].get_seq_length()) == (held, first["input_ids"].shape[1])
    again, expected = (answer(view, options, past_key_values=cache) for cache in caches)
    assert torch.equal(again, expected)


@torch.no_grad()
def test_an_empty_cache_of_a_call_that_failed_is_empty():
    """Another batch may be the next to fill it."""
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    cache = PrunedCache(4)
    handle = fails(view.get_decoder().layers[2].mlp)
    with pytest.raises(RuntimeError, match="out of memory"):
        view(**question_batch(adapter, 3), past_key_values=cache)
    handle.remove()
    assert (cache.held, cache.get_seq_length(), cache.nbytes) == ([0] * 4, 0, 0)
    inputs = question_batch(adapter, 1)
    assert torch.equal(view(**inputs, past_key_values=cache).logits, view(**inputs).logits)


@torch.no_grad()
def test_another_call_between_two_turns_does_not_move_the_positions_of_the_second():
    """transformers keeps the M-RoPE offset of the last call in the model."""
    adapter = tiny_qwen2_5_vl()
    view = pruned(adapter.model, HALF)
    first, second = random_pictures(2)
    inputs = adapter.inputs([first], [QUESTIONS[0]])
    between = adapter.inputs([second[:32]], [QUESTIONS[1]])
    more = torch.tensor([[20, 30, 40]])
    ids = torch.cat([inputs["input_ids"], more], 1)
    turn = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **token_inputs(adapter, ids)}
    found = []
    for calls in ((), (between,)):
        caches = [view(**inputs, use_cache=True).past_key_values for _ in range(2)]
        for call in calls:
            view(**call)
        found.append(answer(view, turn, past_key_values=caches[0]))
        for call in calls:
            view.generate(**call, max_new_tokens=1)
        logits = view(input_ids=more, past_key_values=caches[1]).logits[:, -1]
        assert torch.allclose(logits.to(found[-1].dtype), found[-1], atol=1e-5)
    assert torch.equal(*found)


# --- every way of calling a view prunes alike


@torch.no_grad()
def test_pictures_given_by_place_are_pruned():
    """They were taken for text, and the answer was the dense model's."""
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    inputs = question_batch(adapter, 2)
    given = inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"]
    assert torch.equal(view(*given).logits, view(**inputs).logits)


@pytest.mark.parametrize("name", ["fastv", "fastervlm"])
@torch.no_grad()
def test_the_base_model_of_a_view_and_its_deep_copy_prune_alike(name):
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF, pruner=name)
    inputs = question_batch(adapter, 2)
    expected = view(**inputs).logits
    assert torch.equal(view.lm_head(view.model(**inputs).last_hidden_state), expected)
    assert torch.equal(copy.deepcopy(view)(**inputs).logits, expected)


@torch.no_grad()
def test_what_a_view_cannot_follow_is_one_sentence():
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    inputs = question_batch(adapter, 1)
    with pytest.raises(UnsupportedError, match="decoder of a pruned model cannot be called by"):
        view.get_decoder()(inputs_embeds=torch.zeros(1, 3, 48, dtype=torch.float64))
    with pytest.raises(UnsupportedError, match="prefill_chunk_size=8 would rank visual tokens"):
        view.generate(**inputs, max_new_tokens=2, prefill_chunk_size=8)
    with pytest.raises(InvalidValueError, match="is a pruned model already"):
        pruned(view, HALF)


def test_a_view_is_saved_under_the_name_of_its_model(tmp_path):
    model = tiny_llava().model
    pruned(model, HALF).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == [type(model).__name__]


@pytest.mark.parametrize("part", ["", "model", "model.language_model", "lm_head"])
def test_a_model_whose_modules_were_given_another_forward_is_refused(part):
    """As accelerate does for a device_map: the view ran the model itself, without pruning."""
    model = tiny_llava().model
    module = model.get_submodule(part)
    module.forward = functools.partial(type(module).forward, module)
    with pytest.raises(UnsupportedError, match=f"this {type(module).__name__} has a forward of"):
        pruned(model, HALF)


@pytest.mark.parametrize("name", sorted(pruners.usable()))
def test_a_pruned_forward_needs_no_mode_without_gradients(name):
    """`dart` wrote into a view of its products, which torch allows only without gradients."""
    adapter = tiny_llava()
    view = pruned(adapter.model, [1.0, 1.0, 0.0, 0.0] if name == "vtw" else HALF, pruner=name)
    view(**question_batch(adapter, 2)).logits.sum().backward()
    assert adapter.model.get_input_embeddings().weight.grad.abs().max() > 0


# --- generating without a cache, and with an assistant


@pytest.mark.parametrize("make", FAMILIES)
@pytest.mark.parametrize("name", LOOKING)
def test_without_a_cache_the_tower_still_ranks(name, make):
    """It ended in "needs the pictures themselves", although they were given."""
    adapter, view = looking(make, name)
    first, second = random_pictures(2)
    inputs = adapter.inputs([first, second[:64]], list(QUESTIONS[:2]), padding_side="left")
    assert_same_without_cache(view, adapter, inputs)
    assert_same_without_cache(view, adapter, inputs, num_beams=2, num_return_sequences=2)


@pytest.mark.parametrize("name", ["fastv", "uniform", "random"])
def test_without_a_cache_videos_and_several_pictures(name):
    """M-RoPE counts on three axes, and Qwen's tower runs once per kind."""
    adapter = tiny_qwen2_5_vl()
    view = pruned(adapter.model, HALF, pruner=name)
    first, second, third = random_pictures(3)
    clip = Video([third[:32, :64]] * 4, fps=2.0)
    inputs = adapter.inputs([[first, clip], second[:48]], list(QUESTIONS[:2]), padding_side="left")
    assert_same_without_cache(view, adapter, inputs, num_beams=2)


@torch.no_grad()
def test_several_answers_see_the_same_tokens():
    """The random pruner numbers samples, not rows: beams of one sample were pruned apart."""
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF, pruner="random")
    inputs = question_batch(adapter, 2, padding_side="left")
    out = view.generate(
        **inputs, max_new_tokens=1, do_sample=True, num_return_sequences=3, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    rows = out.logits[0].view(2, 3, -1)
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert torch.equal(rows[:, 0], answer(view, inputs))


@torch.no_grad()
def test_a_generated_image_token_without_a_cache_is_one_sentence():
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    image = adapter.visual_token_ids[0]

    class Saying(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return torch.full_like(scores, -1.0).index_fill(1, torch.tensor(image), 1.0)

    inputs = question_batch(adapter, 1)
    options = {"max_new_tokens": 3, "logits_processor": [Saying()], "do_sample": False}
    assert view.generate(**inputs, **options)[0, -3:].tolist() == [image] * 3
    with pytest.raises(UnsupportedError, match=rf"give suppress_tokens=\[{image}\]"):
        view.generate(**inputs, **options, use_cache=False)


@torch.no_grad()
def test_an_assistants_proposals_have_no_say():
    """The first call holds the prompt and what the assistant proposes behind it."""
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    inputs = question_batch(adapter, 1)
    options = {
        "max_new_tokens": 4, "do_sample": False, "suppress_tokens": [adapter.visual_token_ids[0]],
    }  # fmt: skip
    expected = view.generate(**inputs, **options)
    for assistant in (adapter.model, pruned(adapter.model, HALF, pruner="random"), view):
        found = view.generate(**inputs, **options, assistant_model=assistant)
        assert torch.equal(found, expected)


@torch.no_grad()
def test_a_later_turn_with_a_picture_has_the_same_end_with_an_assistant():
    """transformers takes the new tokens alone there."""
    adapter = tiny_llava()
    view = pruned(adapter.model, HALF)
    pictures = random_pictures(2)
    first, second = (
        adapter.inputs([picture], [QUESTIONS[i]]) for i, picture in enumerate(pictures)
    )
    whole = first["input_ids"].shape[1] + second["input_ids"].shape[1]
    options = {
        "max_new_tokens": 3, "do_sample": False, "suppress_tokens": [adapter.visual_token_ids[0]],
        **second, "attention_mask": torch.ones(1, whole, dtype=torch.long),
    }  # fmt: skip
    answers = []
    for more in ({}, {"prompt_lookup_num_tokens": 2}):
        cache = view(**first, use_cache=True).past_key_values
        answers.append(view.generate(past_key_values=cache, **options, **more))
    assert torch.equal(*answers)
