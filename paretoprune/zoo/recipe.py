"""How the embedded mini-models are built: architecture classes, sizes and training settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from paretoprune.tasks.minivqa.vocabulary import PATCH, PICTURE, WORDS

PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.25, 0.25, 0.25)
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>", "<image>")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of one training run; the defaults made the shipped weights."""

    steps: int = 6000
    batch: int = 16
    questions: int = 20
    peak_lr: float = 1.5e-3
    muon_lr: float = 3e-3
    warmup_steps: int = 200
    weight_decay: float = 0.05
    seed: int = 0
    report_every: int = 250
    checkpoint_every: int = 500


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the MiniVQA vocabulary that puts `<bos>` in front."""
    vocabulary = {word: i for i, word in enumerate((*SPECIAL_TOKENS, *WORDS))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )


def build_image_processor() -> Any:
    """CLIP's PIL image processor at MiniVQA's picture size."""
    return CLIPImageProcessorPil(
        size={"height": PICTURE, "width": PICTURE},
        crop_size={"height": PICTURE, "width": PICTURE},
        image_mean=list(PIXEL_MEAN),
        image_std=list(PIXEL_STD),
    )


def build_mini_llava(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """An untrained mini-LLaVA: 2 CLIP layers, 8 Llama layers, hidden 96, about 1.1 M parameters."""
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=PICTURE,
        patch_size=PATCH,
        projection_dim=96,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        initializer_range=0.06,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(PICTURE // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    return LlavaForConditionalGeneration(config)


BUILDERS = {"mini-llava": build_mini_llava}
"""Name of each mini-model that can be trained, with the builder of its untrained form."""


def save_checkpoint_directory(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Write a Hugging Face checkpoint directory with fp16 weights, as any VLM is published."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    copy = type(model)(model.config).to(torch.float16)
    copy.load_state_dict({k: v.to(torch.float16) for k, v in model.state_dict().items()})
    copy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    build_image_processor().save_pretrained(folder)
