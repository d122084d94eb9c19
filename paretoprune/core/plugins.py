"""Plug-ins: what installed packages announce under the entry-point groups `paretoprune.<kinds>`.

A stranger's package must not take the command line down: whatever is wrong with it is kept as a
sentence, and its names are skipped.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, distributions
from typing import Any

from paretoprune.errors import ParetopruneError

GROUP = "paretoprune."
"""What the names of our entry-point groups begin with."""


class BrokenPluginError(ParetopruneError):
    """A plug-in cannot be used; the message names it, its package and the reason."""


@dataclass(frozen=True)
class Plugin:
    """One announced name: its entry-point group, what it points at, and the package behind it."""

    group: str
    name: str
    target: str
    origin: str


@dataclass(frozen=True)
class Announced:
    """All plug-ins that installed packages announce, and the packages that cannot be read, why."""

    plugins: tuple[Plugin, ...]
    unreadable: dict[str, str]


@cache
def announced() -> Announced:
    """Read the entry points of every installed package, once; imports none of them."""
    found: dict[tuple[str, str, str], Plugin] = {}
    unreadable: dict[str, str] = {}
    seen: set[str] = set()
    for package in distributions():
        if not _mentions_us(package):
            continue
        origin = _label(package)
        name = origin.rpartition(" ")[0]
        if name in seen:
            continue  # the first on the path is the one that is imported
        seen.add(name)
        try:
            points = [p for p in package.entry_points if p.group.startswith(GROUP)]
        except Exception as error:  # the file is a stranger's, and readers of it raise anything
            unreadable[origin] = f"its entry points cannot be read ({described(error)})"
            continue
        for point in points:
            found[point.group, point.name, origin] = Plugin(
                point.group, point.name, point.value, origin
            )
    return Announced(tuple(found.values()), unreadable)


def stray_groups(known: list[str]) -> dict[str, str]:
    """Packages that announce something under a group which nothing reads, and the nearest one."""
    found: dict[str, str] = {}
    for plugin in announced().plugins:
        if plugin.group not in known:
            near = difflib.get_close_matches(plugin.group, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            found[plugin.origin] = f"nothing reads its entry-point group {plugin.group!r}{hint}"
    return found


def load_target(target: str) -> Any:
    """Import `module:attribute`, whatever that runs into; raises `BrokenPluginError`."""
    module, colon, attribute = target.partition(":")
    words = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
    if not (colon and re.fullmatch(words, module) and re.fullmatch(words, attribute)):
        raise BrokenPluginError(f"an entry point is written as module:attribute, got {target!r}")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may even call sys.exit
        raise BrokenPluginError(f"cannot import {target}: {described(error)}") from error
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
    module, _, attribute = base.partition(":")
    parent = getattr(importlib.import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, parent)):
        raise BrokenPluginError(f"a {kind} is a subclass of {module}.{attribute}; {shown} is none")
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


def first_line(found: Any) -> str:
    """The first line of a docstring, without its full stop; empty without one of its own."""
    text = found.__dict__.get("__doc__") if isinstance(found, type) else found.__doc__
    return inspect.cleandoc(text).split("\n", 1)[0].rstrip(".") if isinstance(text, str) else ""


def described(error: BaseException) -> str:
    """An error as one line, with its type where the text alone says little."""
    text = " ".join(str(error).split())
    if isinstance(error, ImportError | AttributeError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _mentions_us(package: Distribution) -> bool:
    """Whether a package has entry points for us: read as text, for most have not."""
    try:
        return GROUP in (package.read_text("entry_points.txt") or "")
    except (OSError, UnicodeDecodeError):
        return False


def _label(package: Distribution) -> str:
    """Name and version of a package; its metadata may be damaged."""
    try:
        return f"{package.metadata['Name']} {package.version}"
    except Exception:
        return "a package without readable metadata"
