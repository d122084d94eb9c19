"""Memory and seconds of a gradient step, before a run starts, for a model of any size.

The model is built from its configuration on the meta device, without weights. Steps through two and
three layers of its kind (`step_trial`) say what a layer needs; the rest is arithmetic. Memory is
counted on the meta device, or asked of the GPU where `device` is one. Time is measured on `device`,
on a CPU with fewer rows and tokens where all would take long, and scaled by FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from paretoprune.adapters.model_access import decoder_spec
from paretoprune.compression.prefill_store import DEFAULT_BYTES
from paretoprune.compression.split import DEFAULT_DENSE_BYTES
from paretoprune.compression.step_trial import DENSE, MAX_TRIAL_LAYERS, MIN_TRIAL_LAYERS, StepTrial
from paretoprune.core.out_of_memory import give_back
from paretoprune.cost import DecoderSpec, layer_cost
from paretoprune.errors import BrokenFileError, UnknownNameError, UnsupportedError, plain
from paretoprune.pruning.policies.base import Policy
from paretoprune.search.gradient.base import GradientStrategy
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.search.hybrid import Hybrid
from paretoprune.search.specs import StrategySpec
from paretoprune.zoo.load import DTYPES, FOREIGN, find_checkpoint, find_device

BACKWARD = 2.0
"""A backward pass costs two forward passes."""
TOKENS = {"visual": 576, "text": 64}
"""Tokens of a sample where the configuration does not say: LLaVA-1.5's."""
TIMED_FLOPS = {"cpu": 1.5e11}
"""FLOPs of a timed step, at most, by type of device."""
MIN_TIMED_TOKENS = 32
"""Tokens of a timed sample, at least."""


class StepOptions(Protocol):
    """The settings of a gradient strategy that concern its steps."""

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
    """Cost of one gradient step: bytes of device memory, FLOPs, and seconds on `device`.

    `saved` is the memory that the backward pass keeps of one micro-batch at the dense end of the
    range of budgets, its maximum. `working` is all other memory at the peak. `measured` says
    whether both were measured on a GPU. `split` is the limit of prefills and dense states, in
    addition. `teraflops` is the speed of steps. `step_seconds` is for a batch whose budgets
    are spread over the range, at `average` of the dense compute. `predictor` is the number of
    parameters of the network that is trained, None without one, and `deciding` what it costs once,
    as a share of the dense decoder's compute.
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
    measured: bool
    split: int
    average: float
    step_flops: float
    teraflops: float
    predictor: int | None
    deciding: float

    @property
    def peak(self) -> int:
        """Bytes of weights, tensors saved for backward, and other memory at the peak of a step."""
        return self.weights + self.saved + self.working

    @property
    def step_seconds(self) -> float:
        """Seconds per gradient step of the whole batch."""
        return self.step_flops / (self.teraflops * 1e12)


def gradient_strategy(name: str) -> GradientStrategy:
    """The strategy called `name` whose gradient steps are planned; of a hybrid, its gradient part.

    Raises `UnsupportedError` for one without gradient steps.
    """
    strategy = StrategySpec.parse(name).build()
    if isinstance(strategy, Hybrid):
        strategy = strategy.gradient
    if not isinstance(strategy, GradientStrategy):
        raise UnsupportedError(
            "--plan plans strategies that take gradient steps, such as 'gradient' and 'adaptive', "
            f"not {name!r}"
        )
    return strategy


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
    there is no configuration, `UnsupportedError` for a decoder that cannot be run by itself, and
    `UnknownNameError` or `InvalidValueError` for a dtype or device that is not there.
    """
    strategy = strategy or LagrangianSearch()
    options: StepOptions = strategy.options
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    place = find_device(device)
    built = _on_meta(model, DTYPES[dtype], trust_remote_code)
    decoder = built.get_decoder()
    spec = decoder_spec(decoder)
    visual = visual or _visual_tokens(built.config)
    micro = min(options.micro_batch, options.batch)
    trial = StepTrial(built, DTYPES[dtype], options.checkpoint, strategy.tokens_leave)
    few, layer, measured = _memory(trial, place, micro, visual, text)
    average = 0.5 if strategy.tokens_leave else 1.0
    flops = step_flops(spec, options, visual + text, average)
    if teraflops is None:
        seconds = _seconds(trial, spec, options, place, visual, text, average)
        teraflops = flops / seconds / 1e12
    policy = strategy.untrained(spec)
    return StepPlan(
        model=model, parameters=sum(p.numel() for p in built.parameters()), dtype=dtype,
        device=device, layers=spec.layers, visual=visual, text=text, batch=options.batch,
        micro_batch=micro, checkpoint=options.checkpoint,
        weights=sum(p.numel() * p.element_size() for p in built.parameters()),
        saved=(spec.layers - DENSE) * layer,
        working=max(few - (MIN_TRIAL_LAYERS - DENSE) * layer, 0),
        measured=measured, split=DEFAULT_BYTES + DEFAULT_DENSE_BYTES,
        average=average, step_flops=flops, teraflops=teraflops,
        predictor=None if policy is None else sum(p.numel() for p in policy.net.parameters()),
        deciding=0.0 if policy is None else deciding_share(spec, policy, visual, text),
    )  # fmt: skip


def _memory(
    trial: StepTrial, device: torch.device, micro: int, visual: int, text: int
) -> tuple[int, int, bool]:
    """Bytes of a step through a few layers, of each further one, and whether a GPU was asked."""
    if device.type == "cuda":
        try:
            return *trial.memory(device, micro, visual, text), True
        except torch.OutOfMemoryError:
            give_back()
    return *trial.memory(torch.device("meta"), micro, visual, text), False


def _seconds(
    trial: StepTrial,
    spec: DecoderSpec,
    options: StepOptions,
    device: torch.device,
    visual: int,
    text: int,
    average: float,
) -> float:
    """Seconds of a step of the whole batch on this device, from trials no longer than allowed."""
    rows, share = min(options.micro_batch, options.batch), 1.0
    most = TIMED_FLOPS.get(device.type, float("inf"))
    passes = options.forward_passes + BACKWARD + options.checkpoint

    def flops(rows: int, share: float) -> float:
        tokens = round(share * visual) + round(share * text)
        return rows * passes * average * MAX_TRIAL_LAYERS * float(layer_cost(spec, tokens))

    while flops(rows, share) > most and rows > 1:
        rows = (rows + 1) // 2
    while flops(rows, share) > most and share * (visual + text) > 2 * MIN_TIMED_TOKENS:
        share /= 2
    few, layer, rows = _timed(trial, device, rows, round(share * visual), round(share * text))
    whole = (few + (spec.layers - MIN_TRIAL_LAYERS) * layer) * flops(1, 1.0) / flops(1, share)
    return options.batch / rows * whole


def _timed(
    trial: StepTrial, device: torch.device, rows: int, visual: int, text: int
) -> tuple[float, float, int]:
    """Seconds of a few layers and of each further one, and the number of rows, which fit."""
    while True:
        try:
            return *trial.seconds(device, rows, visual, text), rows
        except torch.OutOfMemoryError as error:
            if rows == 1:
                raise UnsupportedError(
                    f"a few layers of this model with one sample do not fit on {device}, so no "
                    "step can be timed there"
                ) from error
        give_back()
        rows = (rows + 1) // 2


def step_flops(spec: DecoderSpec, options: StepOptions, tokens: int, average: float) -> float:
    """FLOPs of a step whose samples cost `average` of dense on average."""
    passes = options.forward_passes + BACKWARD + options.checkpoint
    return options.batch * passes * average * spec.layers * float(layer_cost(spec, tokens))


def deciding_share(spec: DecoderSpec, policy: Policy, visual: int, text: int) -> float:
    """Compute of a policy on one sample, relative to the dense decoder's."""
    total = np.array([visual + text])
    own = policy.flops(spec, total, np.array([visual]), np.array([text]))
    return float(own[0]) / (spec.layers * float(layer_cost(spec, visual + text)))


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
    except FOREIGN as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BrokenFileError(
            f"cannot read the configuration of model {model!r}: {plain(reason)}"
        ) from error
    return built.to(dtype).requires_grad_(False)


def _visual_tokens(config: Any) -> int:
    """Visual tokens per picture by the configuration, else LLaVA-1.5's."""
    found = getattr(config, "image_seq_length", None)
    return int(found) if isinstance(found, int) and found > 0 else TOKENS["visual"]
