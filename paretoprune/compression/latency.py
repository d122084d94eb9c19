"""Times one model's pruned prefill on its device: layers, whole prefills, time to first token.

One sample at a time, as a user who waits for an answer does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.extras import prefill_for
from paretoprune.compression.configuration import Configuration
from paretoprune.core.capabilities import Measurement
from paretoprune.cost.latency import LatencyModel, LayerPoint
from paretoprune.cost.timing import Timing, interleaved, why_not_reported
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pictures import pictures_of
from paretoprune.pruning.tokens import Tokens, enter
from paretoprune.schedules import keep_counts
from paretoprune.tasks.base import Sample

TOKEN_COUNTS = 13
TIMED_LAYERS = 3
"""Points of the model: token counts x layers, a few dozen."""
REPEATS = 15


@dataclass(frozen=True)
class MeasuredLatency:
    """Prefill latency and time to first token of each schedule; `refusal` says why not to use them.

    Time to first token is vision encoder, projector, prefill and the first arg max.
    """

    prefill: list[Timing]
    first_token: list[Timing]
    refusal: str | None


class PrefillTimer:
    """Times prefills of one sample under keep schedules on the device of the model.

    `pruners` are those that may rank; each has a latency model of its own, of common layer times.
    With `per_picture` every picture of the sample keeps a token where a ratio is above 0.
    """

    def __init__(
        self,
        adapter: Adapter,
        pruners: Sequence[Pruner],
        sample: Sample,
        *,
        per_picture: bool = False,
    ) -> None:
        self.adapter = adapter
        self.per_picture = per_picture
        self.pruners = {pruner.name: pruner for pruner in pruners}
        self._needs = frozenset().union(*(pruner.needs for pruner in pruners))
        self._models: dict[str, tuple[LatencyModel, float]] = {}
        self._inputs = adapter.inputs([sample.image], [sample.prompt])
        with torch.inference_mode():
            self.prefill = self._made()
        self._pictures = pictures_of(self.prefill).cpu().numpy()
        self.visual = int(self.prefill.visual.sum())
        self.text = int(self.prefill.valid.sum()) - self.visual
        cuda = adapter.model.device.type == "cuda"
        self.synchronize: Callable[[], None] | None = torch.cuda.synchronize if cuda else None

    @property
    def device(self) -> str:
        """The timed device, as torch names it, with its number of CPU threads."""
        device = self.adapter.model.device
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
        threads = torch.get_num_threads()
        return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"

    def _made(self) -> Prefill:
        return prefill_for(self.adapter, self._inputs, needs=self._needs)

    def run(self, ratios: NDArray[np.float64], pruner: Pruner) -> Tensor:
        """Prefill under ratios `[layers]`, and the next token's arg max, int64 [1]."""
        return self._answer(self.prefill, ratios, pruner)

    def run_from_picture(self, ratios: NDArray[np.float64], pruner: Pruner) -> Tensor:
        """The same from pixels on: vision encoder and projector run, too."""
        return self._answer(self._made(), ratios, pruner)

    @torch.inference_mode()
    def _answer(self, prefill: Prefill, ratios: NDArray[np.float64], pruner: Pruner) -> Tensor:
        (leaf,) = run_population(
            self.adapter, prefill, ratios[None], pruner, per_picture=self.per_picture
        )
        last = leaf.tokens.at(prefill.prompt_end[:, None])[:, 0]
        return self.adapter.head(last).argmax(-1)

    def measure(
        self, rows: NDArray[np.float64], pruners: Sequence[Pruner], *, repeats: int = REPEATS
    ) -> MeasuredLatency:
        """Time schedules `[schedules, layers]`, each with its pruner, taking turns."""
        both = list(zip(rows, pruners, strict=True))
        with torch.inference_mode():
            runs: list[Callable[[], object]] = [partial(self.run, *one) for one in both]
            prefill = interleaved(runs, repeats=repeats, synchronize=self.synchronize)
            runs = [partial(self.run_from_picture, *one) for one in both]
            first = interleaved(runs, repeats=repeats, synchronize=self.synchronize)
        return MeasuredLatency(prefill, first, why_not_reported(prefill))

    def measured_again(self, configurations: Sequence[Configuration]) -> Measurement | None:
        """Values for the fixed schedules among these, or why there are none.

        An adaptive policy has no single schedule to time, and gets no values.
        """
        fixed = [place for place, one in enumerate(configurations) if one.policy is None]
        if not fixed:
            return None
        found = self.measure(
            np.stack([configurations[i].ratios for i in fixed]),
            [configurations[i].pruner for i in fixed],
        )
        if found.refusal is not None:
            return Measurement([], f"Measured latencies are not reported: {found.refusal}.")
        values: list[dict[str, float]] = [{} for _ in configurations]
        for place, prefill, first in zip(fixed, found.prefill, found.first_token, strict=True):
            values[place] = {
                "measured_latency_ms": prefill.median_ms,
                "measured_latency_spread_ms": prefill.spread_ms,
                "measured_first_token_ms": first.median_ms,
                "measured_first_token_spread_ms": first.spread_ms,
            }
        return Measurement(
            values,
            f"Latencies of the union front were measured again on {self.device}: medians of "
            f"{found.prefill[0].repeats} interleaved runs of one sample.",
        )

    # --- the model

    def model(self, pruner: Pruner) -> LatencyModel:
        """A latency model fitted from layer timings, calibrated on whole prefills of a pruner.

        One per name: of its settings, those that it came with.
        """
        if pruner.name not in self._models:
            self._models[pruner.name] = self._fitted(self.pruners.get(pruner.name, pruner))
        return self._models[pruner.name][0]

    def _fitted(self, pruner: Pruner) -> tuple[LatencyModel, float]:
        model = LatencyModel(self._points)
        rows = self._calibration_rows(pruner)
        tokens, drops = self.tokens_and_drops(rows)
        with torch.inference_mode():
            runs: list[Callable[[], object]] = [partial(self.run, row, pruner) for row in rows]
            timed = interleaved(runs, repeats=9, synchronize=self.synchronize)
        error = model.calibrate(tokens, drops, np.array([t.median_ms for t in timed]))
        return model, error

    @cached_property
    def _points(self) -> list[LayerPoint]:
        return self.layer_points()

    def layer_points(self) -> list[LayerPoint]:
        """Measured times of a few layers at token counts between text only and all tokens."""
        layers = self.adapter.spec.layers
        chosen = sorted({round(x) for x in np.linspace(0, layers - 1, TIMED_LAYERS)})
        visual = sorted({round(x) for x in np.linspace(0, self.visual, TOKEN_COUNTS)})
        cases = [(n, layer) for n in visual for layer in chosen]
        with torch.inference_mode():
            states = {n: self._tokens(n) for n in visual}
            runs: list[Callable[[], object]] = [
                lambda n=n, layer=layer: states[n].run(self.adapter, layer)  # type: ignore[misc]
                for n, layer in cases
            ]
            timed = interleaved(runs, repeats=9, warmup=2, synchronize=self.synchronize)
        return [
            LayerPoint(self.text + n, layer, t.median_ms)
            for (n, layer), t in zip(cases, timed, strict=True)
        ]

    def _tokens(self, visual: int) -> Tokens:
        """The sample with its first `visual` visual tokens."""
        number = torch.zeros(1, dtype=torch.long, device=self.prefill.hidden.device)
        tokens = enter(self.prefill, number)
        kept = ~tokens.visual | (tokens.visual.long().cumsum(1) <= visual)
        return tokens.keep(kept & tokens.validity)

    def _calibration_rows(self, pruner: Pruner) -> NDArray[np.float64]:
        """Whole schedules with none to three drops: `[schedules, layers]`."""
        layers, first = self.adapter.spec.layers, pruner.first_layer
        rows = [np.ones(layers)]
        for drops in (1, 2, 3):
            if first + drops > layers:
                break
            for keep in (0.75, 0.4):
                row = np.ones(layers)
                starts = np.linspace(first, layers - 1, drops + 1).astype(int)[:drops]
                for number, start in enumerate(sorted(set(starts.tolist()))):
                    row[start:] = keep ** (number + 1)
                rows.append(row)
        return np.stack([pruner.fitted(row) for row in rows])

    def kept_counts(self, ratios: NDArray[np.float64]) -> NDArray[np.int64]:
        """Visual tokens that the sample keeps under ratios `[layers]`: int64 `[layers]`."""
        pictures = self._pictures if self.per_picture else None
        return keep_counts(ratios, np.array([self.visual]), pictures)[:, 0]

    def tokens_and_drops(
        self, rows: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens of each layer, int64 [schedules, layers], and rankings run, int64 [schedules]."""
        kept = np.stack([self.kept_counts(row) for row in rows])
        before = np.concatenate([np.full((len(kept), 1), self.visual), kept[:, :-1]], axis=1)
        return kept + self.text, ((kept < before) & (kept > 0)).sum(1)

    def predict_ms(self, rows: NDArray[np.float64], pruner: Pruner) -> NDArray[np.float64]:
        """Predicted prefill latency of schedules `[schedules, layers]`: `[schedules]`."""
        tokens, drops = self.tokens_and_drops(np.atleast_2d(rows))
        return self.model(pruner).predict_ms(tokens, drops)

    def describe(self, pruner: Pruner) -> dict[str, Any]:
        """Device, number of measured points and errors of the latency model, JSON-ready."""
        model = self.model(pruner)
        return {
            "device": self.device,
            "points": len(model.points),
            "layer_error": model.error,
            "prefill_error": self._models[pruner.name][1],
            "drop_ms": model.drop_ms,
        }

    def note(self, pruners: Sequence[Pruner]) -> str:
        """The origin of latencies of schedules that `pruners` rank for, and their error."""
        models = [self.describe(pruner) for pruner in pruners]
        worst = max(models, key=lambda model: model["prefill_error"])
        several = "" if len(models) == 1 else " (of the worst predicted pruner)"
        return (
            f"Latency is predicted by a model fitted from {worst['points']} measured points on "
            f"{worst['device']}; cross-validated error {worst['layer_error']:.1%} per layer, "
            f"{worst['prefill_error']:.1%} per prefill{several}."
        )
