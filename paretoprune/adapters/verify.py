"""Checks of an adapter on a loaded model: does driving the layers give the model's own results?"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.views import Recorder, view_of
from paretoprune.cost import layer_cost
from paretoprune.errors import ParetopruneError, UnsupportedError

PROMPTS = ("what is this ?", "is there a red circle at the top left , and what is beside it ?")
SIZES = ((96, 96), (64, 96))
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.03}
"""Largest difference in logits that rounding explains, as a share of the largest logit."""

UNFORESEEN = (
    TypeError, ValueError, AttributeError, LookupError, RuntimeError, ArithmeticError,
    AssertionError, ImportError, OSError,
)  # fmt: skip
"""What a strange family's own code may raise when it is called as the others are."""


@dataclass(frozen=True)
class Verification:
    """What was compared, on `batch` noise pictures with prompts of different lengths.

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
        """What is wrong, in one clause; None if nothing."""
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
    try:
        return _verify(adapter)
    except ParetopruneError:
        raise
    except UNFORESEEN as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(
            f"{type(adapter.model).__name__} cannot be driven by the {adapter.family} adapter: "
            f"{lines[0]}"
        ) from error


def _verify(adapter: Adapter) -> Verification:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    differences = {}
    with torch.no_grad():
        for side in ("left", "right"):
            inputs = adapter.inputs(pictures, PROMPTS, padding_side=side)
            prefill = adapter.prefill(inputs)
            positions = adapter.positions(inputs)
            at = {} if positions is None else {"position_ids": positions}
            own = adapter.model(**inputs, **at, use_cache=False).logits
            mine = adapter.head(_all_layers(adapter, prefill))
            valid = prefill.valid
            scale = float(own[valid].abs().max())
            differences[side] = float((own[valid] - mine[valid]).abs().max()) / max(scale, 1e-9)
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


def verify_decoder(adapter: Adapter) -> None:
    """Check the decoder alone, on noise: driven layer by layer it must give its own output.

    For models that come without tokenizer and image processor. Raises `UnsupportedError`.
    """
    decoder, config = adapter.decoder, adapter.decoder.config
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 9, config.hidden_size, generator=generator)
    noise = noise.to(adapter.model.device, adapter.model.dtype)
    with torch.no_grad():
        own = decoder(inputs_embeds=noise, use_cache=False).last_hidden_state
        entry = Recorder(decoder, decoder).entry(inputs_embeds=noise, use_cache=False)
        valid = torch.ones(noise.shape[:2], dtype=torch.bool, device=noise.device)
        start = Prefill(entry.hidden, entry.rotary, ~valid, valid, valid.sum(1) - 1)
        mine = decoder.norm(_all_layers(adapter, start))
    difference = float((own - mine).abs().max() / own.abs().max())
    if not difference <= TOLERANCE.get(adapter.model.dtype, 1e-3):
        raise UnsupportedError(
            f"{type(adapter.model).__name__}: driven layer by layer, its decoder's output differs "
            f"by {difference:.2g} from its own, so it does something that the generic adapter does "
            "not know of"
        )


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
    mask = adapter.causal_mask(hidden, valid)
    for index in range(adapter.spec.layers):
        hidden = adapter.run_layer(index, hidden, prefill.rotary, mask)
    return hidden


def _flops(adapter: Adapter, prefill: Prefill) -> float:
    """Relative difference between the cost model and what PyTorch counts, one sequence."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _all_layers(adapter, prefill)
    length = prefill.hidden.shape[1]
    expected = adapter.spec.layers * float(layer_cost(adapter.spec, length))
    return abs(float(counter.get_total_flops()) - expected) / expected


class _Keys:
    """Stands where a cache would and remembers rotated keys."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        self.keys = keys
        return keys, values


def _attention(adapter: Adapter, prefill: Prefill) -> float | None:
    """Largest difference between `query_logits` and eager attention, last token of layer 0.

    None where the family's attention returns no weights, or cannot be asked for them.
    """
    layer, hidden = adapter.layers[0], prefill.hidden
    recorder = _Keys()
    adapter.run_layer(0, hidden, prefill.rotary, adapter.causal_mask(hidden, None), recorder)
    if recorder.keys is None or not hasattr(layer, "self_attn"):
        return None
    cos, sin = prefill.rotary
    mine = adapter.query_logits(0, hidden[:, -1], (cos[:, -1], sin[:, -1]), recorder.keys)
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
        layer.input_layernorm(hidden),
        position_embeddings=prefill.rotary,
        attention_mask=mask.triu(1),
    )[1]
    if weights is None:
        return None
    return float((mine.softmax(-1) - weights[:, :, -1]).abs().max())
