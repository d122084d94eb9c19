"""Tiny random models of real architecture classes, for tests of adapters, pruners and decoders.

Weights are drawn large, so that attention is far from uniform and token order matters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    CLIPVisionConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.internvl import InternVLAdapter
from paretoprune.adapters.llava import LlavaAdapter
from paretoprune.adapters.qwen2_5_vl import QwenVLAdapter
from paretoprune.tasks.minivqa.vocabulary import PICTURE
from paretoprune.zoo.blueprints import (
    NORMALISED,
    internvl_tokenizer,
    llava_image_processor,
    llava_tokenizer,
    qwen_tokenizer,
)

TILE = 48
"""Side of a tile in the tiled families, in pixels."""


def tiny_llava(
    *,
    layers: int = 4,
    kv_heads: int = 2,
    patch: int = 24,
    dtype: torch.dtype = torch.float64,
    attn: str = "sdpa",
    seed: int = 0,
) -> LlavaAdapter:
    """An untrained LLaVA with grouped-query attention and (96 / patch)^2 visual tokens."""
    tokenizer = llava_tokenizer()
    config = LlavaConfig(
        vision_config=_clip(PICTURE, patch),
        text_config=LlamaConfig(**decoder_sizes(tokenizer, layers, kv_heads)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(PICTURE // patch) ** 2,
        vision_feature_layer=-1,
    )
    model = randomised(LlavaForConditionalGeneration, config, dtype, attn, seed)
    return LlavaAdapter(model, tokenizer, llava_image_processor())


def tiny_llava_next(
    *, layers: int = 4, dtype: torch.dtype = torch.float64, attn: str = "sdpa", seed: int = 0
) -> LlavaAdapter:
    """An untrained LLaVA-NeXT: tiles of 48 pixels and a picture of the whole, 16 tokens each."""
    tokenizer = llava_tokenizer()
    pinpoints = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
    config = LlavaNextConfig(
        vision_config=_clip(TILE, 12),
        text_config=LlamaConfig(**decoder_sizes(tokenizer, layers)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
    )
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": TILE},
        crop_size={"height": TILE, "width": TILE},
        image_grid_pinpoints=pinpoints,
        **NORMALISED,
    )
    model = randomised(LlavaNextForConditionalGeneration, config, dtype, attn, seed)
    return LlavaAdapter(model, tokenizer, processor)


def tiny_llava_onevision(
    *, layers: int = 4, dtype: torch.dtype = torch.float64, attn: str = "sdpa", seed: int = 0
) -> LlavaAdapter:
    """An untrained LLaVA-OneVision: SigLIP encoder without class token, Qwen2 decoder, tiles."""
    tokenizer = llava_tokenizer()
    pinpoints = [[TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
    vision = SiglipVisionConfig(**_tower(TILE, 12), vision_use_head=False)
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(**decoder_sizes(tokenizer, layers)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        vision_aspect_ratio="anyres_max_9",
    )
    processor = LlavaOnevisionImageProcessorPil(
        size={"height": TILE, "width": TILE}, image_grid_pinpoints=pinpoints, **NORMALISED
    )
    model = randomised(LlavaOnevisionForConditionalGeneration, config, dtype, attn, seed)
    return LlavaAdapter(model, tokenizer, processor)


def tiny_qwen2_5_vl(
    *, layers: int = 4, dtype: torch.dtype = torch.float64, attn: str = "sdpa", seed: int = 0
) -> QwenVLAdapter:
    """An untrained Qwen2.5-VL: one visual token per 16 x 16 pixels, windows, M-RoPE."""
    tokenizer = qwen_tokenizer()
    token = tokenizer.convert_tokens_to_ids
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 8,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 32,
        "fullatt_block_indexes": [1], "out_hidden_size": 48,
    }  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 2, 2]}
    config = Qwen2_5_VLConfig(
        vision_config=vision,
        text_config={**decoder_sizes(tokenizer, layers), "rope_parameters": rope},
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    processor = Qwen2VLImageProcessorPil(
        patch_size=8,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": 256, "longest_edge": PICTURE**2},
        **NORMALISED,
    )
    model = randomised(Qwen2_5_VLForConditionalGeneration, config, dtype, attn, seed)
    return QwenVLAdapter(model, tokenizer, processor)


def tiny_internvl(
    *, layers: int = 4, dtype: torch.dtype = torch.float64, attn: str = "sdpa", seed: int = 0
) -> InternVLAdapter:
    """An untrained InternVL: up to four tiles of 48 pixels and a thumbnail, 9 tokens each."""
    tokenizer = internvl_tokenizer()
    config = InternVLConfig(
        vision_config={**_tower(TILE, 8), "model_type": "internvl_vision"},
        text_config=Qwen2Config(**decoder_sizes(tokenizer, layers)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=9,
        tie_word_embeddings=False,
    )
    processor = GotOcr2ImageProcessorPil(
        size={"height": TILE, "width": TILE}, min_patches=1, max_patches=4, **NORMALISED
    )
    model = randomised(InternVLForConditionalGeneration, config, dtype, attn, seed)
    return InternVLAdapter(model, tokenizer, processor)


def decoder_sizes(
    tokenizer: PreTrainedTokenizerBase, layers: int = 4, kv_heads: int = 2
) -> dict[str, Any]:
    """Sizes of a tiny decoder: hidden 48, four heads, the tokenizer's vocabulary."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 512,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _tower(side: int, patch: int) -> dict[str, Any]:
    return {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": side, "patch_size": patch,
    }  # fmt: skip


def _clip(side: int, patch: int) -> CLIPVisionConfig:
    return CLIPVisionConfig(**_tower(side, patch), projection_dim=32)


def randomised(
    kind: type[PreTrainedModel], config: Any, dtype: torch.dtype, attn: str, seed: int
) -> PreTrainedModel:
    """A model of class `kind` with large random weights that depend on `seed` only."""
    config._attn_implementation = attn
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # for parameters that are not drawn anew below
        model = kind(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or "class_embedding" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.25)
    model.generation_config.eos_token_id = None  # random models would stop anywhere
    return model.to(dtype)


def random_pictures(count: int, *, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Noise pictures, `uint8 [96, 96, 3]` each."""
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (count, PICTURE, PICTURE, 3), dtype=np.uint8))


QUESTIONS = ("read the sign ?", "what colour is the star ?", "at r1 c2 is A star B ring ?")
"""Prompts of different lengths that the tiny tokenizer knows."""


def question_batch(adapter: Adapter, count: int = 3, *, padding_side: str = "right") -> Any:
    """Model inputs of `count` noise pictures with questions of different lengths."""
    prompts = [QUESTIONS[i % len(QUESTIONS)] for i in range(count)]
    return adapter.inputs(random_pictures(count), prompts, padding_side=padding_side)


def assert_same_without_cache(view: Any, adapter: Adapter, inputs: Any, **options: Any) -> None:
    """A view's `generate`, with `options`, gives the same tokens and logits with and without cache.

    The adapter names the tokens that stand for pictures, which a random model would say.
    """
    options = {
        "max_new_tokens": 3, "do_sample": False, "suppress_tokens": list(adapter.visual_token_ids),
        "output_logits": True, "return_dict_in_generate": True, **options,
    }  # fmt: skip
    with torch.no_grad():
        cached = view.generate(**inputs, **options)
        decided = view.pruning.decided
        anew = view.generate(**inputs, **options, use_cache=False)
    assert torch.equal(anew.sequences, cached.sequences)
    for one, other in zip(anew.logits, cached.logits, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))
    assert np.array_equal(view.pruning.decided, decided)
