"""Any problem by name: registered, or a user's own. Torch loads only where the problem needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paretoprune.core.options import is_location
from paretoprune.core.problem import Problem
from paretoprune.core.user_code import locate_problem
from paretoprune.registry import problems

DEFAULT_PROBLEM = "compression"


def options_for(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A command's options that the problem `name` takes: all, or none."""
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
