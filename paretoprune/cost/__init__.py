"""Every formula of FLOPs, MACs and bytes; honest timing and the latency model."""

from paretoprune.cost.flops import (
    CONVENTIONS,
    DecoderSpec,
    answer_layer_cost,
    attention_cost,
    attention_query_flops,
    class_attention_flops,
    decoder_cost,
    dense_state_bytes,
    distinct_flops,
    kv_bytes,
    layer_cost,
    merging_flops,
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
    "dense_state_bytes",
    "distinct_flops",
    "kv_bytes",
    "layer_cost",
    "merging_flops",
    "step_layer_cost",
]
