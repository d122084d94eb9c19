"""Presets by name: `fastv:k=2,r=0.5` is one, `fastv` all of a method, `all` every one."""

from __future__ import annotations

from collections.abc import Sequence

from paretoprune.core.options import listed
from paretoprune.core.registries import BrokenPluginError
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.registry import presets as registered
from paretoprune.schedules.presets.base import Preset

ALL = "all"


def every_preset() -> dict[str, Preset]:
    """Every registered preset by name, in order."""
    return {preset.name: preset for method in registered.usable() for preset in _of(method)}


def find_presets(names: str | Sequence[str]) -> list[Preset]:
    """The presets that one or several names stand for, each once; see the module.

    Raises `UnknownNameError` with the nearest name, and `InvalidValueError` for none.
    """
    wanted = [names] if isinstance(names, str) else listed("presets", names)
    if not wanted:
        raise InvalidValueError("name at least one preset")
    presets: dict[str, Preset] = {}
    for name in wanted:
        presets |= {preset.name: preset for preset in _named(name.strip())}
    return list(presets.values())


def find_preset(name: str) -> Preset:
    """The one preset of this name; raises as `find_presets` does, also where there are several."""
    presets = find_presets(name)
    if len(presets) > 1:
        listed = ", ".join(preset.name for preset in presets)
        raise InvalidValueError(f"name one preset here; {name!r} stands for {listed}")
    return presets[0]


def _named(name: str) -> list[Preset]:
    every = every_preset()
    if name == ALL:
        return list(every.values())
    if name in every:
        return [every[name]]
    method, colon, _ = name.partition(":")
    alike = [preset for preset in every.values() if preset.method == method]
    if alike and not colon:
        return alike
    methods = dict.fromkeys(preset.method for preset in every.values())
    known = [preset.name for preset in alike] or (every if colon else [ALL, *methods])
    raise UnknownNameError("preset", name, known)


def _of(method: str) -> list[Preset]:
    """The presets of one registered function, which may give one or several."""
    built = registered.build(method)
    presets = list(built) if isinstance(built, list | tuple) else [built]
    strange = [preset for preset in presets if not isinstance(preset, Preset)]
    if strange:
        raise BrokenPluginError(
            f"preset plug-in {method!r} from {registered.entry(method).origin} is broken: it must "
            f"give Preset records, got {strange[0]!r}"
        )
    return presets
