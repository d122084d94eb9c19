"""The cost model of a decoder: FLOPs, MACs and bytes. A pruner states only its own products.

Exact FLOPs of a decoder layer with n tokens, hidden width d, attention width a = heads x head_dim,
key/value width g = kv_heads x head_dim and MLP width m:

    2 n (2 d a + 2 d g)   query, output, key and value projections
  + 4 n^2 a               query-key products and weighted values (full square, as executed)
  + 6 n d m               gated MLP (4 n d m without gate)

This is what `torch.utils.flop_counter` counts. Norms, activations, rotary embedding and the output
head are left out, as in the literature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import InvalidValueError, UnknownNameError

Counts: TypeAlias = NDArray[np.int64]
Convention: TypeAlias = Literal["flops", "macs", "A", "B"]
CONVENTIONS: dict[str, str] = {
    "flops": "exact FLOPs with grouped-query attention and gated MLP (2 per multiply-accumulate)",
    "macs": "exact multiply-accumulates: half the FLOPs",
    "A": "4nd^2 + 2n^2d + 2ndm MACs (FastV, DivPrune, VisPCO: no grouped queries, ungated)",
    "B": "4nd^2 + 2n^2d + 3ndm MACs (PyramidDrop, SparseVLM: no grouped queries)",
}


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """Dimensions of a decoder, as the cost model needs them.

    `class_query` is the FLOPs per visual token of the vision encoder's class attention, which some
    pruners need. `class_key` is the width of its keys. Both are 0 without a class token.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    gated: bool = True
    class_query: float = 0.0
    class_key: int = 0

    def __post_init__(self) -> None:
        sizes = (self.hidden, self.layers, self.heads, self.kv_heads, self.head_dim, self.mlp)
        if min(sizes) < 1 or self.heads % self.kv_heads:
            raise InvalidValueError(
                f"decoder dimensions must be positive and heads a multiple of kv_heads, got {self}"
            )


LLAVA_1_5_7B = DecoderSpec(4096, 32, 32, 32, 128, 11008)
QWEN2_5_VL_3B = DecoderSpec(2048, 36, 16, 2, 128, 11008)
QWEN2_5_VL_7B = DecoderSpec(3584, 28, 28, 4, 128, 18944)
INTERNVL3_8B = DecoderSpec(3584, 28, 28, 4, 128, 18944)


def layer_cost(
    spec: DecoderSpec, tokens: NDArray[np.int64] | int, convention: Convention = "flops"
) -> NDArray[np.float64]:
    """Cost of one layer's prefill at each token count, float64 of the shape of `tokens`.

    In FLOPs or, for the other conventions, multiply-accumulates (see `CONVENTIONS`).
    """
    n = np.asarray(tokens, dtype=np.float64)
    d, m = spec.hidden, spec.mlp
    if convention == "A":
        return 4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m
    if convention == "B":
        return 4 * n * d**2 + 2 * n**2 * d + 3 * n * d * m
    if convention not in CONVENTIONS:
        raise UnknownNameError("cost convention", convention, CONVENTIONS)
    matrices = 3 if spec.gated else 2
    flops = attention_cost(spec, tokens) + 2 * matrices * n * d * m
    return np.asarray(flops if convention == "flops" else flops / 2)


def attention_cost(spec: DecoderSpec, tokens: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """FLOPs of one layer's attention alone, projections included, at each token count."""
    n = np.asarray(tokens, dtype=np.float64)
    d, a, g = spec.hidden, spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    return np.asarray(2 * n * (2 * d * a + 2 * d * g) + 4 * n**2 * a)


def answer_layer_cost(spec: DecoderSpec, tokens: int, answers: int) -> float:
    """FLOPs of a last layer that is run for `answers` of its `tokens` tokens only.

    All tokens are projected (their queries too, which come with their keys); the asking ones once
    more, against all keys, and through the rest of the layer.
    """
    d, a, g = spec.hidden, spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    matrices = 3 if spec.gated else 2
    projected = 2 * (tokens + answers) * d * (a + 2 * g)
    rest = 2 * answers * d * a + 4 * answers * tokens * a + 2 * matrices * answers * d * spec.mlp
    return float(projected + rest)


def step_layer_cost(spec: DecoderSpec, new: int, held: int) -> float:
    """FLOPs of one layer for `new` tokens that attend to `held` keys, their own among them."""
    attention = 4.0 * spec.heads * spec.head_dim
    apart = float(layer_cost(spec, new)) - attention * new**2
    return apart + attention * new * held


def decoder_cost(
    spec: DecoderSpec, tokens: NDArray[np.int64], convention: Convention = "flops"
) -> float:
    """Cost of a prefill whose layer l processes `tokens[l]` tokens, int `[layers]`."""
    if len(tokens) != spec.layers:
        raise InvalidValueError(f"this decoder has {spec.layers} layers, got {len(tokens)} counts")
    return float(layer_cost(spec, np.asarray(tokens), convention).sum())


def attention_query_flops(
    spec: DecoderSpec, tokens: NDArray[np.int64] | int
) -> NDArray[np.float64]:
    """FLOPs of scoring all tokens by one query of a layer whose keys are at hand: `[...]`.

    The query's projection and its products with all keys; what FastV-like pruners add wherever
    they drop tokens.
    """
    n = np.asarray(tokens, dtype=np.float64)
    a = spec.heads * spec.head_dim
    return np.asarray(2.0 * spec.hidden * a + 2.0 * n * a)


def merging_flops(
    spec: DecoderSpec, visual: NDArray[np.int64], kept: NDArray[np.int64]
) -> NDArray[np.float64]:
    """FLOPs of merging `visual` tokens to `kept` ones: a weighted sum of all for each, `[...]`."""
    return np.asarray(2.0 * spec.hidden * visual * kept)


def class_attention_flops(width: int, tokens: int) -> float:
    """FLOPs of asking a vision encoder's class token, per picture of so many tokens.

    Keys of all tokens, one query, and its logits; `width` is the encoder's hidden width.
    """
    return 2.0 * width * (tokens * width + width + tokens)


def dense_state_bytes(
    spec: DecoderSpec, tokens: int, bytes_per_value: int, *, with_values: bool = False
) -> int:
    """Bytes of hidden states and keys of `tokens` tokens behind all layers but the last.

    And of values, `with_values`.
    """
    width = spec.hidden + (1 + with_values) * spec.kv_heads * spec.head_dim
    return tokens * width * bytes_per_value * (spec.layers - 1)


def kv_bytes(spec: DecoderSpec, tokens: NDArray[np.int64], bytes_per_value: int = 2) -> int:
    """Bytes of the key/value cache when layer l holds `tokens[l]` tokens (2 bytes: fp16, bf16)."""
    if len(tokens) != spec.layers:
        raise InvalidValueError(f"this decoder has {spec.layers} layers, got {len(tokens)} counts")
    return int(2 * spec.kv_heads * spec.head_dim * bytes_per_value * int(np.sum(tokens)))


def distinct_flops(
    spec: DecoderSpec, counts: NDArray[np.int64], text: NDArray[np.int64]
) -> tuple[float, float]:
    """FLOPs of the layer segments, each distinct one once, and those of all candidates alone.

    `counts` int64 [candidates, layers, samples] are kept visual tokens, `text` int64 [samples]
    the other ones. A segment is one layer after one path of kept counts; ranking is left out.
    """
    alone = float(layer_cost(spec, counts + text).sum())
    distinct = 0.0
    path = np.zeros(len(counts), dtype=np.int64)
    for layer in range(counts.shape[1]):
        step = np.concatenate([path[:, None], counts[:, layer]], axis=1)
        _, first, path = np.unique(step, axis=0, return_index=True, return_inverse=True)
        path = path.reshape(-1)
        distinct += float(layer_cost(spec, counts[first, layer] + text).sum())
    return distinct, alone
