"""Presets: published configurations, and the rule that carries them to another model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from paretoprune.core.space import Value
from paretoprune.errors import InvalidValueError
from paretoprune.schedules import KeepSchedule, ScheduleFile


@dataclass(frozen=True)
class Preset:
    """One published configuration: a pruner with its settings, and where how many tokens leave.

    `name` is `method:variant`. From each layer of `drops` on, that many of `tokens` visual tokens
    are kept; layers count from 0, so a drop at layer 0 stands before the decoder. Both are those of
    the `model` with `layers` decoder layers that `paper` published it for, `where` says in what
    table or file. Raises `InvalidValueError` for drops out of order or out of range.

    On another model, layers and counts keep their share: of `layers` and of `tokens`.
    """

    name: str
    pruner: str
    drops: tuple[tuple[int, float], ...]
    paper: str
    where: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    model: str = "LLaVA-1.5-7B"
    layers: int = 32
    tokens: int = 576

    def __post_init__(self) -> None:
        layers = [layer for layer, _ in self.drops]
        counts = [self.tokens, *(count for _, count in self.drops)]
        ordered = layers == sorted(set(layers)) and counts == sorted(counts, reverse=True)
        if not self.drops or not ordered or layers[0] < 0 or layers[-1] >= self.layers:
            raise InvalidValueError(
                f"preset {self.name!r}: drops are (layer, tokens kept from it on), with rising "
                f"layers in 0..{self.layers - 1} and falling counts of {self.tokens} tokens, got "
                f"{self.drops}"
            )
        if counts[-1] < 0:
            raise InvalidValueError(f"preset {self.name!r} keeps {counts[-1]:g} tokens")

    @property
    def method(self) -> str:
        """The part of the name before the colon, shared by the presets of one paper."""
        return self.name.partition(":")[0]

    @property
    def summary(self) -> str:
        """One line: the kept tokens, and the publication."""
        kept = ", ".join(f"{count:g}" for _, count in self.drops)
        if [layer for layer, _ in self.drops] == [0]:
            place = "before the decoder"
        else:
            layers = ", ".join(str(layer) for layer, _ in self.drops)
            place = f"from layer {layers} of {self.layers} on"
        return f"{kept} of {self.tokens} visual tokens {place} ({self.paper}, {self.where})"

    def layer(self, place: int, layers: int) -> int:
        """Where a drop at published layer `place` stands in a decoder of `layers` (halves up).

        A drop in the decoder stays in it: it is never moved before layer 0.
        """
        return max(1, math.floor(place * layers / self.layers + 0.5)) if place else 0

    def schedule(self, layers: int) -> KeepSchedule:
        """The keep schedule for a decoder of `layers`; the published one where that is `layers`.

        Where drops meet at one layer, the last counts; one behind the last layer has no effect.
        Raises `InvalidValueError` for a decoder without layers.
        """
        if layers < 1:
            raise InvalidValueError(f"a decoder has 1 or more layers, got {layers}")
        ratios = [1.0] * layers
        for place, count in self.drops:
            start = self.layer(place, layers)
            ratios[start:] = [count / self.tokens] * len(ratios[start:])
        return KeepSchedule.from_ratios(ratios)

    def content(self, layers: int) -> ScheduleFile:
        """The same as a schedule file, pruner and settings included."""
        return ScheduleFile(
            pruner=self.pruner,
            pruner_settings=dict(self.settings) or None,
            keep=list(self.schedule(layers).ratios),
            found_by=f"preset {self.name}: {self.paper}, {self.where}",
        )
