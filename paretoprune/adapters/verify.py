"""Checks of an adapter on a loaded model: does driving the layers give the model's own results?"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.model_access import (
    RecordingCache,
    Rotary,
    attention_logits,
    causal_mask,
    position_arguments,
)
from paretoprune.adapters.refusals import RANKING, require_length
from paretoprune.adapters.views import Entry, Recorder, become, counterpart, view_of
from paretoprune.cost import layer_cost
from paretoprune.errors import ParetopruneError, UnsupportedError, plain
from paretoprune.tasks.base import Picture

PROMPTS = ("what is this ?", "is there a red circle at the top left , and what is beside it ?")
SIZES = ((96, 96), (64, 96))
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.03}
"""Largest difference in logits that rounding explains, as a share of the largest logit."""

LENGTH = 12
KEPT = ((0, 2, 3, 6, 9, 11), (0, 1, 4, 5, 8, 11))
"""Tokens of the decoder's trial, and those of each row that are not dropped in it."""

UNFORESEEN = (
    TypeError, ValueError, AttributeError, LookupError, RuntimeError, ArithmeticError,
    AssertionError, ImportError, OSError,
)  # fmt: skip
"""Exceptions of an unknown family's own code when it is called as the others are."""


@dataclass(frozen=True)
class Verification:
    """Deviations from the unmodified model, on `batch` noise pictures with different prompts.

    Differences are relative: `logits` to the largest logit (by padding side), `attention` absolute
    in a probability, `flops` to the count; None where a check does not apply. `visual_tokens` and
    `text_tokens` count those of each prompt of the probe.
    """

    logits: dict[str, float]
    attention: float | None
    flops: float
    tolerance: float
    visual_tokens: tuple[int, ...]
    text_tokens: tuple[int, ...]

    @property
    def problem(self) -> str | None:
        """The failed check, in one clause; None if there is none."""
        worst = max(self.logits.values())
        if not worst <= self.tolerance:
            return (
                f"with all visual tokens kept the logits differ from the model's own by "
                f"{worst:.2g} of the largest (allowed: {self.tolerance:g}), so its layers do "
                "something that the adapter does not know of"
            )
        if self.attention is not None and not self.attention <= max(1e-3, self.tolerance):
            return (
                f"the attention that pruners rank by differs from the model's own by "
                f"{self.attention:.2g}"
            )
        if not self.flops <= 0.01:
            return (
                f"the cost model is off by {self.flops:.1%} of the FLOPs that PyTorch counts "
                "(mixtures of experts and other shapes of MLP are not known to it)"
            )
        return None


def verify(adapter: Adapter) -> Verification:
    """Run the checks; `Verification.problem` is the verdict.

    Raises `UnsupportedError`, with the first line of what a family's own code said, where the model
    cannot be driven at all.
    """
    with in_one_sentence(type(adapter), adapter.model), torch.no_grad():
        _verify_decoder(adapter)
        return _verify(adapter)


def noise_pictures() -> list[Picture]:
    """Two pictures of different sizes, uint8 [height, width, 3] each."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def _verify(adapter: Adapter) -> Verification:
    pictures = noise_pictures()
    differences = {}
    with torch.no_grad():
        for side in ("left", "right"):
            inputs = adapter.inputs(pictures, PROMPTS, padding_side=side)
            prefill = adapter.prefill(inputs)
            positions = position_arguments(adapter, inputs)
            own = adapter.model(**inputs, **positions, use_cache=False).logits
            driven = adapter.head(_all_layers(adapter, prefill))
            valid = prefill.valid
            scale = float(own[valid].abs().max())
            differences[side] = float((own[valid] - driven[valid]).abs().max()) / max(scale, 1e-9)
        if not bool(prefill.visual.any()):
            raise UnsupportedError(
                f"no visual token was found in the inputs of {type(adapter.model).__name__}"
            )
        alone = adapter.prefill(adapter.inputs(pictures[:1], PROMPTS[:1]))
        flops = _flops(adapter, alone)
        attention = _attention(adapter, alone)
    return Verification(
        logits=differences,
        attention=attention,
        flops=flops,
        tolerance=TOLERANCE.get(adapter.model.dtype, 1e-3),
        visual_tokens=tuple(prefill.visual.sum(1).tolist()),
        text_tokens=tuple((prefill.valid & ~prefill.visual).sum(1).tolist()),
    )


def try_decoder(family: type[Adapter], model: PreTrainedModel) -> None:
    """Try a model's decoder alone, on noise: it must give its own output, with tokens dropped, too.

    The reference for dropping is the decoder itself with those tokens' keys masked. Of layers that
    are alike one is run, so that this costs a few passes of 24 tokens through that one layer, and
    no forward pass; what happens around the layers is compared without any. The model is left as it
    was. Raises `UnsupportedError` with the first thing that differs.
    """
    with in_one_sentence(family, model), torch.no_grad():
        _verify_decoder(family(view_of(model), None, None))


def _verify_decoder(adapter: Adapter) -> None:
    decoder, config = adapter.decoder, adapter.decoder.config
    device = adapter.model.device
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, LENGTH, config.hidden_size, generator=generator)
    noise = noise.to(device, adapter.model.dtype)
    require_length(adapter, LENGTH)
    # one row far behind: some families scale attention by the position
    far = max(0, (getattr(config, "max_position_embeddings", None) or 0) - LENGTH)
    positions = torch.arange(LENGTH, device=device) + torch.tensor([[0], [far]], device=device)
    arguments = {"inputs_embeds": noise, "position_ids": positions, "use_cache": False}
    index = torch.tensor(KEPT, device=device)
    mask = torch.zeros_like(positions).scatter(1, index, 1)
    entry = Recorder(decoder, decoder).entry(**arguments)
    cos, sin = entry.rotary
    norm = decoder.norm
    few, fewer = _pick(entry.hidden, index), (_pick(cos, index), _pick(sin, index))

    def driven(number: int, hidden: Tensor, rotary: Rotary) -> Tensor:
        mask = causal_mask(adapter, hidden, None)
        out: Tensor = norm(adapter.run_layer(number, hidden, rotary, mask))
        return out

    _require_same(adapter, "around its layers", _alone(decoder)(**arguments), norm(entry.hidden))
    tried: set[Any] = set()
    for number, layer in enumerate(adapter.decoder.layers):
        kind = _kind(layer)
        if kind in tried:
            continue
        tried.add(kind)
        alone = _alone(decoder, number)
        with in_one_sentence(
            type(adapter),
            adapter.model,
            f"layer {number} cannot be run on hidden states, rotary tables and a mask alone",
        ):
            dense, dropped = driven(number, entry.hidden, entry.rotary), driven(number, few, fewer)
        _require_same(adapter, f"behind layer {number}", alone(**arguments), dense)
        masked = _pick(alone(**arguments, attention_mask=mask).last_hidden_state, index)
        where = f"behind layer {number}, with half of the tokens dropped,"
        _require_same(adapter, where, masked, dropped)
        with in_one_sentence(
            type(adapter), adapter.model, f"pruners cannot ask the attention of layer {number}"
        ):
            _require_ranking(adapter, number, entry)


def _require_same(adapter: Adapter, where: str, own: Any, driven: Tensor) -> None:
    """Raise `UnsupportedError` where a decoder's own output and the driven one differ."""
    states = own if isinstance(own, Tensor) else own.last_hidden_state
    difference = float((states - driven).abs().max() / states.abs().max())
    if not difference <= TOLERANCE.get(adapter.model.dtype, 1e-3):
        raise UnsupportedError(
            f"{type(adapter.model).__name__}: driven layer by layer, its decoder's output {where} "
            f"differs by {difference:.2g} from its own, so it does something that the "
            f"{adapter.family} adapter does not know of; write an adapter that does "
            "(docs/tutorials/plug-in-a-vlm.md)"
        )


def masked_logits(adapter: Adapter, inputs: Mapping[str, Tensor], kept: Sequence[Tensor]) -> Tensor:
    """The model's own logits where layer l attends only to tokens in `kept[l]`, bool [B, T] each.

    This is what dropping means in a decoder that only attends. All tokens go through all layers, by
    eager attention, in a view of the unmodified model.
    """
    view = view_of(adapter.model)
    decoder: Any = counterpart(adapter.model, view, adapter.decoder)
    shared = decoder.config
    eager = copy.deepcopy(shared)
    eager._attn_implementation = "eager"
    for module in decoder.modules():
        if getattr(module, "config", None) is shared:
            module.config = eager

    def masked(layer: Any, *args: Any, **kwargs: Any) -> Any:
        mask, own = kwargs["attention_mask"], type(layer).__mro__[1]
        # eager attention normalises in float32, where the lowest float64 would be infinite
        lowest = max(torch.finfo(mask.dtype).min, torch.finfo(torch.float32).min)
        hidden = ~kept[layers.index(layer)][:, None, None]
        kwargs["attention_mask"] = mask.masked_fill(hidden, lowest).clamp(min=lowest)
        return own.forward(layer, *args, **kwargs)  # type: ignore[attr-defined]

    layers = list(decoder.layers)
    for layer in layers:
        become(layer, masked, "Masked")
    logits: Tensor = view(**inputs, **position_arguments(adapter, inputs), use_cache=False).logits
    return logits


def _require_ranking(adapter: Adapter, number: int, entry: Entry) -> None:
    """Raise `UnsupportedError` where queries or keys that pruners ask are not the layer's own."""
    if type(adapter).attention_states is not Adapter.attention_states:
        return  # an adapter that asks in a way of its own answers for it, in its contract suite
    attention = _own_attention(adapter, number, entry.hidden, entry.rotary)
    if attention is None:
        raise UnsupportedError(
            f"the attention of {type(adapter.model).__name__} hands out no keys or weights, so the "
            f"ranking of tokens cannot be compared with it; {RANKING}"
        )
    keys, weights = attention
    hidden, rotary = entry.hidden, entry.rotary
    cos, sin = rotary
    later = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=weights.device).triu(1)
    several = attention_logits(adapter, number, hidden, rotary, keys).masked_fill(later, -torch.inf)
    one = attention_logits(adapter, number, hidden[:, -1:], (cos[:, -1:], sin[:, -1:]), keys)
    again = adapter.attention_states("keys", number, hidden, rotary)
    eps = torch.finfo(weights.dtype).eps
    for computed, own in (
        (several.softmax(-1), weights),
        (one[:, :, 0].softmax(-1), weights[:, :, -1]),
        (again, keys),
    ):
        last = own[..., -1, :]
        spread = float(last.max() - last.min())
        difference = float((computed - own).abs().max()) - 16 * eps
        if not difference <= TOLERANCE.get(weights.dtype, 1e-3) * spread:
            raise UnsupportedError(
                f"{type(adapter.model).__name__}: the attention that pruners rank by differs from "
                f"the model's weights in layer {number} by {difference:.2g}; {RANKING}"
            )


def _alone(decoder: Any, number: int | None = None) -> Any:
    """A view of a decoder in which layers other than `number` hand on their hidden states."""
    twin = view_of(decoder)

    def hand_on(_: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if args else kwargs["hidden_states"]

    for index, layer in enumerate(twin.layers):
        if index != number:
            become(layer, hand_on, "Passing")
    return twin


def _kind(layer: nn.Module) -> tuple[object, ...]:
    """Signature of layers that differ in weights only: modules and settings."""
    return tuple(
        (
            name,
            type(module),
            tuple((k, v) for k, v in vars(module).items() if _is_setting(k, v)),
            tuple((k, v.shape) for k, v in module.named_parameters(recurse=False)),
        )
        for name, module in layer.named_modules()
    )


def _is_setting(name: str, value: object) -> bool:
    own = ("idx", "index", "number", "_id")
    return isinstance(value, int | float | str | None) and not name.endswith(own)


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """Rows of [B, T, c] at int64 [B, n]: [B, n, c]."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


@contextmanager
def in_one_sentence(
    family: type[Adapter], model: PreTrainedModel, what: str = "it cannot be driven"
) -> Iterator[None]:
    """Turn exceptions of an unknown family's own code, in `what`, into `UnsupportedError`."""
    try:
        yield
    except ParetopruneError:
        raise
    except UNFORESEEN as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(
            f"{type(model).__name__}: {what} by the {family.family} adapter: {plain(lines[0])}; "
            "it needs an adapter of its own (docs/tutorials/plug-in-a-vlm.md)"
        ) from error


def require(adapter: Adapter) -> Adapter:
    """The adapter itself; raises `UnsupportedError` with one sentence if `verify` finds a fault."""
    problem = verify(adapter).problem
    if problem is not None:
        raise UnsupportedError(f"{type(adapter.model).__name__}: {problem}")
    return adapter


def _all_layers(adapter: Adapter, prefill: Prefill) -> Tensor:
    """Hidden states behind the last layer with every token kept, [B, T, hidden]."""
    hidden = prefill.hidden
    valid = None if bool(prefill.valid.all()) else prefill.valid
    mask = causal_mask(adapter, hidden, valid)
    for index in range(adapter.spec.layers):
        hidden = adapter.run_layer(index, hidden, prefill.rotary, mask)
    return hidden


def _flops(adapter: Adapter, prefill: Prefill) -> float:
    """Relative difference between the cost model and PyTorch's count, for one sequence."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _all_layers(adapter, prefill)
    length = prefill.hidden.shape[1]
    expected = adapter.spec.layers * float(layer_cost(adapter.spec, length))
    return abs(float(counter.get_total_flops()) - expected) / expected


def _attention(adapter: Adapter, prefill: Prefill) -> float | None:
    """Largest difference between `attention_logits` and eager attention, last token of layer 0.

    None where the family's attention returns no weights, or cannot be asked for them.
    """
    hidden, (cos, sin) = prefill.hidden, prefill.rotary
    attention = _own_attention(adapter, 0, hidden, prefill.rotary)
    if attention is None:
        return None
    keys, weights = attention
    last = cos[:, -1:], sin[:, -1:]
    logits = attention_logits(adapter, 0, hidden[:, -1:], last, keys)[:, :, 0]
    return float((logits.softmax(-1) - weights[:, :, -1]).abs().max())


def _own_attention(
    adapter: Adapter, number: int, hidden: Tensor, rotary: Rotary
) -> tuple[Tensor, Tensor] | None:
    """Keys [B, kv_heads, T, head_dim] of a layer, and its eager attention [B, heads, T, T].

    None where the family's attention does not hand out either of them.
    """
    layer, recorder = adapter.decoder.layers[number], RecordingCache()
    adapter.run_layer(number, hidden, rotary, causal_mask(adapter, hidden, None), recorder)
    if recorder.keys is None or not hasattr(layer, "self_attn"):
        return None
    try:
        eager = view_of(layer.self_attn)
    except UnsupportedError:
        return None
    eager.config = copy.copy(eager.config)
    eager.config._attn_implementation = "eager"
    length = hidden.shape[1]
    lowest = torch.finfo(hidden.dtype).min
    mask = torch.full((1, 1, length, length), lowest, dtype=hidden.dtype, device=hidden.device)
    weights = eager(
        layer.input_layernorm(hidden), position_embeddings=rotary, attention_mask=mask.triu(1)
    )[1]
    return None if weights is None else (recorder.keys, weights)
