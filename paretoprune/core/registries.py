"""What a registry is: names of one kind of thing, built in or from plug-ins, resolved lazily."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from paretoprune.core.options import is_location
from paretoprune.core.plugins import (
    GROUP,
    BrokenPluginError,
    announced,
    check_kind,
    described,
    first_line,
    load_target,
)
from paretoprune.errors import InvalidValueError, ParetopruneError, UnknownNameError

BUILT_IN = "built in"


@dataclass(frozen=True)
class Entry:
    """One registered name: where its factory lives, one line about it, and who provides it."""

    name: str
    target: str
    summary: str
    origin: str = BUILT_IN

    @property
    def is_plugin(self) -> bool:
        """Whether it comes from another package."""
        return self.origin != BUILT_IN

    @property
    def is_located(self) -> bool:
        """Whether it comes from a location such as `file.py:Class`, for this process only."""
        return is_location(self.origin)

    def load(self) -> Any:
        """Import and return the factory; raises `BrokenPluginError` where a plug-in's cannot be."""
        if self.is_plugin:
            return load_target(self.target)
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class Skipped:
    """A plug-in that is not used, and why."""

    name: str
    origin: str
    reason: str


class Registry:
    """The names of one kind of thing.

    `base` (`module:class`) is what plug-ins must be concrete subclasses of, None for functions;
    `named` the class attribute that must equal the name they are registered under.
    """

    def __init__(
        self,
        kind: str,
        builtin: list[Entry],
        *,
        base: str | None = None,
        named: str | None = None,
    ) -> None:
        self.kind = kind
        self.base = base
        self.named = named
        self._entries: dict[str, Entry] = {}
        self._broken: dict[str, str] = {}
        for entry in builtin:
            self.register(entry)

    @property
    def plural(self) -> str:
        """Plural of the kind, as in the entry-point group."""
        return self.kind[:-1] + "ies" if self.kind.endswith("y") else self.kind + "s"

    @property
    def group(self) -> str:
        """The entry-point group that plug-ins are announced under."""
        return GROUP + self.plural

    def register(self, entry: Entry) -> None:
        """Add a name; a name that is taken raises `InvalidValueError`."""
        if entry.name in self._entries:
            raise InvalidValueError(
                f"{self.kind} {entry.name!r} is already registered by "
                f"{self._entries[entry.name].origin}"
            )
        self._entries[entry.name] = entry

    def adopt(self, location: str) -> str:
        """Register the class at `file.py:Class` for this process; returns the name it goes by.

        That is its class attribute `named`, else the location. Raises what `locate_class` raises,
        and `InvalidValueError` for a name that is taken.
        """
        if self.base is None:
            raise InvalidValueError(f"a {self.kind} is named, not given as {location}")
        from paretoprune.core.user_code import is_same_code, locate_class

        found, target = locate_class(location, self.kind, self.base)
        name = location if self.named is None else str(getattr(found, self.named))
        known = self._entries.get(name) or self._plugins.get(name)
        if known is None or known.target == target:
            self._entries[name] = Entry(name, target, first_line(found), location)
        elif not is_same_code(self.load(name), found):
            raise InvalidValueError(
                f"{location}: {self.kind} {name!r} is already registered, as {known.target}"
            )
        return name

    @cached_property
    def _announced(self) -> tuple[dict[str, Entry], list[Skipped]]:
        """Plug-ins by name, and those whose name is taken."""
        found: dict[str, Entry] = {}
        clashes: list[Skipped] = []
        for plugin in announced().plugins:
            if plugin.group != self.group:
                continue
            taken = self._entries.get(plugin.name) or found.get(plugin.name)
            if taken is None:
                found[plugin.name] = Entry(plugin.name, plugin.target, "", plugin.origin)
                continue
            owner = f"a plug-in of {taken.origin}" if taken.is_plugin else "a built-in"
            clashes.append(
                Skipped(plugin.name, plugin.origin, f"the name is taken by {owner}, which is used")
            )
        return found, clashes

    @property
    def _plugins(self) -> dict[str, Entry]:
        return self._announced[0]

    def __iter__(self) -> Iterator[Entry]:
        yield from map(self.entry, self.names())

    def names(self) -> list[str]:
        """All names, built-ins first; imports nothing, so some may be of broken plug-ins."""
        return [*self._entries, *(n for n in self._plugins if n not in self._entries)]

    def entry(self, name: str) -> Entry:
        """The entry called `name`; raises `UnknownNameError` with the nearest valid name."""
        found = self._entries.get(name) or self._plugins.get(name)
        if found is None:
            raise UnknownNameError(self.kind, name, self.names())
        for clash in self._announced[1]:
            if clash.name == name:
                warnings.warn(
                    f"{self.kind} {name!r} from {clash.origin} is ignored: {clash.reason}",
                    stacklevel=2,
                )
        return found

    def load(self, name: str) -> Any:
        """Import and return the factory called `name`.

        Raises `UnknownNameError`, and `BrokenPluginError` for a plug-in that cannot be used.
        """
        entry = self.entry(name)
        if not entry.is_plugin:
            return entry.load()
        try:
            if name in self._broken:
                raise BrokenPluginError(self._broken[name])  # found before, not imported again
            found = entry.load()
            check_kind(found, self.kind, self.base, self.named, name)
        except BrokenPluginError as error:
            self._broken[name] = str(error)
            raise self._named(entry, error) from error
        return found

    def build(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call the factory called `name`; a plug-in that fails raises `BrokenPluginError`."""
        factory = self.load(name)
        entry = self.entry(name)
        try:
            return factory(*arguments, **options)
        except ParetopruneError:
            raise
        except Exception as error:
            if not entry.is_plugin:
                raise
            raise self._named(entry, f"calling it fails with {described(error)}") from error

    def usable(self) -> list[str]:
        """Names whose factories load; broken plug-ins are left out, with a warning that says why.

        Imports the plug-ins, but no built-in.
        """
        found: list[str] = []
        for name in self.names():
            try:
                if self.entry(name).is_plugin:
                    self.load(name)
            except BrokenPluginError as error:
                warnings.warn(f"skipped: {error}", stacklevel=2)
            else:
                found.append(name)
        return found

    def surveyed(self) -> tuple[list[Entry], list[Skipped]]:
        """Every usable entry, plug-ins with their docstring's first line, and what is skipped."""
        found: list[Entry] = []
        skipped: list[Skipped] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is in what is returned
            for entry in self:
                if not entry.is_plugin:
                    found.append(entry)
                    continue
                try:
                    summary = entry.summary or first_line(self.load(entry.name))
                except BrokenPluginError:
                    skipped.append(Skipped(entry.name, entry.origin, self._broken[entry.name]))
                else:
                    found.append(Entry(entry.name, entry.target, summary, entry.origin))
        return found, [*skipped, *self._announced[1]]

    def _named(self, entry: Entry, reason: object) -> BrokenPluginError:
        return BrokenPluginError(
            f"{self.kind} plug-in {entry.name!r} from {entry.origin} is broken: {reason}"
        )
