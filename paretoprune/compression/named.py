"""Any problem by name: registered, or a user's own. Torch loads only where the problem needs it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from paretoprune.core.options import is_location
from paretoprune.core.problem import Problem
from paretoprune.core.user_code import locate_problem
from paretoprune.registry import problems

DEFAULT_PROBLEM = "token-pruning"
DEFAULT_OBJECTIVES = "score,compute"
"""The command line's, which are token pruning's: other problems have defaults of their own."""
LOADERS = {
    DEFAULT_PROBLEM: "paretoprune.compression.load:load_problem",
    "quantisation": "paretoprune.compression.load_quantised:load_quantisation",
    "joint": "paretoprune.compression.load_quantised:load_joint",
}
"""Functions that build those problems that need a model and data; the others take no options."""


def options_for(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's options that the problem `name` takes."""
    if name == DEFAULT_PROBLEM:  # known without loading torch
        return dict(given)
    if name not in LOADERS:
        return {}
    taken = inspect.signature(_loader(name)).parameters
    return {
        key: value
        for key, value in given.items()
        if key in taken and (key, value) != ("objectives", DEFAULT_OBJECTIVES)
    }


def load_named_problem(name: str, **options: Any) -> Problem:
    """A problem by its registered name, or a user's own as `module:attribute`.

    `options` are those that `options_for` finds.
    """
    if is_location(name):
        return locate_problem(name)
    problem: Problem = _loader(name)(**options) if name in LOADERS else problems.build(name)
    return problem


def _loader(name: str) -> Callable[..., Problem]:
    module, _, attribute = LOADERS[name].partition(":")
    loader: Callable[..., Problem] = getattr(importlib.import_module(module), attribute)
    return loader
