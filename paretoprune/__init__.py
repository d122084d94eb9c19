"""Paretoprune: quality-cost trade-offs of compressed models, and which search found them.

The public names are imported on first use: `import paretoprune` pulls in neither torch nor
transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Candidate": "paretoprune.problem",
    "Categorical": "paretoprune.space",
    "Comparison": "paretoprune.comparison",
    "Evaluation": "paretoprune.problem",
    "Float": "paretoprune.space",
    "FunctionProblem": "paretoprune.problems.function",
    "Int": "paretoprune.space",
    "KeepSchedule": "paretoprune.schedules",
    "Objective": "paretoprune.problem",
    "ParetopruneError": "paretoprune.errors",
    "Problem": "paretoprune.problem",
    "SearchContext": "paretoprune.search.base",
    "SearchSpace": "paretoprune.space",
    "SearchStrategy": "paretoprune.search.base",
    "StrategySpec": "paretoprune.specs",
    "TokenPruning": "paretoprune.problems.token_pruning",
    "as_problem": "paretoprune.problems.function",
    "compare": "paretoprune.comparison",
    "load": "paretoprune.deploy",
    "load_adapter": "paretoprune.adapters.load",
    "load_problem": "paretoprune.problems.load",
    "pruned": "paretoprune.deploy",
    "read_schedule": "paretoprune.schedules",
    "run_study": "paretoprune.study",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from paretoprune.adapters.load import load_adapter as load_adapter
    from paretoprune.comparison import Comparison as Comparison
    from paretoprune.comparison import compare as compare
    from paretoprune.deploy import load as load
    from paretoprune.deploy import pruned as pruned
    from paretoprune.errors import ParetopruneError as ParetopruneError
    from paretoprune.problem import Candidate as Candidate
    from paretoprune.problem import Evaluation as Evaluation
    from paretoprune.problem import Objective as Objective
    from paretoprune.problem import Problem as Problem
    from paretoprune.problems.function import FunctionProblem as FunctionProblem
    from paretoprune.problems.function import as_problem as as_problem
    from paretoprune.problems.load import load_problem as load_problem
    from paretoprune.problems.token_pruning import TokenPruning as TokenPruning
    from paretoprune.schedules import KeepSchedule as KeepSchedule
    from paretoprune.schedules import read_schedule as read_schedule
    from paretoprune.search.base import SearchContext as SearchContext
    from paretoprune.search.base import SearchStrategy as SearchStrategy
    from paretoprune.space import Categorical as Categorical
    from paretoprune.space import Float as Float
    from paretoprune.space import Int as Int
    from paretoprune.space import SearchSpace as SearchSpace
    from paretoprune.specs import StrategySpec as StrategySpec
    from paretoprune.study import run_study as run_study


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'paretoprune' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
