"""Latency of a quantised model: predicted from measured times of its linear layers, then measured.

    predicted = base + sum over linear layers of t(shape, bits)

`t` is the measured time of one layer on the input that it gets in a forward pass of one sample, and
`base` what the forward pass of the 16-bit view takes beyond its linear layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paretoprune.core.capabilities import Measurement
from paretoprune.cost.timing import Timing, interleaved, why_not_reported
from paretoprune.techniques.bits.quantised import Quantiser

REPEATS = 15
Shape = tuple[int, ...]


class QuantisedTimer:
    """Times one forward pass of quantised views; layers of one shape are timed once."""

    def __init__(
        self, quantiser: Quantiser, inputs: Mapping[str, Any], bits: Sequence[int]
    ) -> None:
        self.quantiser = quantiser
        self.inputs = dict(inputs)
        device = next(quantiser.model.parameters()).device
        self.device = device
        cuda = device.type == "cuda"
        self._synchronize: Callable[[], None] | None = torch.cuda.synchronize if cuda else None
        self._shapes = self._shapes_of_inputs()
        self._times = self._layer_times(sorted({*bits, 16}))
        (whole,) = self.time([dict.fromkeys(quantiser.parts.paths, 16)])
        linear = sum(self._times[shape, 16] for shape in self._shapes.values())
        self.base_ms = max(0.0, whole.median_ms - linear)

    def _shapes_of_inputs(self) -> dict[str, Shape]:
        """Input shape and number of outputs of each layer in a forward pass."""
        shapes: dict[str, Shape] = {}

        def noting(path: str, layer: nn.Module) -> nn.Module:
            return _Noting(path, layer, shapes)

        bits = dict.fromkeys(self.quantiser.parts.paths, 16)
        self._forward(self.quantiser.view(bits, noting))
        return shapes

    def _layer_times(self, bits: Sequence[int]) -> dict[tuple[Shape, int], float]:
        """Median milliseconds by shape and bits."""
        example = {shape: path for path, shape in self._shapes.items()}
        keys = [(shape, wanted) for shape in example for wanted in bits]
        dtype = next(self.quantiser.model.parameters()).dtype
        runs: list[Callable[[], object]] = []
        for shape, wanted in keys:
            layer = self.quantiser.packed(example[shape], wanted)
            x = torch.ones(shape[:-1], dtype=dtype, device=self.device)
            runs.append(partial(layer, x))
        with torch.inference_mode():
            timings = interleaved(runs, repeats=REPEATS, synchronize=self._synchronize)
        return {key: timing.median_ms for key, timing in zip(keys, timings, strict=True)}

    @torch.inference_mode()
    def _forward(self, model: Any) -> Tensor:
        logits: Tensor = model(**self.inputs, use_cache=False).logits
        return logits

    def predict_ms(self, bits: Mapping[str, int]) -> float:
        """Predicted milliseconds of one forward pass."""
        return self.base_ms + sum(
            self._times[shape, bits[path]] for path, shape in self._shapes.items()
        )

    def time(self, choices: Sequence[Mapping[str, int]]) -> list[Timing]:
        """Forward passes of views with these bits, timed in turn."""
        runs = [partial(self._forward, self.quantiser.view(bits)) for bits in choices]
        return interleaved(runs, repeats=REPEATS, synchronize=self._synchronize)

    def measure(self, choices: Sequence[Mapping[str, int]]) -> Measurement:
        """Measured latencies, or the reason why they tell nothing apart."""
        timings = self.time(choices)
        refusal = why_not_reported(timings)
        if refusal is not None:
            return Measurement([], f"Measured latencies are not reported: {refusal}.")
        values = [
            {"measured_latency_ms": t.median_ms, "measured_latency_spread_ms": t.spread_ms}
            for t in timings
        ]
        return Measurement(
            values,
            f"Latencies of the union front were measured again on {self.device.type}: medians of "
            f"{REPEATS} interleaved runs of one sample.",
        )

    def note(self) -> str:
        """The origin of the latencies."""
        return (
            f"Latency is predicted from {len(self._times)} measured times of linear layers on "
            f"{self.device.type}, unpacking included, plus {self.base_ms:.2f} ms of everything "
            "else."
        )


class _Noting(nn.Module):
    """Notes the shape of its layer's input and output."""

    def __init__(self, path: str, layer: nn.Module, found: dict[str, Shape]) -> None:
        super().__init__()
        self.path, self.layer, self._found = path, layer, found

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        self._found[self.path] = (*x.shape, out.shape[-1])
        return out
