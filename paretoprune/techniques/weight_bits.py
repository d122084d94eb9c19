"""Bits per group of weights, weight-only, packed as HQQ packs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from paretoprune.core.space import SearchSpace, Values
from paretoprune.techniques.base import DENSE_BITS, Plan, Target, Technique
from paretoprune.techniques.bits.packed import BITS, quantizer
from paretoprune.techniques.bits.parts import bit_spaces, bits_by_path, checked_bits, mean_bits
from paretoprune.techniques.bits.quantised import Quantiser


class WeightBits(Technique):
    """3, 4, 8 or 16 bits per group of weights; 16 is half precision.

    Spaces: `blocks` (attention and MLP of up to four blocks of layers, and the vision encoder),
    `layers`, `uniform`; `searched` is the one that is searched together with other techniques, by
    default the first. The model is not changed.
    Raises `MissingDependencyError` without HQQ.
    """

    name = "weight_bits"
    space_name = "weights"

    def __init__(self, bits: Sequence[int] = BITS, *, searched: str | None = None) -> None:
        quantizer()
        self.bits = checked_bits(bits, BITS, "weights")
        self.searched = searched
        self.quantiser: Quantiser

    def bind(self, target: Target) -> None:
        """Find the linear layers; layers already packed for the same model stay packed."""
        if getattr(self, "quantiser", None) is None or self.quantiser.model is not target.model:
            self.quantiser = Quantiser(target.model)

    def knobs(self) -> Mapping[str, SearchSpace]:
        """One space per grouping."""
        return bit_spaces(self.quantiser.parts, self.bits)

    def dense(self, plan: Plan) -> Plan:
        """Half precision everywhere."""
        return self._uniform(plan, DENSE_BITS)

    def smallest(self, plan: Plan) -> Plan:
        """The fewest bits everywhere."""
        return self._uniform(plan, min(self.bits))

    def _uniform(self, plan: Plan, bits: int) -> Plan:
        return replace(plan, weight_bits=dict.fromkeys(self.quantiser.parts.paths, bits))

    def apply(self, plan: Plan, space: str, values: Values) -> Plan:
        """The bits of every linear layer."""
        parts = self.quantiser.parts
        found = bits_by_path(parts, space, values)
        return replace(plan, weight_bits={path: found[path] for path in parts.paths})

    def variant(self, plan: Plan) -> str:
        """The bits of all layers: spaces meet where they agree."""
        return " ".join(map(str, plan.weight_bits.values()))

    def prefill_variant(self, plan: Plan) -> str:
        """The bits of the vision encoder, which makes the prefill."""
        return " ".join(str(plan.weight_bits[path]) for path in self.quantiser.parts.vision)

    def view(self, model: Any, plan: Plan) -> Any:
        """The model with packed linear layers."""
        return self.quantiser.view(plan.weight_bits)

    def metrics(self, plan: Plan) -> dict[str, float]:
        """Mean bits per weight."""
        return {"mean_bits": mean_bits(plan.weight_bits, self.quantiser.model)}

    def describe(self) -> dict[str, Any]:
        """The bits to choose from, and how many layers have them."""
        return {
            "bits": list(self.bits),
            "searched": self.own_space(),
            "layers": len(self.quantiser.parts.paths),
        }
