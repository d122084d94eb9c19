"""Tiny random models of families without an adapter of their own: real classes and processors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from paretoprune.testing.models import decoder_sizes, randomised
from paretoprune.zoo.blueprints import NORMALISED, word_tokenizer

TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
SQUARE = {"height": 32, "width": 32}


@dataclass
class Parts:
    """What a checkpoint directory holds."""

    model: Any
    tokenizer: Any
    image_processor: Any
    processor: Any = None

    def save(self, folder: Path) -> str:
        """Write the checkpoint directory and return its name."""
        self.model.save_pretrained(folder)
        for part in (self.tokenizer, self.image_processor, self.processor):
            if part is not None:
                part.save_pretrained(folder)
        return str(folder)


def tokenizer_of(image: str = "<image>", *more: str, **named: str) -> Any:
    special = ("<pad>", "<bos>", "<eos>", "<unk>", image, *more, *named.values())
    return word_tokenizer(
        tuple(dict.fromkeys(special)),
        bos="<bos>",
        pad_token="<pad>",
        eos_token="<eos>",
        image_token=image,
        **named,
    )


def build(kind: type, config: Any, dtype: torch.dtype) -> Any:
    return randomised(kind, config, dtype, "sdpa", 0)


def idefics3(dtype: torch.dtype = torch.float32, name: str = "Idefics3") -> Parts:
    """Tiles in rows and columns, pixel shuffle, `text_model` as the decoder's name."""
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil,
    )
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    tokenizer = tokenizer_of(
        "<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>",
    )
    config = getattr(hf, f"{name}Config")(
        vision_config={**TOWER, "num_hidden_layers": 1},
        text_config={"model_type": "llama", **decoder_sizes(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    kind = Idefics3ImageProcessorPil if name == "Idefics3" else SmolVLMImageProcessorPil
    image_processor = kind(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, **NORMALISED
    )
    processor = None
    if name == "Idefics3":
        processor = hf.Idefics3Processor(image_processor, tokenizer, image_seq_len=4)
    model = build(getattr(hf, f"{name}ForConditionalGeneration"), config, dtype)
    return Parts(model, tokenizer, image_processor, processor)


def smolvlm(dtype: torch.dtype = torch.float32) -> Parts:
    """Idefics3's successor, whose processor also wants videos (and torchvision)."""
    return idefics3(dtype, "SmolVLM")


def mistral3(dtype: torch.dtype = torch.float32) -> Parts:
    """A Pixtral tower of dynamic resolution with patch merging."""
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    tokenizer = tokenizer_of("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    vision = {**TOWER, "num_hidden_layers": 1, "model_type": "pixtral", "head_dim": 16}
    config = hf.Mistral3Config(
        vision_config={**vision, "image_size": 96},
        text_config={
            "model_type": "mistral", "sliding_window": None, "head_dim": 12,
            **decoder_sizes(tokenizer),
        },
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        vision_feature_layer=-1,
    )  # fmt: skip
    image_processor = PixtralImageProcessorPil(
        size={"longest_edge": 96}, patch_size={"height": 16, "width": 16}, **NORMALISED
    )
    model = build(hf.Mistral3ForConditionalGeneration, config, dtype)
    return Parts(model, tokenizer, image_processor)


def glm4v(dtype: torch.dtype = torch.float32) -> Parts:
    """M-RoPE on a part of each head, interleaved; four norms a layer."""
    from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

    ends = ("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>")
    tokenizer = tokenizer_of("<|image|>", *ends, video_token="<|video|>")
    token = tokenizer.convert_tokens_to_ids
    rope = {
        "rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 1],
        "partial_rotary_factor": 0.5,
    }  # fmt: skip
    config = hf.Glm4vConfig(
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "patch_size": 8, "out_hidden_size": 48, "image_size": 96,
        },
        text_config={**decoder_sizes(tokenizer), "rope_parameters": rope},
        image_token_id=token("<|image|>"),
        video_token_id=token("<|video|>"),
        image_start_token_id=token(ends[0]),
        image_end_token_id=token(ends[1]),
        video_start_token_id=token(ends[2]),
        video_end_token_id=token(ends[3]),
    )  # fmt: skip
    image_processor = Glm4vImageProcessorPil(
        patch_size=8,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": 512, "longest_edge": 96 * 96 * 2},
        **NORMALISED,
    )
    return Parts(build(hf.Glm4vForConditionalGeneration, config, dtype), tokenizer, image_processor)


def paligemma(dtype: torch.dtype = torch.float32) -> Parts:
    """Bidirectional attention over picture and prompt."""
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tokenizer = tokenizer_of()
    config = hf.PaliGemmaConfig(
        vision_config={"model_type": "siglip_vision_model", **TOWER, "projection_dim": 48},
        text_config={"model_type": "gemma", "head_dim": 12, **decoder_sizes(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=48,
    )
    model = build(hf.PaliGemmaForConditionalGeneration, config, dtype)
    return Parts(model, tokenizer, SiglipImageProcessorPil(size=SQUARE))


def aya_vision(dtype: torch.dtype = torch.float32) -> Parts:
    """A Cohere decoder with sliding windows."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
        GotOcr2ImageProcessorPil,
    )

    tokenizer = tokenizer_of()
    config = hf.AyaVisionConfig(
        vision_config={"model_type": "siglip_vision_model", **TOWER},
        text_config={"model_type": "cohere2", "sliding_window": 16, **decoder_sizes(tokenizer)},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        downsample_factor=2,
        alignment_intermediate_size=48,
    )
    model = build(hf.AyaVisionForConditionalGeneration, config, dtype)
    return Parts(model, tokenizer, GotOcr2ImageProcessorPil(size=SQUARE, **NORMALISED))


def qwen3_vl(dtype: torch.dtype = torch.float32) -> Parts:
    """Vision features added again behind the first layers."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )

    from paretoprune.zoo.blueprints import qwen_tokenizer

    tokenizer = qwen_tokenizer()
    token = tokenizer.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 2, 2]}
    config = hf.Qwen3VLConfig(
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
            "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "out_hidden_size": 48, "num_position_embeddings": 144,
            "deepstack_visual_indexes": [0, 1],
        },
        text_config={**decoder_sizes(tokenizer), "head_dim": 12, "rope_parameters": rope},
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )  # fmt: skip
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=8,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": 256, "longest_edge": 96 * 96},
        **NORMALISED,
    )
    model = build(hf.Qwen3VLForConditionalGeneration, config, dtype)
    return Parts(model, tokenizer, image_processor)


def mllama(dtype: torch.dtype = torch.float32) -> Parts:
    """Cross-attention instead of visual tokens."""
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    tokenizer = tokenizer_of("<|image|>")
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_global_layers": 1, "attention_heads": 2, "image_size": 32, "patch_size": 8,
        "vision_output_dim": 64, "intermediate_layers_indices": [1],
        "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]], "max_num_tiles": 2,
    }  # fmt: skip
    config = hf.MllamaConfig(
        vision_config=vision,
        text_config={"cross_attention_layers": [1], **decoder_sizes(tokenizer)},
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )
    model = build(hf.MllamaForConditionalGeneration, config, dtype)
    return Parts(model, tokenizer, MllamaImageProcessorPil(size=SQUARE, max_image_tiles=2))
