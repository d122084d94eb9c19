"""The technique contract: knob values become the plan of a candidate.

A technique is one file with one subclass of `Technique` and one line in the registry. It never
prices anything: `compression.cost_model` does, from the plan.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from paretoprune.core.space import Condition, Knob, SearchSpace, Value, Values
from paretoprune.errors import UnknownNameError

if TYPE_CHECKING:
    from paretoprune.adapters.base import Adapter

DENSE_BITS = 16


@dataclass(frozen=True)
class Plan:
    """The plan of a candidate, JSON-ready: each technique fills in its part.

    `keep` is a keep ratio per decoder layer, of visual tokens that `pruner` with its settings
    ranks; `weight_bits` are bits by path of linear layer, of those that do not stay as loaded.
    """

    keep: tuple[float, ...] = ()
    pruner: str = ""
    pruner_settings: Mapping[str, Value] = field(default_factory=dict)
    weight_bits: Mapping[str, int] = field(default_factory=dict)
    kv_bits: int = DENSE_BITS


@dataclass(frozen=True)
class Target:
    """The model that techniques compress.

    `adapter` is None for a language model; `visual_tokens` are those of the sample with the fewest.
    """

    model: Any
    adapter: Adapter | None = None
    visual_tokens: int = 0


class Technique(ABC):
    """Turns knob values into its part of a plan.

    `bind` comes first, once. `space_name` names the space in which it alone is searched, where a
    problem has several techniques; `searched` is the one of its own spaces that is then used.
    """

    name: ClassVar[str]
    space_name: ClassVar[str]
    searched: str | None = None
    left_out: Mapping[str, str] = {}
    """Reasons by the name of spaces that the model has no room for."""

    @abstractmethod
    def bind(self, target: Target) -> None:
        """Look at the model; raises `UnsupportedError` where it does not fit."""

    @abstractmethod
    def knobs(self) -> Mapping[str, SearchSpace]:
        """Search spaces by name, the default first."""

    @abstractmethod
    def dense(self, plan: Plan) -> Plan:
        """The plan with this technique's part uncompressed."""

    @abstractmethod
    def smallest(self, plan: Plan) -> Plan:
        """The plan with this technique's part compressed as far as it goes."""

    @abstractmethod
    def apply(self, plan: Plan, space: str, values: Values) -> Plan:
        """The plan with the part that a valid point of one of its spaces stands for."""

    def variant(self, plan: Plan) -> str:
        """Part of the plan that candidates must share to be run together; empty for none."""
        return ""

    def prefill_variant(self, plan: Plan) -> str:
        """Part of the plan that changes prefills; empty for none."""
        return ""

    def view(self, model: Any, plan: Plan) -> Any:
        """The model as the plan has it, in a module tree of its own; the model itself if dense."""
        return model

    def metrics(self, plan: Plan) -> dict[str, float]:
        """Auxiliary figures of the plan, by name."""
        return {}

    def describe(self) -> dict[str, Any]:
        """JSON-ready settings, which must be unchanged when a study is resumed."""
        return {}

    def own_space(self) -> str:
        """Name of the space that is searched together with other techniques."""
        spaces = self.knobs()
        name = next(iter(spaces)) if self.searched is None else self.searched
        if name not in spaces:
            raise UnknownNameError(f"space of technique {self.name!r}", name, spaces)
        return name


def named_knobs(technique: Technique) -> list[Knob]:
    """The technique's knobs as `technique.knob`, as a problem of several techniques has them."""
    return [
        _renamed(technique.name, knob) for knob in technique.knobs()[technique.own_space()].knobs
    ]


def own_values(technique: Technique, values: Values) -> dict[str, Value]:
    """Values of the technique's knobs among those of `named_knobs` of several techniques."""
    prefix = f"{technique.name}."
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _renamed(prefix: str, knob: Knob) -> Knob:
    when = knob.when and Condition(f"{prefix}.{knob.when.knob}", knob.when.values)
    return replace(knob, name=f"{prefix}.{knob.name}", when=when)
