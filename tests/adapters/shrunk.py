"""Small random models of any image-text-to-text family, from its default configuration."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForImageTextToText
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.prompts import token_inputs

MAPPING = AutoModelForImageTextToText._model_mapping
FAMILIES = sorted(config.model_type for config in MAPPING)
LAYERS, IMAGE = 4, 250
WIDTH = 48
SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "hidden_dim", "out_hidden_size"), WIDTH),
    **dict.fromkeys(("intermediate_size", "mlp_dim", "ffn_dim", "encoder_ffn_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "decoder_layers", "n_layer"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "num_heads", "attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    "linear_key_head_dim": 8, "decoder_ffn_dim": 64, "depth": 2, "encoder_layers": 2,
    "embed_dim": 32, "head_dim": 12,
    "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 512,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 24, "kv_lora_rank": 16,
    "qk_head_dim": 16, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "projection_dim": WIDTH, "image_size": 32,
    "num_position_embeddings": 144, "vocab_size_per_layer_input": 256,
    "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0, "max_window_layers": 0,
}  # fmt: skip
PATTERNS = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers")
TOKENS = {
    "image_token_id": IMAGE, "image_token_index": IMAGE, "video_token_id": 251,
    "video_token_index": 251, "audio_token_id": 249, "vision_start_token_id": 248,
    "vision_end_token_id": 247,
}  # fmt: skip
M_ROPE = ("glm4", "glm_", "glmga", "paddle", "qwen2_5_omni", "qwen2_", "qwen3_", "cosmos", "ernie")


def _chameleon(d: dict[str, Any]) -> None:
    d["vocabulary_map"] = {"<image>": IMAGE, **{f"IMGIMGBS{chr(65 + i)}Z": i for i in range(10)}}


def _dots3_note(d: dict[str, Any]) -> None:
    """Layers of two sizes, which is what an attribute of the whole configuration cannot say."""
    part = d["text_config"]
    d["vision_config"].update(per_layer_config=None, adapter_in_dim=WIDTH, adapter_out_dim=WIDTH)
    d["audio_config"].update(adapter_input_size=WIDTH, adapter_out_dim=WIDTH)
    part["num_key_value_heads"] = 4
    part["layer_types"] = ["indexed_attention"] * 2 + ["sliding_attention"] * 2
    part["head_dim"] = part["qk_nope_head_dim"] + part["qk_rope_head_dim"]
    wide = {"num_attention_heads": 2, "num_key_value_heads": 2}
    part["per_layer_config"] = {2: wide, 3: wide}


def _hunyuan_vl(d: dict[str, Any]) -> None:
    d["text_config"]["head_dim"] = 12


def _janus(d: dict[str, Any]) -> None:
    sizes = {"embed_dim": 8, "num_embeddings": 64, "base_channels": 32, "latent_channels": 16}
    d["vq_config"].update(sizes, channel_multiplier=[1, 1])


def _emu3(d: dict[str, Any]) -> None:
    d["vocabulary_map"] = {"<image>": IMAGE, "<|extra_200|>": 200}


def _mistral_large4(d: dict[str, Any]) -> None:
    for name, value in d["text_config"].items():
        if isinstance(value, list) and len(value) == 72:
            d["text_config"][name] = value[:LAYERS]


def _gemma4(d: dict[str, Any]) -> None:
    part = d["text_config"]
    sizes = list((part.get("per_layer_config") or {}).values())
    part["per_layer_config"] = {3: sizes[0]} if sizes else None


def _text(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda d: d["text_config"].update(values)


MENDED: dict[str, Callable[[dict[str, Any]], None]] = {
    "chameleon": _chameleon,
    "cohere_compass": _text(
        rope_parameters={
            kind: {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
            for kind in ("full_attention", "sliding_attention")
        }
    ),
    "deepseek_ocr2": _text(mlp_layer_types=["dense", *["sparse"] * 3]),
    "dots3_note": _dots3_note,
    "emu3": _emu3,
    "gemma4": _gemma4,
    "gemma4_unified": _gemma4,
    "glm5_next": _text(num_key_value_heads=4, qk_rope_head_dim=0, qk_head_dim=8),
    "hunyuan_vl": _hunyuan_vl,
    "inkling2": lambda d: d["vision_config"].update(text_hidden_size=WIDTH),
    "janus": _janus,
    "mistral_large4": _mistral_large4,
    "molmo2": lambda d: d["adapter_config"].update(vision_feature_layer=[1, 2]),
    "qwen4_exp": _text(
        indexer_n_heads=2, indexer_kv_heads=1, indexer_head_dim=16, indexer_budget=8,
        indexer_compress_ratio=2,
    ),
    "qwen2_5_omni_thinker": lambda d: d.update(vision_start_token_id=248),
}  # fmt: skip


def _cut(whole: dict[Any, Any]) -> dict[Any, Any]:
    found = {}
    for name, value in whole.items():
        if isinstance(value, dict):
            value = _cut(value)
        elif name in PATTERNS and isinstance(value, list):
            distinct = list(dict.fromkeys(value))
            value = (distinct * LAYERS)[:LAYERS]
        elif name in TOKENS:
            value = TOKENS[name]
        elif str(name).endswith(("token_id", "token_index")) and isinstance(value, int):
            value = value if value < 256 else 100 + value % 90
        elif name == "deepstack_visual_indexes":
            value = [0, 1]
        elif name in SIZES and isinstance(value, int) and not isinstance(value, bool):
            value = SIZES[name]
        found[name] = value
    return found


def _with_sections(part: dict[str, Any]) -> None:
    """M-RoPE's three parts of a head of 12, or of half of it."""
    for name, value in part.items():
        if name == "rope_parameters" and isinstance(value, dict):
            whole = value.get("partial_rotary_factor") in (None, 1.0)
            value["mrope_section"] = [2, 2, 2] if whole else [1, 1, 1]
        elif isinstance(value, dict) and "vision" not in name:
            _with_sections(value)


def shrunk_config(family: str, **changes: Any) -> Any:
    """The default configuration of a family with small sizes; `changes` are its decoder's."""
    kind = CONFIG_MAPPING[family]
    values = _cut(kind().to_dict())
    if family.startswith(M_ROPE) or family == "hunyuan_vl":
        _with_sections(values)
    if family in MENDED:
        MENDED[family](values)
    values.get("text_config", values).update(changes)
    for name in ("architectures", "transformers_version"):
        values.pop(name, None)
    return kind.from_dict(values)


def shrunk(family: str, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    """A model of a family with a few thousand to a few million parameters, drawn large.

    On the meta device where it would be larger than that.
    """
    config = shrunk_config(family, **changes)
    kind = MAPPING[type(config)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    with torch.device("meta"):
        outline = kind(copy.deepcopy(config))
    if sum(p.numel() for p in outline.parameters()) > 30e6:
        return outline.eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            config._attn_implementation = "sdpa"
            model = kind(copy.deepcopy(config))
        except ValueError:
            config._attn_implementation = "eager"
            model = kind(copy.deepcopy(config))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.2)
                elif "norm" in name and name.endswith("weight"):
                    parameter.normal_(1, 0.2)
    return model.to(dtype).eval()


STACKED = {
    "deepseek_vl", "deepseek_vl_hybrid", "got_ocr2", "internvl", "janus", "pp_chart2table",
    "qianfan_ocr", "smolvlm", "video_llava", "vipllava", "ovis2",
}  # fmt: skip
"""Families that take the features of all pictures as one tensor, not one for each."""


def picture_inputs(adapter: Adapter, features: int = 8, answer: int = 4) -> dict[str, Any]:
    """Two prompts, each with a picture whose features are random: no tower and no processor."""
    family = adapter.model.config.model_type
    rows = [[3, 4, 5 + b, *[IMAGE] * features, *range(6, 6 + answer - 1), 9 + b] for b in range(2)]
    ids = torch.tensor(rows)
    generator = torch.Generator().manual_seed(1)
    seen = torch.randn(2, features, adapter.spec.hidden, generator=generator)
    seen = seen.to(adapter.model.dtype)
    encoded = BaseModelOutputWithPooling(pooler_output=seen if family in STACKED else tuple(seen))
    if family == "ovis2":
        encoded.visual_indicator_features = seen[0, :0]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_encoder_outputs": {"image": encoded},
        **token_inputs(adapter, ids),
    }
    if "mm_token_type_ids" in inputs or family == "qwen2_5_omni_thinker":
        inputs["image_grid_thw"] = torch.tensor([[1, 4, features]] * 2)
    return inputs
