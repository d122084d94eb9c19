"""Tiny random models of real architecture classes, for tests of adapters, pruners and decoders."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.llava import LlavaAdapter
from paretoprune.tasks.minivqa.vocabulary import PICTURE
from paretoprune.zoo.blueprints import llava_image_processor, llava_tokenizer


def tiny_llava(
    *,
    layers: int = 4,
    kv_heads: int = 2,
    patch: int = 24,
    dtype: torch.dtype = torch.float64,
    attn: str = "sdpa",
    seed: int = 0,
) -> LlavaAdapter:
    """An untrained LLaVA with grouped-query attention and (96 / patch)^2 visual tokens.

    Weights are drawn large, so that attention is far from uniform and token order matters.
    """
    tokenizer = llava_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=PICTURE,
        patch_size=patch,
        projection_dim=32,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(PICTURE // patch) ** 2,
        vision_feature_layer=-1,
    )
    config._attn_implementation = attn
    generator = torch.Generator().manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or "class_embedding" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.25)
    return LlavaAdapter(model.to(dtype), tokenizer, llava_image_processor())


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
