"""A gradient step through a few layers of a model's own kind, to predict the cost of all.

The layers come from the model's configuration, with random weights; the soft decoder that runs them
is the one that a search runs. On the meta device nothing is computed, and memory is counted from
every tensor that an operation makes, for as long as it lives: there attention keeps its weights,
[heads, T, T] per sample, which fused kernels of a GPU do not. On a GPU its allocator is asked.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.cost.memory import peak_bytes
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.decoder import Executed
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.pruning.score_soft import run_score_soft
from paretoprune.pruning.soft import run_masked, run_soft
from paretoprune.pruning.tokens import Tokens
from paretoprune.zoo.load import adapter_class

T = TypeVar("T")

MIN_TRIAL_LAYERS, MAX_TRIAL_LAYERS = 2, 3
"""Layers of the two trials; their difference is the cost of one layer."""
DENSE = FastV.first_layer
"""Dense layers of the trials: no mask reaches them, and they save nothing for backward."""
TIMED = 3
TAU = 1.0
"""Width of the masks in tokens: that of a search's last steps."""
RATIO = 0.5
"""Keep ratio of the timed rows: the middle of the budgets."""


@dataclass(frozen=True)
class StepTrial:
    """The trial's model, on the meta device, and a strategy's settings of a step.

    `tokens_leave` says whether cheap rows are short; else masks are those of score space.
    """

    model: Any
    dtype: torch.dtype
    checkpoint: bool
    tokens_leave: bool

    def memory(self, device: torch.device, rows: int, visual: int, text: int) -> tuple[int, int]:
        """Bytes that a micro-batch of dense `rows` holds at its peak, beyond weights and prefill.

        Returns the bytes of a decoder of `MIN_TRIAL_LAYERS` layers, and those of each further
        layer. Raises `UnsupportedError` for layers that cannot be run by themselves.
        """
        held = []
        for layers in (MIN_TRIAL_LAYERS, MAX_TRIAL_LAYERS):
            adapter = _tried(partial(self._adapter, layers, device))
            step = self._dense_step(adapter, _prefill(adapter, device, rows, visual, text))
            if device.type != "meta":
                step()  # libraries take their workspace once
            held.append(_tried(partial(peak_bytes, device, step)))
        return held[0], max(held[1] - held[0], 0)

    def seconds(
        self, device: torch.device, rows: int, visual: int, text: int
    ) -> tuple[float, float]:
        """Seconds of a step of `rows`, at the middle of the budgets, as medians.

        Returns the seconds of `MIN_TRIAL_LAYERS` layers, and those of each further layer. Raises
        `UnsupportedError` as `memory` does.
        """
        taken = []
        for layers in (MIN_TRIAL_LAYERS, MAX_TRIAL_LAYERS):
            adapter = _tried(partial(self._adapter, layers, device))
            step = self._real_step(adapter, _prefill(adapter, device, rows, visual, text))
            taken.append(_tried(partial(_median, step, device)))
        return taken[0], max(taken[1] - taken[0], 0.0)

    def _adapter(self, layers: int, device: torch.device) -> Adapter:
        """An adapter of the model whose decoder has `layers` layers on the device, all the same."""
        model = copy.deepcopy(self.model)
        adapter = adapter_class(model.config.model_type)(model, None, None)
        layer = adapter.decoder.layers[-1].to_empty(device=device)
        for weight in layer.parameters():
            torch.nn.init.constant_(weight, 1.0) if weight.dim() == 1 else _random(weight)
        adapter.decoder.layers = torch.nn.ModuleList([layer] * layers)
        adapter.spec = replace(adapter.spec, layers=layers)
        return adapter

    def _dense_step(self, adapter: Adapter, prefill: Prefill) -> Callable[[], object]:
        """Forward and backward where all tokens stay, under masks that need a gradient."""
        origin = torch.arange(prefill.hidden.shape[1], device=prefill.hidden.device)
        first = Tokens(
            prefill.hidden, prefill.rotary, origin.expand(len(prefill.hidden), -1),
            prefill.visual, None, prefill.prompt_end, origin[: len(prefill.hidden)],
        )  # fmt: skip

        def step() -> object:
            soft = torch.ones(
                first.visual.shape, dtype=torch.float64, device=origin.device, requires_grad=True
            )
            tokens, meter = first, Executed()
            for layer in range(adapter.spec.layers):
                weight = None if layer < DENSE else soft
                hard = None if weight is None else weight.detach()
                tokens = run_masked(
                    tokens, adapter, layer, weight, hard, self.tokens_leave, meter, self.checkpoint
                )
            return torch.autograd.grad(tokens.hidden.float().sum(), soft)

        return step

    def _real_step(self, adapter: Adapter, prefill: Prefill) -> Callable[[], object]:
        """Forward and backward as a search does it: tokens are ranked, and leave."""
        shape, device = (len(prefill.hidden), adapter.spec.layers), prefill.hidden.device

        def step() -> object:
            ratios = torch.full(
                shape, RATIO, dtype=torch.float64, device=device, requires_grad=True
            )
            if self.tokens_leave:
                after = run_soft(
                    adapter, prefill, ratios, FastV(), tau=TAU, checkpoint=self.checkpoint
                )
            else:
                after = run_score_soft(
                    adapter, prefill, ratios, FastV(), temperature=TAU, checkpoint=self.checkpoint
                )
            return torch.autograd.grad(after.hidden.float().sum(), ratios)

        return step


def _prefill(adapter: Adapter, device: torch.device, rows: int, visual: int, text: int) -> Prefill:
    """`rows` samples of `visual` tokens, then `text` ones, with random hidden states."""
    length, spec = visual + text, adapter.spec
    like: dict[str, Any] = {"device": device, "dtype": adapter.model.dtype}
    hidden = torch.empty(rows, length, spec.hidden, **like)
    _random(hidden)
    turn = torch.ones(rows, length, spec.head_dim, **like)
    positions = torch.arange(length, device=device).expand(rows, -1)
    return Prefill(
        hidden, (turn, turn), positions < visual, torch.ones_like(positions, dtype=torch.bool),
        torch.full((rows,), length - 1, device=device),
    )  # fmt: skip


def _random(values: Tensor) -> None:
    """Small normal values, in place; drawn here and there only: they are not looked at."""
    if values.device.type == "meta":
        return
    generator = torch.Generator(values.device).manual_seed(0)
    few = torch.randn(min(values.numel(), 1 << 16), generator=generator, device=values.device)
    with torch.no_grad():
        flat = values.view(-1)
        times = -(-flat.numel() // few.numel())
        flat.copy_((0.02 * few).repeat(times)[: flat.numel()])


def _median(step: Callable[[], object], device: torch.device) -> float:
    """Seconds of a step, the median of a few after one that warms up."""
    taken = []
    for _ in range(1 + TIMED):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def _tried(call: Callable[[], T]) -> T:
    try:
        return call()
    except torch.OutOfMemoryError:
        raise
    except (TypeError, RuntimeError, ValueError, AttributeError, KeyError, IndexError) as error:
        raise UnsupportedError(
            f"a layer of this model cannot be planned by itself: {error}"
        ) from error
