"""The pruners that a search may choose from, and their knobs: names in, a search space out.

A pruner is written as `name` or `name:knob=value,...`; several are joined by commas, and `all`
names every registered one. The name may be the location of a class, `file.py:Class`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.extras import lacking
from paretoprune.core.options import is_location, listed, read_options, split_spec, split_specs
from paretoprune.core.space import (
    Categorical,
    Condition,
    Float,
    Int,
    Knob,
    SearchSpace,
    Value,
    Values,
)
from paretoprune.core.user_code import adopt
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError, brief
from paretoprune.pruning.base import Pruner
from paretoprune.registry import pruners
from paretoprune.schedules.files import ScheduleFile
from paretoprune.schedules.presets import Preset

if TYPE_CHECKING:
    from paretoprune.pruning.policies.files import PolicyFile

PRUNER = "pruner"
"""Name of the knob that says which pruner ranks."""
ALL = "all"
"""Stands for every registered pruner."""

Named: TypeAlias = "str | Pruner | Sequence[str | Pruner]"


@dataclass(frozen=True)
class Operators:
    """Pruners to choose from, in order; `searched` are the names of those whose knobs are searched.

    Knobs are called `<pruner>.<knob>`. With one pruner whose knobs are not searched there is
    nothing to choose, and spaces stay as they are.
    """

    pruners: tuple[Pruner, ...]
    searched: frozenset[str] = field(default_factory=frozenset)
    fixed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Knobs by pruner that keep the value they were given."""
    optional: frozenset[str] = frozenset()
    """The pruners of `all`; one whose requirement a model lacks is left out."""

    def __post_init__(self) -> None:
        names = [p.name for p in self.pruners]
        if not names:
            raise InvalidValueError("name at least one pruner")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidValueError(f"pruner {twice[0]!r} is named twice")

    @classmethod
    def of(cls, named: Named | Operators, *, search_knobs: bool | None = None) -> Operators:
        """Operators from names, pruners, or a list of both.

        Knobs of named pruners are searched if `search_knobs`, by default where several pruners are
        to choose from; those written with a value, and those of a pruner object, stay as given.
        """
        if isinstance(named, Operators):
            return named
        one = isinstance(named, str | Pruner)
        parts = [named] if one else listed("pruners, unless there is one,", named)
        chosen: list[Pruner] = []
        free: set[str] = set()
        fixed: dict[str, frozenset[str]] = {}
        optional: set[str] = set()
        for part in parts:
            if isinstance(part, Pruner):
                chosen.append(part)
                continue
            if not isinstance(part, str):
                raise InvalidValueError(
                    f"a pruner is a name or an instance of Pruner, got {brief(part)}"
                )
            for name, settings in _parsed(part):
                if name == ALL:
                    for knob in settings:
                        raise InvalidValueError(f"pruner {ALL!r} has no knobs, got {knob!r}")
                    every = [n for n in pruners.usable() if n not in {p.name for p in chosen}]
                    chosen += [make_pruner(n) for n in every]
                    optional.update(every)
                    free.update(every)
                    continue
                chosen.append(make_pruner(name, settings))
                free.add(name)
                fixed[name] = frozenset(settings)
        search = len(chosen) > 1 if search_knobs is None else search_knobs
        return cls(tuple(chosen), frozenset(free if search else ()), fixed, frozenset(optional))

    def available(self, adapter: Adapter) -> tuple[Operators, dict[str, str]]:
        """Without the optional pruners whose requirements this model lacks, and the reasons.

        Raises `UnsupportedError` where one that was named is among them.
        """
        left_out: dict[str, str] = {}
        for pruner in self.pruners:
            reason = lacking(adapter, pruner.needs)
            if reason is not None and pruner.name not in self.optional:
                raise UnsupportedError(reason)
            if reason is not None:
                left_out[pruner.name] = reason
        kept = tuple(p for p in self.pruners if p.name not in left_out)
        return dataclasses.replace(self, pruners=kept), left_out

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(p.name for p in self.pruners)

    @property
    def only(self) -> Pruner | None:
        """The pruner, where there is nothing to choose; else None."""
        return None if self.knobs else self.pruners[0]

    @property
    def single(self) -> Pruner:
        """The one pruner; raises `InvalidValueError` where there are several."""
        if len(self.pruners) > 1:
            raise InvalidValueError(f"name one pruner here, got {', '.join(self.names)}")
        return self.pruners[0]

    @property
    def first_layer(self) -> int:
        """The first layer before which any of them can act."""
        return min(p.first_layer for p in self.pruners)

    @property
    def needs(self) -> frozenset[str]:
        """Required inputs of all pruners together."""
        return frozenset().union(*(p.needs for p in self.pruners))

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """The choice of the pruner, if there is one, and the knobs of each, under that choice."""
        choice = len(self.pruners) > 1
        knobs: list[Knob] = [Categorical(PRUNER, self.names)] if choice else []
        for pruner in self.pruners:
            when = Condition(PRUNER, (pruner.name,)) if choice else None
            if pruner.name in self.searched:
                fixed = self.fixed.get(pruner.name, frozenset())
                knobs += [_owned(pruner, k, when) for k in pruner.knobs if k.name not in fixed]
        return tuple(knobs)

    def joined(self, space: SearchSpace) -> SearchSpace:
        """The space with the choice of the pruner and its knobs before its own."""
        return SearchSpace((*self.knobs, *space.knobs))

    def chosen(self, values: Values) -> Pruner:
        """The pruner that a point of a joined space stands for, with its settings."""
        by_name = {p.name: p for p in self.pruners}
        name = str(values.get(PRUNER, self.pruners[0].name))
        if name not in by_name:
            raise UnknownNameError("pruner of this problem", name, by_name)
        pruner = by_name[name]
        settings = {
            knob.name: values[_full(pruner, knob)]
            for knob in pruner.knobs
            if _full(pruner, knob) in values
        }
        return with_settings(pruner, settings) if settings else pruner


def with_settings(pruner: Pruner, settings: Mapping[str, Value]) -> Pruner:
    """A pruner like this one with other settings; the rest stays."""
    return type(pruner)(**{**pruner.settings, **settings})


def make_pruner(name: str, settings: Mapping[str, Any] | None = None) -> Pruner:
    """A registered pruner by name, with settings of its knobs.

    Raises `UnknownNameError` for a name or a knob that does not exist, `InvalidValueError` for a
    value out of range.
    """
    factory = pruners.load(name)
    knobs = {knob.name: knob for knob in factory.knobs}
    for knob in settings or {}:
        if knob not in knobs:
            if not knobs:
                raise InvalidValueError(f"pruner {name!r} has no knobs, got {knob!r}")
            raise UnknownNameError(f"knob of pruner {name!r}", knob, knobs)
    checked = {key: knobs[key].inside(value) for key, value in (settings or {}).items()}
    pruner: Pruner = pruners.build(name, **checked)
    return pruner


def pruner_of(content: ScheduleFile | PolicyFile | Preset) -> Pruner:
    """The pruner of a file or preset, with its settings; raises where either does not exist."""
    settings = content.settings if isinstance(content, Preset) else content.pruner_settings
    return make_pruner(content.pruner, settings)


def _parsed(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Read `fastv,dart:visual_pivots=8,text_pivots=2`: names, and settings behind a colon.

    A location such as `mine.py:HeadMax` is imported, and stands for the name of its class.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for spec in split_specs(text):
        name, rest = split_spec(spec)
        if is_location(name):
            name = adopt(pruners, name)
        found.append((name, {} if rest is None else read_options(f"pruner {name!r}", rest)))
    return found


def _full(pruner: Pruner, knob: Knob) -> str:
    return f"{pruner.name}.{knob.name}"


def _owned(pruner: Pruner, knob: Knob, when: Condition | None) -> Knob:
    """A pruner's knob in a joined space; its own conditions are on its own knobs."""
    if knob.when is not None:
        when = Condition(f"{pruner.name}.{knob.when.knob}", knob.when.values)
    renamed: Float | Int | Categorical = dataclasses.replace(
        knob, name=_full(pruner, knob), when=when
    )
    return renamed
