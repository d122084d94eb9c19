"""Refusals: decoders that cannot be pruned here, known by a model's configuration and modules.

Dropping a token is exact where every layer only attends, to every earlier token: then a dropped
token is one whose keys are masked from the drop on. Each other kind is refused in one sentence that
says what is different. Nothing is run.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationMixin

from paretoprune.errors import UnsupportedError

if TYPE_CHECKING:
    from paretoprune.adapters.base import Adapter

RANKING = "write an adapter that defines attention_states"
FULL = "choose a model whose decoder layers all attend to every earlier token"

LAYER_TYPES: Mapping[str, str] = {
    "sliding": "a token attends only to the positions in a window ({window}), and positions of "
    "dropped tokens are not counted here",
    "chunk": "a token attends only to its own chunk of positions ({window}), and positions of "
    "dropped tokens are not counted here",
    "linear": "each token changes a state that all later ones read, so that no key could be left "
    "out to drop it",
    "mamba": "each token changes a state that all later ones read, so that no key could be left "
    "out to drop it",
    "conv": "each token is mixed with its neighbours, so that dropping one gives others new "
    "neighbours",
    "index": "an indexer chooses which tokens each one attends to, and it is not run here",
    "sparse": "an indexer chooses which tokens each one attends to, and it is not run here",
    "compress": "an indexer chooses which tokens each one attends to, and it is not run here",
}
"""Difference of a layer, by a part of the type that the configuration gives it."""

WINDOWS = ("sliding_window", "attention_chunk_size")

DEEPSTACK = (
    "adds vision features to hidden states again behind several layers (DeepStack), which the "
    "pruned decoder does not; choose a family that adds them once, such as qwen2_5_vl"
)
CROSS = (
    "lets text attend to pictures in cross-attention layers: there are no visual tokens in its "
    "decoder to drop; choose a family that puts them there"
)
DECODER_ARGUMENTS: Mapping[str, str] = {
    "deepstack_visual_embeds": DEEPSTACK,
    "deepstack_features": DEEPSTACK,
    "per_layer_inputs": "gives every token an input of its own at each layer, which is not carried "
    "along here; choose a family without per_layer_inputs",
    "moe_mm_token_type_ids": "sends a token to other experts if it is visual, which layers are not "
    "given here; choose a family without moe_mm_token_type_ids",
    "cross_attention_states": CROSS,
    "encoder_hidden_states": CROSS,
    "pixel_values": "merges pictures inside of its decoder, which is then more than layers; write "
    "an adapter that says where they are (docs/tutorials/plug-in-a-vlm.md)",
}
"""Difference of a decoder that takes an argument of this name."""

KNOWN = {
    "self", "args", "kwargs", "input_ids", "inputs_embeds", "attention_mask", "position_ids",
    "past_key_values", "past_key_value", "use_cache", "cache_position", "output_attentions",
    "output_hidden_states", "output_router_logits", "return_dict", "flash_attn_kwargs",
}  # fmt: skip
"""Arguments that decoders of the Llama shape take."""

NORMS = {"q_norm", "k_norm"}
"""Norms of queries and keys that the ranking knows: per head, before positions."""


def refuse_model(model: type[Any], whole: Any) -> None:
    """Raise `UnsupportedError` for a class and a configuration that name another kind of decoder.

    No weights are needed.
    """
    name = model.__name__
    takes = inspect.signature(model.forward).parameters
    config = whole.get_text_config(decoder=True)
    if getattr(config, "cross_attention_layers", None):
        raise UnsupportedError(f"{name} {CROSS}")
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ()
    for kind in dict.fromkeys(map(str, kinds)):
        if kind in ("full_attention", "attention"):
            continue
        if kind == "sliding_attention" and getattr(config, "sliding_window", None) is None:
            continue
        raise UnsupportedError(
            f"{name} has decoder layers of type {kind}, where {_different(kind, config)}; {FULL}"
        )
    masks = "create_masks_for_generate"
    if "token_type_ids" in takes or getattr(model, masks, None) is not getattr(
        GenerationMixin, masks, None
    ):
        raise UnsupportedError(
            f"{name} makes attention masks of its own, as families do whose tokens of a picture or "
            "prompt attend to each other in both directions, and the pruned decoder knows causal "
            "ones only; choose a causal family"
        )
    if not any(parameter.startswith("pixel_values") for parameter in takes):
        raise UnsupportedError(
            f"{name} takes no pixel_values, by which a pruned model knows that a call shows "
            "pictures; choose a family that takes its pictures so"
        )
    if not model.can_generate():
        raise UnsupportedError(
            f"{name} does not generate text, so there is no answer to prune for; choose a "
            "vision-language model that does"
        )


def refuse_decoder(model: Any, decoder: Any) -> None:
    """Raise `UnsupportedError` for a decoder whose modules are of another kind."""
    name = type(model).__name__
    arguments = inspect.signature(type(decoder).forward).parameters
    for argument in arguments:
        if argument in DECODER_ARGUMENTS:
            raise UnsupportedError(f"{name} {DECODER_ARGUMENTS[argument]}")
    unknown = sorted(set(arguments) - KNOWN)
    if unknown:
        raise UnsupportedError(
            f"the decoder of {name} takes {', '.join(unknown)} besides hidden states, positions "
            f"and a mask, which is not carried along here; {FULL}"
        )
    for layer in decoder.layers:
        parts = {part.rpartition(".")[2] for part, _ in layer.named_modules()}
        if "experts" in parts:
            raise UnsupportedError(
                f"{name} has mixtures of experts in its decoder layers, whose cost the cost model "
                "does not know; choose a dense model of the family"
            )
        own = inspect.signature(layer.forward).parameters
        if "position_embeddings" not in own and not any(
            p.kind is inspect.Parameter.VAR_KEYWORD for p in own.values()
        ):
            raise UnsupportedError(
                f"layers of {name} take no position_embeddings: positions of kept tokens could "
                f"not be preserved; {FULL}"
            )


def refuse_attention(model: Any, decoder: Any) -> None:
    """Raise `UnsupportedError` for attention that the default `attention_states` gets wrong."""
    name = type(model).__name__
    for layer in decoder.layers:
        attention = getattr(layer, "self_attn", None)
        if attention is None:
            raise UnsupportedError(
                f"layers of {name} have no self_attn, whose queries pruners rank by; {FULL}"
            )
        if any(part.startswith("kv_a_") for part, _ in attention.named_children()):
            raise UnsupportedError(
                f"{name} compresses keys and values to a common rank (latent attention), and "
                "pruners could not ask its queries; choose a model with a q_proj and a k_proj"
            )
        lacking = [p for p in ("q_proj", "k_proj") if getattr(attention, p, None) is None]
        if lacking:
            raise UnsupportedError(
                f"the attention of {name} has no {' and no '.join(lacking)}, so pruners could not "
                f"ask its queries; {RANKING}"
            )
        norms = [p for p, _ in attention.named_children() if _is_query_norm(p) and p not in NORMS]
        if norms:
            raise UnsupportedError(
                f"the attention of {name} applies {norms[0]} to queries and keys, which the "
                f"ranking of tokens does not; {RANKING}"
            )
        if not hasattr(layer, "input_layernorm"):
            raise UnsupportedError(
                f"layers of {name} have no input_layernorm, behind which pruners ask queries; "
                f"{RANKING}"
            )


def window_of(decoder: Any) -> int | None:
    """Positions that a token attends to at most in a layer; None: all of them.

    By what each layer's attention says of itself, else by the configuration: a Mistral's has a
    window for all layers, whatever it says of their types.
    """
    attentions: list[Any] = [getattr(layer, "self_attn", None) for layer in decoder.layers]
    windows = [x.sliding_window for x in attentions if hasattr(x, "sliding_window")]
    if len(windows) < len(attentions):
        windows.append(getattr(decoder.config, "sliding_window", None))
    return min((int(window) for window in windows if window), default=None)


def require_window(adapter: Adapter, valid: Tensor, ahead: int = 0) -> None:
    """Raise `UnsupportedError` for sequences that a sliding window would cut.

    `valid` bool [B, T] marks what is no padding; `ahead` tokens are to follow. Up to the window's
    length every token attends to every earlier one, and dropping is exact; behind it the pruned
    decoder, which does not count dropped tokens, would attend to other positions than the model.
    """
    if adapter.window is None:
        return
    index = torch.arange(valid.shape[1], device=valid.device)
    first = torch.where(valid, index, valid.shape[1]).amin(1)
    longest = int((torch.where(valid, index, -1).amax(1) - first).max()) + 1
    require_length(adapter, longest + ahead)


def require_length(adapter: Adapter, longest: int) -> None:
    """Raise `UnsupportedError` for a sequence of so many tokens that a window would cut."""
    if adapter.window is not None and longest > adapter.window:
        raise UnsupportedError(
            f"a sequence of {longest} tokens is longer than the sliding window of "
            f"{type(adapter.model).__name__}, {adapter.window} positions, and a pruned decoder "
            "does not count the positions of dropped tokens; make prompt, pictures and answer "
            "shorter"
        )


def _is_query_norm(name: str) -> bool:
    return "norm" in name and not {"q", "k", "qk", "query", "key"}.isdisjoint(name.split("_"))


def _different(kind: str, config: Any) -> str:
    for part, sentence in LAYER_TYPES.items():
        if part in kind:
            sizes = [f"{w} {getattr(config, w)}" for w in WINDOWS if getattr(config, w, None)]
            return sentence.format(window=sizes[0] if sizes else "of a size of its own")
    return "more may happen than attention to every earlier token"
