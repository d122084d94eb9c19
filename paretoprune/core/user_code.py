"""A user's own code: finds it at `file.py:attribute` or `module:attribute`, and names its mistakes.

Problems, strategies and pruners are found this way. Importing a file runs it, so only the command
line and the Python interface may say where one is: a study file or a schedule file may not.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from traceback import StackSummary, extract_tb
from types import ModuleType

from paretoprune.core.problem import Problem
from paretoprune.core.registries import BrokenPluginError, Registry, check_kind
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    one_line,
)

MAX_FRAMES = 20
"""Calls that are shown of a mistake, the innermost ones."""
LIBRARIES = (
    "<frozen ",
    str(Path(__file__).parents[1]),
    *(sysconfig.get_path(key) for key in ("stdlib", "purelib", "platlib")),
)
"""File names of code that no user wrote begin with one of these."""


def locate_problem(location: str) -> Problem:
    """The problem at `package.module:attribute` or `path/file.py:attribute`.

    The attribute is a `Problem`, which `as_problem` makes of a function, a subclass of it, or a
    function without arguments that returns one. A file's own folder is searched for its imports,
    after everything that is installed. Raises `BrokenFileError` for a module that cannot be
    imported, and names every other mistake.
    """
    module, attribute = _located(location, "problem", lambda value: isinstance(value, Problem))
    return _as_problem(getattr(module, attribute), location)


def locate_class(location: str, kind: str, base: str) -> tuple[type, str]:
    """The concrete subclass of `base` (`module:class`) at a location, and its `module:class`.

    `kind` names it in messages, such as `strategy`. Raises as `locate_problem` does, and
    `InvalidValueError` for another class, or one with abstract methods.
    """
    where, _, name = base.partition(":")
    parent: type = getattr(importlib.import_module(where), name)
    module, attribute = _located(
        location, kind,
        lambda value: isinstance(value, type) and issubclass(value, parent) and value is not parent,
    )  # fmt: skip
    found = getattr(module, attribute)
    try:
        check_kind(found, kind, base, None, attribute)
    except BrokenPluginError as error:
        raise InvalidValueError(f"{location}: {error}") from error
    return found, f"{module.__name__}:{attribute}"


def adopt(registry: Registry, location: str) -> str:
    """Register the class at a location for this process; returns the name it goes by.

    Raises what `locate_class` and `Registry.adopt` raise.
    """
    if registry.base is None:
        raise InvalidValueError(f"a {registry.kind} is named, not given as {location}")
    return registry.adopt(location, *locate_class(location, registry.kind, registry.base))


def _located(location: str, kind: str, fits: Callable[[object], bool]) -> tuple[ModuleType, str]:
    """The module of a location, imported, and the attribute's name; the attribute exists."""
    where, _, attribute = location.rpartition(":") if ":" in location else (location, "", "")
    if where.endswith(".py"):
        module = _from_file(Path(where), kind)
    else:
        module = _from_name(where, location, kind)
    fitting = [name for name, value in vars(module).items() if fits(value)]
    if not attribute:
        raise InvalidValueError(
            f"--{kind} {location} names no {kind} in the file; write {where}:NAME"
            + (f" with NAME one of {', '.join(fitting)}" if fitting else "")
        )
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise UnknownNameError(f"attribute of {where}", attribute, fitting or public)
    return module, attribute


def _as_problem(found: object, location: str) -> Problem:
    if isinstance(found, Problem):
        return found
    if not callable(found):
        raise InvalidValueError(
            f"{location} is {type(found).__name__}, not a problem: decorate a function with "
            "@paretoprune.as_problem(knobs=..., objectives=...)"
        )
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError) as error:
        raise InvalidValueError(
            f"{location} cannot be called without arguments ({error}): decorate a function of "
            "knobs with @paretoprune.as_problem(knobs=..., objectives=...)"
        ) from error
    try:
        made = found()
    except ParetopruneError:
        raise
    except (Exception, SystemExit) as error:
        raise mistake(f"{location} makes no problem", error) from error
    if not isinstance(made, Problem):
        raise InvalidValueError(
            f"{location}() returns {type(made).__name__}, not a problem: decorate a function of "
            "knobs with @paretoprune.as_problem(knobs=..., objectives=...)"
        )
    return made


def _from_file(file: Path, kind: str) -> ModuleType:
    if not file.is_file():
        raise BrokenFileError(f"no file {file} to take a {kind} from")
    state = file.stat()
    return _executed(file, file.resolve(), state.st_mtime_ns, state.st_size)


@cache
def _executed(shown: Path, file: Path, _modified: int, _size: int) -> ModuleType:
    """The module of a file, run again only after the file has changed."""
    digest = hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    stem = re.sub(r"\W", "_", file.stem)
    name = f"paretoprune_file_{stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _search_also(file.parent)
    sys.modules[name] = module  # dataclasses and typing look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BrokenFileError(f"{shown} cannot be imported: {where_raised(error)}") from error
    return module


def _from_name(name: str, location: str, kind: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InvalidValueError(
            f"--{kind} {location}: write module:NAME or file.py:NAME; {name!r} is no module"
        )
    _search_also(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise BrokenFileError(f"{name} cannot be imported: {where_raised(error)}") from error


def _search_also(folder: Path) -> None:
    """Look for modules in `folder` too, last: a file there hides nothing that is installed."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def mistake(what: str, error: BaseException) -> InvalidValueError:
    """The error for a mistake in a user's code: one sentence, with the calls to it as its notes."""
    refusal = InvalidValueError(f"{what}: {where_raised(error)}")
    calls = StackSummary.from_list(_frames(error)[-MAX_FRAMES:]).format()
    if calls:
        refusal.add_note("".join(calls).rstrip("\n"))
    return refusal


def where_raised(error: BaseException) -> str:
    """An exception and its line of code, such as `ValueError: no (mine.py, line 7)`.

    Where a library raised it, the line is that of the user's code that called it.
    """
    text = one_line(error)
    frames = _frames(error)
    if isinstance(error, SyntaxError) or not frames:
        return text  # a syntax error names its own line
    own = [f for f in frames if not f.filename.startswith(LIBRARIES)] or frames
    return f"{text} ({Path(own[-1].filename).name}, line {own[-1].lineno})"


def _frames(error: BaseException) -> StackSummary:
    """The calls that an error came through, from the first of a user's code on."""
    frames = extract_tb(error.__traceback__)
    first = next((i for i, f in enumerate(frames) if not f.filename.startswith(LIBRARIES)), 0)
    return StackSummary.from_list(frames[first:])
