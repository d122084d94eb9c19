"""Registries: dictionaries of names that load on use, and entry points of other packages.

A stranger's package must not take the command line down: whatever is wrong with it is kept as a
sentence, and its names are skipped.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import Distribution, distributions
from typing import Any

from paretoprune.core.options import is_location
from paretoprune.errors import InvalidValueError, ParetopruneError, UnknownNameError, one_line

GROUP = "paretoprune."
"""Prefix of the names of Paretoprune's entry-point groups."""
BUILT_IN = "built in"
TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class BrokenPluginError(ParetopruneError):
    """A plug-in cannot be used; the message names it, its package and the reason."""


@dataclass(frozen=True)
class Entry:
    """One name: where its factory lives (`module:attribute`), one line about it, its package.

    `reason` says why a plug-in is skipped.
    """

    name: str
    target: str
    summary: str
    origin: str = BUILT_IN
    reason: str = ""

    @property
    def is_plugin(self) -> bool:
        """Whether it comes from another package."""
        return self.origin != BUILT_IN

    @property
    def is_located(self) -> bool:
        """Whether it comes from a location such as `file.py:Class`, for this process only."""
        return is_location(self.origin)

    def load(self) -> Any:
        """Import and return the factory."""
        module, _, attribute = self.target.partition(":")
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found


class Registry:
    """The names of one kind of thing.

    `base` (`module:class`) is what plug-ins must be concrete subclasses of, None for functions;
    `named` the class attribute that must equal the name they are registered under.
    """

    def __init__(
        self, kind: str, builtin: list[Entry], *, base: str | None = None, named: str | None = None
    ) -> None:
        self.kind = kind
        self.plural = kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
        self.group = GROUP + self.plural
        self.base = base
        self.named = named
        self._entries: dict[str, Entry] = {}
        self._clashes: list[Entry] = []
        self._broken: dict[str, BrokenPluginError] = {}
        self._has_plugins = False
        for entry in builtin:
            self.register(entry)

    def register(self, entry: Entry) -> None:
        """Add a name; a name that is taken raises `InvalidValueError`."""
        taken = self._entries.get(entry.name)
        if taken is not None:
            raise InvalidValueError(
                f"{self.kind} {entry.name!r} is already registered by {taken.origin}"
            )
        self._entries[entry.name] = entry

    def adopt(self, location: str, found: type, target: str) -> str:
        """Register a class from `file.py:Class` for this process; returns the name it goes by.

        That is its class attribute `named`, else the location. Raises `InvalidValueError` for a
        name that another class has.
        """
        name = location if self.named is None else str(getattr(found, self.named))
        known = self._known().get(name)
        if known is None or known.target == target:
            self._entries[name] = Entry(name, target, _first_line(found), location)
        elif not _is_same_code(self.load(name), found):
            raise InvalidValueError(
                f"{location}: {self.kind} {name!r} is already registered, as {known.target}"
            )
        return name

    def _known(self) -> dict[str, Entry]:
        """All entries by name, built-ins first; plug-ins are looked for once, and not imported."""
        if not self._has_plugins:
            self._has_plugins = True
            for entry in announced()[0].get(self.group, []):
                taken = self._entries.setdefault(entry.name, entry)
                if taken is not entry:
                    owner = f"a plug-in of {taken.origin}" if taken.is_plugin else "a built-in"
                    reason = f"the name is taken by {owner}, which is used"
                    self._clashes.append(replace(entry, reason=reason))
        return self._entries

    def __iter__(self) -> Iterator[Entry]:
        yield from map(self.entry, self.names())

    def names(self) -> list[str]:
        """All names, built-ins first; imports nothing, so some may be of broken plug-ins."""
        return list(self._known())

    def entry(self, name: str) -> Entry:
        """The entry called `name`; raises `UnknownNameError` with the nearest valid name."""
        found = self._known().get(name)
        if found is None:
            raise UnknownNameError(self.kind, name, self.names())
        for clash in self._clashes:
            if clash.name == name:
                message = f"{self.kind} {name!r} from {clash.origin} is ignored: {clash.reason}"
                warnings.warn(message, stacklevel=2)
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
                raise self._broken[name]  # found before, not imported again
            found = _load_plugin(entry)
            check_kind(found, self.kind, self.base, self.named, name)
        except BrokenPluginError as error:
            self._broken[name] = error
            raise self._names(entry, error) from error
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
            raise self._names(entry, f"calling it fails with {one_line(error)}") from error

    def _names(self, entry: Entry, reason: object) -> BrokenPluginError:
        return BrokenPluginError(
            f"{self.kind} plug-in {entry.name!r} from {entry.origin} is broken: {reason}"
        )

    def usable(self) -> list[str]:
        """Names whose factories load; broken plug-ins are left out, with a warning that says why.

        Imports the plug-ins, but no built-in.
        """
        found, skipped = self.surveyed()
        for entry in skipped:
            if entry.name in self._broken:
                warnings.warn(f"skipped: {self._names(entry, entry.reason)}", stacklevel=2)
        return [entry.name for entry in found]

    def surveyed(self) -> tuple[list[Entry], list[Entry]]:
        """Every usable entry, plug-ins with their docstring's first line, and what is skipped."""
        found, skipped = [], []
        for entry in self._known().values():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what they say is in what is returned
                    summary = _first_line(self.load(entry.name)) if entry.is_plugin else ""
                found.append(replace(entry, summary=entry.summary or summary))
            except BrokenPluginError:
                skipped.append(replace(entry, reason=str(self._broken[entry.name])))
        return found, [*skipped, *self._clashes]


@cache
def announced() -> tuple[dict[str, list[Entry]], dict[str, str]]:
    """Plug-ins of all installed packages by entry-point group, and why packages are unreadable.

    Reads the entry points of every package once, and imports none of them.
    """
    groups: dict[str, list[Entry]] = {}
    unreadable: dict[str, str] = {}
    seen: set[str] = set()
    for package in distributions():
        try:
            if GROUP not in (package.read_text("entry_points.txt") or ""):
                continue  # read as text first, for most have none for us
        except (OSError, UnicodeDecodeError):
            continue
        origin = _origin(package)
        name = origin.rpartition(" ")[0]
        if name in seen:
            continue  # the first of a name on the path is the one that is imported
        seen.add(name)
        try:
            points = [p for p in package.entry_points if p.group.startswith(GROUP)]
        except Exception as error:  # the file is a stranger's, and readers of it raise anything
            unreadable[origin] = f"its entry points cannot be read ({one_line(error)})"
            continue
        for group, name, target in dict.fromkeys((p.group, p.name, p.value) for p in points):
            groups.setdefault(group, []).append(Entry(name, target, "", origin))
    return groups, unreadable


def unread_packages(registries: tuple[Registry, ...]) -> dict[str, str]:
    """Packages whose plug-ins no registry reads, by name and version, and why."""
    groups, unreadable = announced()
    known = [registry.group for registry in registries]
    found = dict(unreadable)
    for group in groups.keys() - known:
        near = difflib.get_close_matches(group, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        for entry in groups[group]:
            found[entry.origin] = f"nothing reads its entry-point group {group!r}{hint}"
    return found


def check_kind(found: Any, kind: str, base: str | None, named: str | None, name: str) -> None:
    """Raise `BrokenPluginError` for what is no concrete subclass of `base`, or bears another name.

    `named` is the class attribute that must equal `name`, None where there is none. A kind without
    a base takes any function, and a class whose objects are called as one.
    """
    shown = getattr(found, "__qualname__", repr(found))
    if base is None:
        makes = isinstance(found, type) and any("__call__" in vars(k) for k in found.__mro__)
        if not callable(found) or (isinstance(found, type) and not makes):
            raise BrokenPluginError(f"a {kind} is a function, but {shown} is none")
        return
    parent = Entry(name, base, "").load()
    if not (isinstance(found, type) and issubclass(found, parent)):
        wanted = base.replace(":", ".")
        raise BrokenPluginError(f"a {kind} is a subclass of {wanted}; {shown} is none")
    declared = [k for k, v in parent.__annotations__.items() if str(v).startswith("ClassVar")]
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    missing += [attribute for attribute in declared if not hasattr(found, attribute)]
    if missing:
        raise BrokenPluginError(f"{shown} does not define {', '.join(missing)}")
    if named is not None and getattr(found, named, None) != name:
        raise BrokenPluginError(
            f"{shown}.{named} must be {name!r}, the name of its entry point, "
            f"got {getattr(found, named, None)!r}"
        )


def _load_plugin(entry: Entry) -> Any:
    """Import a plug-in, whatever that runs into; raises `BrokenPluginError`."""
    if not TARGET.fullmatch(entry.target):
        raise BrokenPluginError(
            f"an entry point is written as module:attribute, got {entry.target!r}"
        )
    try:
        return entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may even call sys.exit
        raise BrokenPluginError(f"cannot import {entry.target}: {one_line(error)}") from error


def _first_line(found: Any) -> str:
    """The first line of a docstring, without its full stop; empty without one of its own."""
    text = found.__dict__.get("__doc__") if isinstance(found, type) else found.__doc__
    return inspect.cleandoc(text).split("\n", 1)[0].rstrip(".") if isinstance(text, str) else ""


def _origin(package: Distribution) -> str:
    """Name and version of a package; its metadata may be damaged."""
    try:
        return f"{package.metadata['Name']} {package.version}"
    except Exception:
        return "a package without readable metadata"


def _is_same_code(one: type, other: type) -> bool:
    """Whether two classes come from the same place in the same file, imported under two names."""
    try:
        files = inspect.getfile(one), inspect.getfile(other)
    except (TypeError, OSError):
        return False
    return one.__qualname__ == other.__qualname__ and files[0] == files[1]
