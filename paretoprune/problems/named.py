"""Any problem by name: registered, or a user's own. Torch loads only where the problem needs it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from paretoprune.problem import Problem
from paretoprune.problems.locate import is_location, locate_problem
from paretoprune.registry import problems

DEFAULT_PROBLEM = "token-pruning"
DEFAULT_OBJECTIVES = "score,flops"
"""The command line's, which are token pruning's: other problems have defaults of their own."""


def options_for(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's options that the problem `name` takes by name."""
    if is_location(name):
        return {}
    if name == DEFAULT_PROBLEM:  # known without loading torch
        return dict(given)
    taken = inspect.signature(problems.load(name)).parameters
    return {
        key: value
        for key, value in given.items()
        if key in taken and (key, value) != ("objectives", DEFAULT_OBJECTIVES)
    }


def load_named_problem(name: str, **options: Any) -> Problem:
    """A problem by its registered name, or a user's own as `module:attribute`.

    `token-pruning` takes the options of `load.load_problem`; see `options_for` for others.
    """
    if name == DEFAULT_PROBLEM:
        from paretoprune.problems.load import load_problem

        return load_problem(**options)
    if is_location(name):
        return locate_problem(name)
    problem: Problem = problems.build(name, **options)
    return problem
