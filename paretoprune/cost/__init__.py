"""What a decoder costs: FLOPs, MACs, published conventions, KV-cache bytes."""

from paretoprune.cost.flops import (
    CONVENTIONS,
    DecoderSpec,
    answer_layer_cost,
    attention_cost,
    attention_query_flops,
    class_attention_flops,
    decoder_cost,
    kv_bytes,
    layer_cost,
    step_layer_cost,
)

__all__ = [
    "CONVENTIONS",
    "DecoderSpec",
    "answer_layer_cost",
    "attention_cost",
    "attention_query_flops",
    "class_attention_flops",
    "decoder_cost",
    "kv_bytes",
    "layer_cost",
    "step_layer_cost",
]
