"""Objectives of compression problems: names, units, scales, and the parser of their lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from paretoprune.core.options import listed
from paretoprune.core.problem import Objective
from paretoprune.errors import InvalidValueError, UnknownNameError, brief

SCORE = "score"
COSTS: dict[str, str] = {
    "compute": "relative compute u",
    "latency_ms": "ms of prefill, batch of one",
    "kv_bytes": "bytes of key/value cache per sample",
    "peak_memory_bytes": "bytes held at most during prefill, weights left out",
    "visual_tokens": "visual tokens per layer",
    "weight_bytes": "bytes of weights",
    "memory_bytes": "bytes of weights and KV cache",
}
"""Unit by objective name."""
DEFAULT_COSTS: dict[tuple[str, ...], str] = {
    ("tokens",): "compute",
    ("weight_bits",): "weight_bytes",
}
"""Default cost by technique; memory for others."""


def parse_objectives(
    names: str | Sequence[str], costs: Collection[str] = tuple(COSTS)
) -> tuple[str, ...]:
    """Objective names from `score,compute` or a sequence: `score` first, then one or more `costs`.

    Raises `UnknownNameError` for a cost that does not exist and `InvalidValueError` for a list
    without `score`, without a cost or with repeats.
    """
    parts = names.split(",") if isinstance(names, str) else listed("objectives", names)
    for strange in (p for p in parts if not isinstance(p, str)):
        raise InvalidValueError(f"an objective is named, got {brief(strange)}")
    chosen = [p.strip() for p in parts if p.strip()]
    for name in chosen:
        if name != SCORE and name not in costs:
            raise UnknownNameError("objective", name, [SCORE, *costs])
    if SCORE not in chosen or len(chosen) < 2 or len(set(chosen)) != len(chosen):
        raise InvalidValueError(
            "objectives are 'score' and one or more different costs, such as score,compute; "
            f"got {', '.join(parts) or 'none'}"
        )
    return (SCORE, *(name for name in chosen if name != SCORE))


def default_objectives(techniques: Sequence[str]) -> tuple[str, ...]:
    """The objectives of a problem with these techniques, where none are named."""
    return (SCORE, DEFAULT_COSTS.get(tuple(techniques), "memory_bytes"))


def score_objective() -> Objective:
    """The relative score: 1 is the dense model, 0 one that is worth nothing."""
    return Objective(SCORE, "max", "relative score q", reference=0.0, best=1.0)


def cost_objective(name: str, *, dense: float, smallest: float) -> Objective:
    """A cost with the dense model's value as reference and the most compressed one's as best.

    Raises `InvalidValueError` where they are equal: the cost would not tell candidates apart.
    """
    if dense == smallest:
        raise InvalidValueError(
            f"objective {name!r} is {dense:g} for every candidate, so there is nothing to trade "
            "off; choose another cost"
        )
    return Objective(name, "min", COSTS[name], reference=dense, best=smallest)
