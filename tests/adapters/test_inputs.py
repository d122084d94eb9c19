"""How pictures, videos and prompts become inputs, family by family."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaNextProcessor, LlavaProcessor

from paretoprune.adapters.prompts import encode, visual_mask
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.tasks.base import Video
from paretoprune.testing.agreement import assert_close
from paretoprune.testing.models import (
    random_pictures,
    tiny_internvl,
    tiny_llava,
    tiny_llava_next,
    tiny_llava_onevision,
    tiny_qwen2_5_vl,
)

PROMPT = "read the sign ?"


def clip(frames, *, seed=0, height=96):
    rng = np.random.default_rng(seed)
    return Video(rng.integers(0, 256, (frames, height, 96, 3), dtype=np.uint8), fps=2.0)


@pytest.mark.parametrize("size", [(96, 96), (64, 96), (96, 40), (30, 30)])
def test_llava_expands_as_its_processor_does(size):
    adapter = tiny_llava()
    picture = random_pictures(1)[0][: size[0], : size[1]]
    processor = LlavaProcessor(
        adapter.image_processor, adapter.tokenizer, patch_size=24,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    expected = processor(images=picture, text=f"<image> {PROMPT}")["input_ids"][0]
    assert encode(adapter, [picture], [PROMPT])[0][0] == list(expected)


@pytest.mark.parametrize("size", [(96, 96), (48, 96), (96, 40), (30, 30), (64, 96)])
def test_llava_next_expands_as_its_processor_does(size):
    adapter = tiny_llava_next()
    picture = random_pictures(1)[0][: size[0], : size[1]]
    processor = LlavaNextProcessor(
        adapter.image_processor, adapter.tokenizer, patch_size=12,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    expected = processor(images=picture, text=f"<image> {PROMPT}")["input_ids"][0]
    assert encode(adapter, [picture], [PROMPT])[0][0] == list(expected)


@pytest.mark.parametrize("make", [tiny_llava, tiny_llava_next, tiny_qwen2_5_vl, tiny_internvl])
def test_grey_transparent_and_16_bit_pictures_are_shown_in_their_colours(make):
    """16 bits became white or wrapped round, and floats in 0..1 black."""
    adapter = make()
    grey = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    wanted = adapter.inputs([np.stack([grey] * 3, -1)], [PROMPT])["pixel_values"]
    opaque = np.stack([grey] * 3 + [np.full_like(grey, 255)], -1)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for same in (
        grey,
        grey[..., None],
        opaque,
        torch.from_numpy(grey),
        Image.fromarray(grey),
        deep,
    ):
        assert torch.equal(adapter.inputs([same], [PROMPT])["pixel_values"], wanted)
    for wrong in (grey / 255, grey.astype(np.uint16), np.stack([grey] * 3), "picture.png"):
        with pytest.raises(InvalidValueError, match="a picture is .*; allowed: a PIL picture, or"):
            adapter.inputs([wrong], [PROMPT])


def test_llava_with_a_siglip_tower_has_no_class_token():
    """`full` selects every patch; with CLIP it would select the class token, too."""
    adapter = tiny_llava_onevision()
    assert adapter._class_tokens == 0
    assert tiny_llava()._class_tokens == 1


@torch.no_grad()
def test_internvl_cuts_tiles_and_adds_a_thumbnail():
    adapter = tiny_internvl()
    square, wide, small = (random_pictures(1)[0][:h, :w] for h, w in ((96, 96), (48, 96), (48, 48)))
    inputs = adapter.inputs([square, wide, small], [PROMPT] * 3)
    visual = visual_mask(adapter, inputs["input_ids"]).sum(1).tolist()
    assert visual == [5 * 9, 3 * 9, 9]
    assert inputs["pixel_values"].shape == (9, 3, 48, 48)


@pytest.mark.parametrize("make", [tiny_qwen2_5_vl, tiny_internvl])
@torch.no_grad()
def test_keep_all_equals_dense_on_videos_and_pictures_together(make):
    adapter = make()
    picture = random_pictures(1)[0][:64]
    visuals = [clip(4), [picture, clip(3, seed=1, height=48)], picture]
    inputs = adapter.inputs(visuals, [PROMPT] * 3)
    at = {"position_ids": adapter.positions(inputs)}
    dense = adapter.model(**inputs, **at, use_cache=False).logits
    prefill = adapter.prefill(inputs)
    (leaf,) = run_population(adapter, prefill, np.ones((1, adapter.spec.layers)), FastV())
    mine = adapter.head(leaf.tokens.hidden)
    for row in range(3):
        places = prefill.valid[row].nonzero()[:, 0]
        assert_close(mine[row, : len(places)], dense[row, places])


def test_qwen_video_patches_span_frames():
    """Two equal frames are a still picture; an odd last frame is repeated."""
    adapter = tiny_qwen2_5_vl()
    picture = random_pictures(1)[0]
    still = adapter.process([picture], [1]).tensors
    moving = adapter.process([Video(np.stack([picture, picture]))], [1]).tensors
    assert torch.equal(moving["pixel_values_videos"], still["pixel_values"])
    assert moving["video_grid_thw"].tolist() == [[1, 12, 12]]
    assert moving["second_per_grid_ts"].tolist() == [1.0]
    odd = adapter.process([Video(np.stack([picture] * 3))], [1]).tensors
    assert odd["video_grid_thw"].tolist() == [[2, 12, 12]]
    frames = np.stack([picture, 255 - picture])
    both = adapter.process([Video(frames)], [1]).tensors["pixel_values_videos"]
    other = adapter.process([255 - picture], [1]).tensors["pixel_values"]
    first, second = both.view(144, 3, 2, 8, 8).unbind(2)
    assert torch.equal(first, still["pixel_values"].view(144, 3, 2, 8, 8)[:, :, 0])
    assert torch.equal(second, other.view(144, 3, 2, 8, 8)[:, :, 1])


def test_prompts_may_place_their_pictures():
    adapter = tiny_qwen2_5_vl()
    picture = random_pictures(1)[0]
    place = "<|vision_start|><|image_pad|><|vision_end|>"
    own, _ = encode(adapter, [picture], [f"{place} {PROMPT}"])
    assert own == encode(adapter, [picture], [PROMPT])[0]
    behind, _ = encode(adapter, [picture], [f"{PROMPT} {place}"])
    assert sorted(behind[0]) == sorted(own[0])
    assert behind != own
    with pytest.raises(InvalidValueError, match=r"has 1 placeholder\(s\) for 2 picture"):
        encode(adapter, [[picture, picture]], [f"{place} {PROMPT}"])


def test_a_chat_template_is_used_where_there_is_one():
    adapter = tiny_llava()
    adapter.tokenizer.chat_template = (
        "{% for m in messages %}what {% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image>{% else %} {{ c['text'] }}{% endif %}"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %} is{% endif %}"
    )
    picture = random_pictures(1)[0]
    (ids,) = encode(adapter, [picture], [PROMPT])[0]
    words = adapter.tokenizer.decode([i for i in ids if i != adapter.visual_token_ids[0]])
    assert words.split() == ["what", *PROMPT.split(), "is"]
    assert ids.count(adapter.visual_token_ids[0]) == 16


def test_prompts_without_pictures_have_no_visual_tokens():
    adapter = tiny_llava()
    inputs = adapter.inputs([[], random_pictures(1)[0]], [PROMPT, PROMPT])
    assert visual_mask(adapter, inputs["input_ids"]).sum(1).tolist() == [0, 16]


def test_videos_are_refused_where_a_family_has_none():
    with pytest.raises(UnsupportedError, match="takes pictures, but got a video"):
        tiny_llava().inputs([clip(2)], [PROMPT])
    with pytest.raises(InvalidValueError, match=r"\[frames, height, width, 3\], got \[96, 96, 3\]"):
        Video(random_pictures(1)[0])
    with pytest.raises(InvalidValueError, match="more than 0 frames a second"):
        Video(np.zeros((1, 8, 8, 3), np.uint8), fps=0.0)
    with pytest.raises(InvalidValueError, match="per prompt is needed, got 1 and 2 prompts"):
        tiny_llava().inputs(random_pictures(1), [PROMPT, PROMPT])
