"""Blueprints of the embedded mini-models: real classes of transformers at small sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPVisionConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.internvl import InternVLAdapter
from paretoprune.adapters.llava import LlavaAdapter
from paretoprune.adapters.qwen2_5_vl import QwenVLAdapter
from paretoprune.tasks.minivqa.vocabulary import PATCH, PICTURE, WORDS

NORMALISED = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
DECODER: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.06,
}


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One mini-model: how its parts are built."""

    tokenizer: Callable[[], PreTrainedTokenizerFast]
    model: Callable[[PreTrainedTokenizerFast], PreTrainedModel]
    image_processor: Callable[[], Any]
    adapter: type[Adapter]

    def build(self) -> Adapter:
        """An untrained mini-model in its family's adapter, weights by torch's global generator."""
        tokenizer = self.tokenizer()
        return self.adapter(self.model(tokenizer), tokenizer, self.image_processor())


def word_tokenizer(
    special: tuple[str, ...], *, bos: str | None = None, **named: str
) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the MiniVQA vocabulary behind `special` tokens.

    `bos` is put in front; `named` are `eos_token` and the like, and further named special tokens.
    """
    vocabulary = {word: i for i, word in enumerate((*special, *WORDS))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos is not None:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, vocabulary[bos])]
        )
    known = {"pad_token", "eos_token"}
    extra = {k: v for k, v in named.items() if k not in known}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=bos,
        unk_token="<unk>",
        extra_special_tokens=extra,
        padding_side="left",
        **{k: v for k, v in named.items() if k in known},
    )


def _ends(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The token ids that a text configuration names."""
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


# --- mini-llava: CLIP encoder, Llama decoder


def llava_tokenizer() -> PreTrainedTokenizerFast:
    """`<bos>` in front, `<image>` for visual tokens."""
    special = ("<pad>", "<bos>", "<eos>", "<unk>", "<image>")
    return word_tokenizer(
        special, bos="<bos>", pad_token="<pad>", eos_token="<eos>", image_token="<image>"
    )


def llava_image_processor() -> Any:
    """CLIP's PIL image processor at MiniVQA's picture size."""
    size = {"height": PICTURE, "width": PICTURE}
    return CLIPImageProcessorPil(size=size, crop_size=size, **NORMALISED)


def build_llava(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """2 CLIP layers, 8 Llama layers, hidden 96, about 1.1 M parameters; 144 visual tokens."""
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=PICTURE,
        patch_size=PATCH,
        projection_dim=96,
    )
    text = LlamaConfig(**DECODER, num_key_value_heads=4, **_ends(tokenizer))
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(PICTURE // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    return LlavaForConditionalGeneration(config)


# --- mini-qwen2.5-vl: window attention, patch merger, M-RoPE, grouped queries


def qwen_tokenizer() -> PreTrainedTokenizerFast:
    """Qwen's special tokens; nothing in front."""
    image = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    return word_tokenizer(
        ("<|endoftext|>", "<|im_end|>", "<unk>", *image),
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        vision_bos_token="<|vision_start|>",
        vision_eos_token="<|vision_end|>",
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
    )


def qwen_image_processor() -> Any:
    """Qwen2-VL's PIL image processor: patches of 4 pixels, 2 x 2 of them merged."""
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH // 2,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": PATCH**2, "longest_edge": 4 * PICTURE**2},
        **NORMALISED,
    )


def build_qwen(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """2 vision blocks (one in windows, one full), 8 Qwen2 layers; one visual token per 8 pixels."""
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "patch_size": PATCH // 2,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 4 * PATCH,
        "fullatt_block_indexes": [1],
        "out_hidden_size": DECODER["hidden_size"],
    }
    text = {
        **DECODER,
        **_ends(tokenizer),
        "num_key_value_heads": 2,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [4, 4, 4],
        },
    }
    token = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    return Qwen2_5_VLForConditionalGeneration(config)


# --- mini-internvl: pixel shuffle, a Qwen2 decoder


def internvl_tokenizer() -> PreTrainedTokenizerFast:
    """InternVL's special tokens; nothing in front."""
    return word_tokenizer(
        ("<pad>", "<|im_end|>", "<unk>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        pad_token="<pad>",
        eos_token="<|im_end|>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )


def internvl_image_processor() -> Any:
    """InternVL's PIL image processor; MiniVQA's pictures are one tile."""
    size = {"height": PICTURE, "width": PICTURE}
    return GotOcr2ImageProcessorPil(
        size=size, crop_to_patches=True, min_patches=1, max_patches=1, **NORMALISED
    )


def build_internvl(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """2 vision layers on patches of 4 pixels, shuffled to 144 visual tokens, 8 Qwen2 layers."""
    vision = InternVLVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=PICTURE,
        patch_size=PATCH // 2,
    )
    text = Qwen2Config(**DECODER, num_key_value_heads=2, **_ends(tokenizer))
    config = InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=(PICTURE // PATCH) ** 2,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config)


BLUEPRINTS = {
    "mini-llava": Blueprint(llava_tokenizer, build_llava, llava_image_processor, LlavaAdapter),
    "mini-qwen2.5-vl": Blueprint(qwen_tokenizer, build_qwen, qwen_image_processor, QwenVLAdapter),
    "mini-internvl": Blueprint(
        internvl_tokenizer, build_internvl, internvl_image_processor, InternVLAdapter
    ),
}
"""Every embedded mini-model, by name."""
