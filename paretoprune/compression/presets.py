"""Published presets on one model: those that it can run, as candidates, and why others are not."""

from __future__ import annotations

from collections.abc import Sequence

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.extras import lacking
from paretoprune.compression.configuration import exact_candidate
from paretoprune.core.capabilities import Published
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import pruner_of
from paretoprune.schedules.presets import Preset


def runnable(adapter: Adapter, presets: Sequence[Preset]) -> tuple[list[Preset], list[str]]:
    """Presets whose pruner this model has all for, and one sentence per reason for the others."""
    kept: list[Preset] = []
    left_out: dict[str, list[str]] = {}
    for preset in presets:
        reason = lacking(adapter, pruner_of(preset).needs)
        if reason is None:
            kept.append(preset)
        else:
            left_out.setdefault(reason, []).append(preset.name)
    return kept, [
        f"Of the presets, {', '.join(names)} {'is' if len(names) == 1 else 'are'} left out: "
        f"{reason}."
        for reason, names in left_out.items()
    ]


def guests_for(presets: Sequence[Preset], known: Sequence[Pruner]) -> list[Pruner]:
    """A pruner for each name that presets need beyond those that are `known`."""
    names = {pruner.name for pruner in known}
    new = {preset.pruner: pruner_of(preset) for preset in presets}
    return [pruner for name, pruner in new.items() if name not in names]


def published(presets: Sequence[Preset], layers: int) -> list[Published]:
    """Presets as candidates for a decoder of `layers`."""
    return [
        Published(
            preset.name,
            preset.summary,
            exact_candidate(preset.schedule(layers), pruner_of(preset)),
        )
        for preset in presets
    ]
