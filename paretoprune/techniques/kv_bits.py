"""Bits of the KV cache: keys and values are rounded where they are projected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from paretoprune.adapters.views import view_of
from paretoprune.core.space import Categorical, SearchSpace, Values
from paretoprune.errors import UnsupportedError
from paretoprune.techniques.base import DENSE_BITS, Plan, Target, Technique
from paretoprune.techniques.bits.kv import KV_BITS, PROJECTIONS, RoundedHeads
from paretoprune.techniques.bits.parts import checked_bits, parts_of

KNOB = "bits"
SPACE = "uniform"


class KvBits(Technique):
    """One choice of bits for keys and values of all layers; 16 is half precision, not rounded."""

    name = "kv_bits"
    space_name = "cache"

    def __init__(self, bits: Sequence[int] = KV_BITS) -> None:
        self.bits = checked_bits(bits, KV_BITS, "keys and values")
        self._paths: tuple[str, ...] = ()
        self._head_dim = 0

    def bind(self, target: Target) -> None:
        """Find the projections; raises `UnsupportedError` where a layer has none of its own."""
        kind = type(target.model).__name__
        if target.adapter is None:
            raise UnsupportedError(f"kv_bits compresses vision-language models, not {kind}")
        inside = (path for layer in parts_of(target.model).attention for path in layer)
        self._paths = tuple(p for p in inside if p.rsplit(".", 1)[-1] in PROJECTIONS)
        self._head_dim = target.adapter.spec.head_dim
        if min(self.bits) < DENSE_BITS and len(self._paths) != 2 * target.adapter.spec.layers:
            raise UnsupportedError(
                f"{kind} has no {' and '.join(PROJECTIONS)} in every layer, so its keys and values "
                "cannot be rounded; leave kv_bits out"
            )

    def knobs(self) -> Mapping[str, SearchSpace]:
        """One knob."""
        return {SPACE: SearchSpace((Categorical(KNOB, tuple(map(str, self.bits)), "bits"),))}

    def dense(self, plan: Plan) -> Plan:
        """Half precision."""
        return replace(plan, kv_bits=DENSE_BITS)

    def smallest(self, plan: Plan) -> Plan:
        """The fewest bits."""
        return replace(plan, kv_bits=min(self.bits))

    def apply(self, plan: Plan, space: str, values: Values) -> Plan:
        """The chosen bits."""
        return replace(plan, kv_bits=int(values[KNOB]))

    def variant(self, plan: Plan) -> str:
        """The bits."""
        return str(plan.kv_bits)

    def view(self, model: Any, plan: Plan) -> Any:
        """The model with rounded keys and values."""
        if plan.kv_bits == DENSE_BITS:
            return model
        twin = view_of(model)
        for path in self._paths:
            parent, _, name = path.rpartition(".")
            rounded = RoundedHeads(twin.get_submodule(path), plan.kv_bits, self._head_dim)
            setattr(twin.get_submodule(parent), name, rounded)
        return twin

    def metrics(self, plan: Plan) -> dict[str, float]:
        """The bits."""
        return {"kv_bits": float(plan.kv_bits)}

    def describe(self) -> dict[str, Any]:
        """The bits to choose from."""
        return {"bits": list(self.bits)}
