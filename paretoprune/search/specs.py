"""Names of strategies: `name`, `name:option=value,...`, or a class of one's own."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from paretoprune.core.options import (
    check_options,
    defaults_of,
    is_location,
    read_options,
    split_spec,
    split_specs,
)
from paretoprune.core.problem import Problem
from paretoprune.core.strategy import SearchStrategy
from paretoprune.core.user_code import adopt
from paretoprune.errors import InvalidValueError, brief, one_line
from paretoprune.registry import strategies as registered
from paretoprune.search import DEFAULT_STRATEGIES as DEFAULT_STRATEGIES


def default_strategies(
    costs: Sequence[str] = ("compute",), *, gradient: bool = True
) -> tuple[str, ...]:
    """Default strategies of a comparison: all that handle these costs.

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

    Written as `name`, `name:option=value,...`; the option `space` names the search space. The name
    may be the location of a class, `file.py:Class`. `factory` builds a strategy that no registry
    knows, `instance` is one that was built: each study gets a copy of its own.
    """

    name: str
    space: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    factory: Callable[..., SearchStrategy] | None = None
    instance: SearchStrategy | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, strategy: Strategy) -> StrategySpec:
        """A spec as it is, one that is written out, or one for a strategy, its class or instance.

        An instance is labelled by its `label`, else by its class and the options that it was built
        with, as far as its attributes tell. Raises `InvalidValueError` for one that was started.
        """
        if isinstance(strategy, StrategySpec):
            return strategy
        if isinstance(strategy, str):
            return cls.parse(strategy)
        if isinstance(strategy, type) and issubclass(strategy, SearchStrategy):
            return cls(strategy.__name__, factory=strategy)
        if not isinstance(strategy, SearchStrategy):
            raise InvalidValueError(
                "a strategy is a name such as 'tpe', or a class or an instance of "
                f"paretoprune.SearchStrategy, got {brief(strategy)}"
            )
        if "context" in vars(strategy):
            raise InvalidValueError(
                f"strategy {strategy.called} was started before: give its class, or an instance "
                "that no study has used"
            )
        if strategy.label is not None:
            return cls(str(strategy.label), instance=strategy)
        return cls(type(strategy).__name__, None, _options_of(strategy), instance=strategy)

    @classmethod
    def parse(cls, text: str) -> StrategySpec:
        """Read `grid:space=single-step`; raises on unknown names and malformed options.

        A location such as `mine.py:Climb:step=2` is imported.
        """
        if not isinstance(text, str):
            raise InvalidValueError(f"a strategy is written as its name, got {brief(text)}")
        several = split_specs(text)
        if len(several) > 1 and all(several):
            raise InvalidValueError(f"name one strategy here, got {', '.join(several)}")
        name, rest = split_spec(text)
        if is_location(name):
            adopt(registered, name)
        elif registered.entry(name).is_plugin:
            registered.load(name)  # a broken plug-in shows before models load
        written = f"strategy {text!r}"
        options: dict[str, Any] = {} if rest is None else read_options(written, rest)
        space = options.pop("space", None)
        return cls(name, None if space is None else str(space), tuple(sorted(options.items())))

    @classmethod
    def all_of(cls, strategy: Strategy) -> list[StrategySpec]:
        """As `of`, but a text may name several: in `tpe:startup=5,random` are two."""
        named = split_specs(strategy) if isinstance(strategy, str) else [strategy]
        return [cls.of(one) for one in named]

    @property
    def label(self) -> str:
        """The name in tables: the spec as it would be written."""
        parts = [f"space={self.space}"] if self.space else []
        parts += [f"{key}={value}" for key, value in self.options]
        return self.name + (":" + ",".join(parts) if parts else "")

    def build(self) -> SearchStrategy:
        """A fresh strategy; raises `InvalidValueError` for options it does not take."""
        strategy = self._built() if self.instance is None else self._copied(self.instance)
        strategy.label = self.label
        return strategy

    def _built(self) -> SearchStrategy:
        factory = self.factory or registered.load(self.name)
        check_options(f"strategy {self.name!r}", dict(self.options), factory, also=["space"])
        try:
            strategy: SearchStrategy = factory(**dict(self.options))
        except TypeError as error:
            raise InvalidValueError(f"strategy {self.label!r}: {error}") from error
        return strategy

    def _copied(self, instance: SearchStrategy) -> SearchStrategy:
        """A copy with a state of its own, so that one study knows nothing of another."""
        try:
            return copy.deepcopy(instance)
        except Exception as error:  # whatever an attribute has against it, such as an open file
            raise InvalidValueError(
                f"strategy {self.label!r} cannot be copied for each study ({one_line(error)}): "
                "give its class"
            ) from error

    @property
    def depends_on_seed(self) -> bool:
        """Whether another seed gives another study."""
        known = self.instance or self.factory or registered.load(self.name)
        return bool(getattr(known, "depends_on_seed", True))


def _options_of(strategy: SearchStrategy) -> tuple[tuple[str, Any], ...]:
    """Options of an instance that are not at their default, as far as its attributes tell."""
    options = {}
    for name, default in (defaults_of(type(strategy)) or {}).items():
        holders = (strategy, getattr(strategy, "options", None))
        for holder, key in itertools.product(holders, (name, f"_{name}")):
            value = getattr(holder, key, None)
            if isinstance(value, str | int | float) and value != default:
                options[name] = value
                break
    return tuple(sorted(options.items()))


Strategy: TypeAlias = str | StrategySpec | type[SearchStrategy] | SearchStrategy
"""A strategy by name or class: see `StrategySpec.of`."""
