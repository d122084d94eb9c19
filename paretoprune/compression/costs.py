"""The costs that token pruning can be searched by, by name, with their units."""

from __future__ import annotations

from collections.abc import Sequence

from paretoprune.core.options import listed
from paretoprune.errors import InvalidValueError, UnknownNameError, brief

SCORE = "score"
COSTS: dict[str, str] = {
    "compute": "relative compute u",
    "latency_ms": "ms of prefill, batch of one",
    "kv_bytes": "bytes of key/value cache per sample",
    "peak_memory_bytes": "bytes held at most during prefill, weights left out",
    "visual_tokens": "visual tokens per layer",
}
"""Unit by objective name."""
DEFAULT_OBJECTIVES = (SCORE, "compute")


def parse_objectives(names: str | Sequence[str]) -> tuple[str, ...]:
    """Objective names from `score,compute` or a sequence: `score` first, then one or more costs.

    Raises `UnknownNameError` for a cost that does not exist and `InvalidValueError` for a list
    without `score`, without a cost or with repeats.
    """
    parts = names.split(",") if isinstance(names, str) else listed("objectives", names)
    for strange in (p for p in parts if not isinstance(p, str)):
        raise InvalidValueError(f"an objective is named, got {brief(strange)}")
    chosen = [p.strip() for p in parts if p.strip()]
    for name in chosen:
        if name != SCORE and name not in COSTS:
            raise UnknownNameError("objective", name, [SCORE, *COSTS])
    if SCORE not in chosen or len(chosen) < 2 or len(set(chosen)) != len(chosen):
        raise InvalidValueError(
            "objectives are 'score' and one or more different costs, such as score,compute; "
            f"got {', '.join(parts) or 'none'}"
        )
    return (SCORE, *(name for name in chosen if name != SCORE))
