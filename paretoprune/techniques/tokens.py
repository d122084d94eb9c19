"""Visual tokens kept in each decoder layer, and the pruner that ranks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paretoprune.core.space import SearchSpace, Values
from paretoprune.errors import UnknownNameError, UnsupportedError
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import Named, Operators, pruner_of, with_settings
from paretoprune.schedules.kernels import Kernel, Withdrawal, fitting_kernels
from paretoprune.schedules.presets import Preset
from paretoprune.techniques.base import Plan, Target, Technique

LATTICE_TOKENS = 8
"""Kept counts are multiples of this many tokens by default, so that sibling candidates meet."""
MAX_LEVELS = 72
DEFAULT_SPACE = "multi-step"


class Tokens(Technique):
    """Token pruning: the number of visual tokens per decoder layer, and the pruner.

    `pruner` ranks the tokens; with several (`pruning.operators`), a search chooses the pruner and
    its knobs with the schedule. `extra_pruners` are further ones that exact candidates may name.
    One space per registered kernel that fits the model; `levels` is the number of steps of the
    keep-ratio lattice (None: multiples of 8 tokens). `presets` are published configurations to
    compare a front with; a model must have what their pruners need. With `per_picture` every
    picture of a prompt keeps at least one visual token in each layer whose ratio is above 0
    (without, every sample does). `searched` is the space that is searched
    together with other techniques, by default the first.
    """

    name = "tokens"
    space_name = "tokens"

    def __init__(
        self,
        pruner: Named | Operators = "fastv",
        *,
        levels: int | None = None,
        per_picture: bool = False,
        extra_pruners: Sequence[Pruner] = (),
        presets: Sequence[Preset] = (),
        searched: str | None = None,
    ) -> None:
        self.operators = Operators.of(pruner)
        self.per_picture = per_picture
        self.presets = tuple(presets)
        named = {p.name for p in (*self.operators.pruners, *extra_pruners)}
        pruners_of_presets = {preset.pruner: pruner_of(preset) for preset in presets}
        self.extra_pruners = (
            *extra_pruners,
            *(pruner for name, pruner in pruners_of_presets.items() if name not in named),
        )
        self.searched = searched
        self.layers = 0
        self.levels = levels or 0
        self.kernels: dict[str, Kernel] = {}
        self._given_levels = levels
        known = self.operators.names
        extra = tuple(p for p in self.extra_pruners if p.name not in known)
        self._with_extra = Operators((*self.operators.pruners, *extra))

    @property
    def pruner(self) -> Pruner:
        """The pruner, or the first one of several that a search chooses from."""
        return self.operators.pruners[0]

    @property
    def pruners(self) -> tuple[Pruner, ...]:
        """All that may rank."""
        return (*self.operators.pruners, *self.extra_pruners)

    @property
    def needs(self) -> frozenset[str]:
        """Required inputs of all pruners together."""
        return self.operators.needs.union(*(pruner.needs for pruner in self.extra_pruners))

    def bind(self, target: Target) -> None:
        """Choose the lattice and the kernels that fit the decoder."""
        if target.adapter is None:
            kind = type(target.model).__name__
            raise UnsupportedError(f"tokens compresses vision-language models, not {kind}")
        self.layers = layers = target.adapter.spec.layers
        self.levels = self._given_levels or min(
            MAX_LEVELS, max(1, target.visual_tokens // LATTICE_TOKENS)
        )
        first = self.operators.first_layer
        fitting = fitting_kernels(layers, self.levels, first)
        names = sorted(fitting.kernels, key=lambda name: name != DEFAULT_SPACE)
        self.kernels = {name: fitting.kernels[name] for name in names}
        if all(pruner.withdraws for pruner in self.operators.pruners):
            only = Withdrawal(layers, self.levels, first)
            self.kernels = {only.name: only, **self.kernels}  # others would repeat its schedules
        self.left_out = fitting.left_out

    def knobs(self) -> Mapping[str, SearchSpace]:
        """The choice of the pruner and its knobs, and those of each kernel."""
        return {name: self.operators.joined(k.space) for name, k in self.kernels.items()}

    def dense(self, plan: Plan) -> Plan:
        """All visual tokens in every layer."""
        return self.planned(plan, self.pruner, (1.0,) * self.layers)

    def smallest(self, plan: Plan) -> Plan:
        """No visual token."""
        return self.planned(plan, self.pruner, (0.0,) * self.layers)

    def apply(self, plan: Plan, space: str, values: Values) -> Plan:
        """The kernel's schedule, fitted to the pruner: layers before its first one stay whole."""
        pruner = self.operators.chosen(values)
        ratios = pruner.fitted(np.asarray(self.kernels[space].schedule(values).ratios))
        return self.planned(plan, pruner, ratios.tolist())

    def planned(self, plan: Plan, pruner: Pruner, keep: Sequence[float]) -> Plan:
        """The plan with this pruner and these keep ratios."""
        settings = dict(pruner.settings)
        return replace(plan, keep=tuple(keep), pruner=pruner.name, pruner_settings=settings)

    def chosen(self, values: Values) -> Pruner:
        """The pruner that an exact candidate or a policy names, extra ones included."""
        return self._with_extra.chosen(values)

    def pruner_of(self, plan: Plan) -> Pruner:
        """The pruner that ranks for a plan, with its settings."""
        by_name = {p.name: p for p in self._with_extra.pruners}
        if plan.pruner not in by_name:
            raise UnknownNameError("pruner of this problem", plan.pruner, by_name)
        pruner = by_name[plan.pruner]
        same = dict(pruner.settings) == dict(plan.pruner_settings)
        return pruner if same else with_settings(pruner, plan.pruner_settings)

    def describe(self) -> dict[str, Any]:
        """Pruners, their settings that are not searched, and the lattice."""
        settings = {p.name: dict(p.settings) for p in self.operators.pruners if p.knobs}
        description: dict[str, Any] = {"pruner": ",".join(self.operators.names)}
        if settings:
            one = len(self.operators.pruners) == 1
            description["pruner_settings"] = settings[self.pruner.name] if one else settings
        if self.operators.knobs:
            description["searched_with"] = [knob.name for knob in self.operators.knobs]
        if self.per_picture:
            description["per_picture"] = True
        return {**description, "layers": self.layers, "levels": self.levels}
