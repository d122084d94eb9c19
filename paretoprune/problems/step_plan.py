"""What a gradient step needs, before a run starts: memory and seconds, for a model of any size.

The model is built from its configuration on the meta device, without weights. One decoder layer
runs there under a mask that a gradient passes through, and what autograd keeps for the backward
pass is counted, byte for byte: the model's own code says what it keeps. The rest is arithmetic: the
weights, the layers of a micro-batch, and the FLOPs of the step over the speed of this device, which
a matrix product of the model's own size measures.

Attention is counted with its weights kept, [heads, T, T] per sample, which is what PyTorch does
where a gradient passes through the mask and no fused kernel takes it: an upper bound.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText

from paretoprune.adapters.base import decoder_spec
from paretoprune.adapters.load import DTYPES, find_checkpoint
from paretoprune.cost import DecoderSpec, layer_cost
from paretoprune.errors import BrokenFileError, UnknownNameError, UnsupportedError
from paretoprune.policies.base import Policy
from paretoprune.search.gradient.base import GradientStrategy
from paretoprune.search.lagrangian import LagrangianSearch

BACKWARD = 2.0
"""A backward pass costs two forward passes."""
TOKENS = {"visual": 576, "text": 64}
"""Tokens of a sample where the configuration does not say: LLaVA-1.5's."""
TIMED = 3


class StepOptions(Protocol):
    """What the settings of a gradient strategy say of its steps."""

    @property
    def batch(self) -> int:
        """Samples of a step."""

    @property
    def micro_batch(self) -> int:
        """Of them, those in memory at a time."""

    @property
    def checkpoint(self) -> bool:
        """Whether the backward pass runs each layer once more."""

    @property
    def forward_passes(self) -> int:
        """Of the decoder, per step."""


@dataclass(frozen=True)
class StepPlan:
    """What one gradient step needs. Bytes of device memory, FLOPs, and seconds on `device`.

    `saved` is what the backward pass keeps of one micro-batch at the dense end of the range of
    budgets, where it is most; `teraflops` is the measured speed. `step_seconds` is for a batch
    whose budgets are spread over the range, at `average` of the dense compute. `predictor` is the
    number of parameters of the network that is trained, None without one, and `deciding` what it
    costs once, as a share of the dense decoder's compute.
    """

    model: str
    parameters: int
    dtype: str
    device: str
    layers: int
    visual: int
    text: int
    batch: int
    micro_batch: int
    checkpoint: bool
    weights: int
    saved: int
    working: int
    average: float
    step_flops: float
    teraflops: float
    predictor: int | None
    deciding: float

    @property
    def peak(self) -> int:
        """Weights, what the backward pass keeps, and one layer's working memory."""
        return self.weights + self.saved + self.working

    @property
    def step_seconds(self) -> float:
        """Seconds per gradient step of the whole batch."""
        return self.step_flops / (self.teraflops * 1e12)


def plan_step(
    model: str,
    strategy: GradientStrategy | None = None,
    *,
    dtype: str = "bfloat16",
    device: str = "cpu",
    visual: int | None = None,
    text: int = TOKENS["text"],
    teraflops: float | None = None,
    trust_remote_code: bool = False,
) -> StepPlan:
    """Plan a gradient step of `strategy`, by default `gradient`, on `model`.

    Of the model only the configuration is read. `visual` tokens per sample default to what it says,
    else to LLaVA-1.5's; with `teraflops` given, nothing is timed. Raises `BrokenFileError` where
    there is no configuration and `UnsupportedError` for a decoder that cannot be run by itself.
    """
    strategy = strategy or LagrangianSearch()
    options: StepOptions = strategy.options
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    built = _on_meta(model, DTYPES[dtype], trust_remote_code)
    decoder = built.get_decoder()
    spec = decoder_spec(decoder)
    tokens = (visual or _visual_tokens(built.config)) + text
    micro = min(options.micro_batch, options.batch)
    element = DTYPES[dtype].itemsize
    layer = saved_bytes(decoder, micro, tokens, DTYPES[dtype])
    kept_input = micro * tokens * spec.hidden * element
    saved = spec.layers * kept_input + layer if options.checkpoint else spec.layers * layer
    speed = teraflops or measured_teraflops(spec, tokens, DTYPES[dtype], device)
    average = 0.5 if strategy.tokens_leave else 1.0
    policy = strategy.untrained(spec)
    return StepPlan(
        model=model, parameters=sum(p.numel() for p in built.parameters()), dtype=dtype,
        device=device, layers=spec.layers, visual=tokens - text, text=text, batch=options.batch,
        micro_batch=micro, checkpoint=options.checkpoint,
        weights=sum(p.numel() * p.element_size() for p in built.parameters()),
        saved=saved, working=layer, average=average,
        step_flops=step_flops(spec, options, tokens, average), teraflops=speed,
        predictor=None if policy is None else sum(p.numel() for p in policy.net.parameters()),
        deciding=0.0 if policy is None else deciding_share(spec, policy, tokens - text, text),
    )  # fmt: skip


def step_flops(spec: DecoderSpec, options: StepOptions, tokens: int, average: float) -> float:
    """FLOPs of a step whose samples cost `average` of dense on average."""
    passes = options.forward_passes + BACKWARD + options.checkpoint
    return options.batch * passes * average * spec.layers * float(layer_cost(spec, tokens))


def deciding_share(spec: DecoderSpec, policy: Policy, visual: int, text: int) -> float:
    """What a policy costs on one sample, as a share of the dense decoder's compute."""
    total = np.array([visual + text])
    own = policy.flops(spec, total, np.array([visual]), np.array([text]))
    return float(own[0]) / (spec.layers * float(layer_cost(spec, visual + text)))


def saved_bytes(decoder: Any, batch: int, tokens: int, dtype: torch.dtype) -> int:
    """Bytes that autograd keeps of one layer for `batch` samples of `tokens` tokens."""
    layer = decoder.layers[0]
    spec = decoder_spec(decoder)
    weights = {p.untyped_storage()._cdata for p in layer.parameters()}
    seen: dict[int, int] = {}
    alive: list[Tensor] = []  # an address may come again once its owner is gone

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            seen[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.device("meta"):
        hidden = torch.empty(batch, tokens, spec.hidden, dtype=dtype, requires_grad=True)
        bias = torch.empty(batch, 1, tokens, tokens, dtype=dtype, requires_grad=True)
        turn = torch.empty(batch, tokens, spec.head_dim, dtype=dtype)
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            layer(hidden, attention_mask=bias, position_embeddings=(turn, turn))
    except (TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise UnsupportedError(
            f"a layer of type {type(layer).__name__} cannot be planned by itself: {error}"
        ) from error
    return sum(seen.values())


def measured_teraflops(spec: DecoderSpec, tokens: int, dtype: torch.dtype, device: str) -> float:
    """Speed of the MLP's first matrix product on this device, in TFLOP/s, the best of a few."""
    width = min(spec.mlp, 4 * spec.hidden)
    x = torch.ones(tokens, spec.hidden, dtype=dtype, device=device)
    w = torch.ones(spec.hidden, width, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(TIMED):
        started = time.perf_counter()
        y = x @ w
        float(y[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * tokens * spec.hidden * width / best / 1e12


def _on_meta(model: str, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    source, local = find_checkpoint(model)
    try:
        config = AutoConfig.from_pretrained(
            source, local_files_only=local, trust_remote_code=trust_remote_code
        )
        with torch.device("meta"):
            built = AutoModelForImageTextToText.from_config(
                config, trust_remote_code=trust_remote_code
            )
    except (OSError, ValueError, RuntimeError, ImportError, LookupError, TypeError) as error:
        raise BrokenFileError(
            f"cannot read the configuration of model {model!r}: {str(error).splitlines()[0]}"
        ) from error
    return built.to(dtype).requires_grad_(False)


def _visual_tokens(config: Any) -> int:
    """What the configuration says of visual tokens per picture, else LLaVA-1.5's."""
    found = getattr(config, "image_seq_length", None)
    return int(found) if isinstance(found, int) and found > 0 else TOKENS["visual"]
