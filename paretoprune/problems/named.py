"""Any problem by name: registered, or a user's own. Torch loads only where the problem needs it."""

from __future__ import annotations

from typing import Any

from paretoprune.problem import Problem
from paretoprune.problems.locate import is_location, locate_problem
from paretoprune.registry import problems

DEFAULT_PROBLEM = "token-pruning"


def load_named_problem(name: str, **options: Any) -> Problem:
    """A problem by its registered name, or a user's own as `module:attribute`.

    `token-pruning` takes the options of `load.load_problem`.
    """
    if name == DEFAULT_PROBLEM:
        from paretoprune.problems.load import load_problem

        return load_problem(**options)
    if is_location(name):
        return locate_problem(name)
    problem: Problem = problems.build(name)
    return problem
