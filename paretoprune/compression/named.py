"""Any problem by name: registered, or a user's own as `module:attribute` or `file.py:attribute`.

Torch loads only where the problem needs it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from paretoprune.compression.function import mistake, where_raised
from paretoprune.core.problem import Problem
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
)
from paretoprune.registry import problems

DEFAULT_PROBLEM = "compression"


def options_for(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's options that the problem `name` takes: all, or none."""
    return dict(given) if name == DEFAULT_PROBLEM else {}


def load_named_problem(name: str, **options: Any) -> Problem:
    """A problem by its registered name, or a user's own as `module:attribute`.

    `options` are those that `options_for` finds.
    """
    if is_location(name):
        return locate_problem(name)
    if name == DEFAULT_PROBLEM:
        from paretoprune.compression.load import load_problem

        return load_problem(**options)
    problem: Problem = problems.build(name)
    return problem


def is_location(name: str) -> bool:
    """Whether `name` says where a problem is rather than what a registered one is called."""
    return ":" in name or name.endswith(".py")


def locate_problem(location: str) -> Problem:
    """The problem at `package.module:attribute` or `path/file.py:attribute`.

    The attribute is a `Problem`, which `as_problem` makes of a function, a subclass of it, or a
    function without arguments that returns one. Importing it runs its code. A file's own folder
    is searched for what it imports, behind everything that is installed. Raises `BrokenFileError`
    for a module that cannot be imported, and names what else is wrong.
    """
    where, _, attribute = location.rpartition(":") if ":" in location else (location, "", "")
    module = _from_file(Path(where)) if where.endswith(".py") else _from_name(where, location)
    problems = [n for n, v in vars(module).items() if isinstance(v, Problem)]
    if not attribute:
        raise InvalidValueError(
            f"--problem {location} names no problem in the file; write {where}:NAME"
            + (f" with NAME one of {', '.join(problems)}" if problems else "")
        )
    if not hasattr(module, attribute):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise UnknownNameError(f"attribute of {where}", attribute, problems or public)
    return _as_problem(getattr(module, attribute), location)


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


def _from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise BrokenFileError(f"no file {file} to take a problem from")
    name = f"paretoprune_problem_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _search_also(file.resolve().parent)
    sys.modules[name] = module  # dataclasses and typing look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BrokenFileError(f"{file} cannot be imported: {where_raised(error)}") from error
    return module


def _from_name(name: str, location: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InvalidValueError(
            f"--problem {location}: write module:NAME or file.py:NAME; {name!r} is no module"
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
