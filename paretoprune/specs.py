"""How strategies are named: `name`, `name:option=value,...`, or a class of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from paretoprune.errors import InvalidValueError
from paretoprune.options import check_options, read_option
from paretoprune.problem import Problem
from paretoprune.registry import strategies as registered
from paretoprune.search.base import SearchStrategy

DEFAULT_STRATEGIES = (
    "random",
    "grid:space=single-step",
    "tpe",
    "nsga2",
    "pymoo-nsga2",
    "gradient",
)


def default_strategies(
    costs: Sequence[str] = ("compute",), *, gradient: bool = True
) -> tuple[str, ...]:
    """Strategies that are compared unless others are named: those that handle these costs.

    Without `gradient`, where there is nothing to differentiate, such as the choice of a pruner.
    """
    if tuple(costs) == ("compute",) and gradient:
        return DEFAULT_STRATEGIES
    return tuple(name for name in DEFAULT_STRATEGIES if name != "gradient")


def fitting_strategies(problem: Problem) -> tuple[str, ...]:
    """Strategies that are compared on a black box unless others are named."""
    finite = math.isfinite(problem.space().size)
    return ("random", *(("grid",) if finite else ()), "tpe", "nsga2", "pymoo-nsga2")


@dataclass(frozen=True)
class StrategySpec:
    """A strategy by name, with the space it searches (None: its default) and its options.

    Written as `name`, `name:option=value,...`; the option `space` names the search space. `factory`
    builds a strategy that no registry knows.
    """

    name: str
    space: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    factory: Callable[..., SearchStrategy] | None = None

    @classmethod
    def of(cls, strategy: str | StrategySpec | type[SearchStrategy]) -> StrategySpec:
        """A spec as it is, one that is written out, or one for a strategy class."""
        if isinstance(strategy, StrategySpec):
            return strategy
        if isinstance(strategy, str):
            return cls.parse(strategy)
        return cls(strategy.__name__, factory=strategy)

    @classmethod
    def parse(cls, text: str) -> StrategySpec:
        """Read `grid:space=single-step`; raises on unknown names and malformed options."""
        name, _, rest = text.strip().partition(":")
        if registered.entry(name).is_plugin:
            registered.load(name)  # a broken plug-in shows before models load
        options: dict[str, Any] = {}
        for part in filter(None, (p.strip() for p in rest.split(","))):
            key, value = read_option(f"strategy {text!r}", part)
            options[key] = value
        space = options.pop("space", None)
        return cls(name, None if space is None else str(space), tuple(sorted(options.items())))

    @property
    def label(self) -> str:
        """How tables name it: the spec as it would be written."""
        parts = [f"space={self.space}"] if self.space else []
        parts += [f"{key}={value}" for key, value in self.options]
        return self.name + (":" + ",".join(parts) if parts else "")

    def build(self) -> SearchStrategy:
        """A fresh strategy; raises `InvalidValueError` for options it does not take."""
        factory = self.factory or registered.load(self.name)
        check_options(f"strategy {self.name!r}", dict(self.options), factory)
        try:
            strategy: SearchStrategy = factory(**dict(self.options))
        except TypeError as error:
            raise InvalidValueError(f"strategy {self.label!r}: {error}") from error
        strategy.label = self.label
        return strategy

    @property
    def depends_on_seed(self) -> bool:
        """Whether another seed gives another study."""
        return bool(getattr(self.factory or registered.load(self.name), "depends_on_seed", True))
