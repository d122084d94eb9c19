"""Paretoprune: quality-cost trade-offs of compressed models, and which search found them.

The public names are imported on first use: `import paretoprune` pulls in neither torch nor
transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Candidate": "paretoprune.core.problem",
    "Categorical": "paretoprune.core.space",
    "Comparison": "paretoprune.comparison.compare",
    "Compression": "paretoprune.compression.problem",
    "Evaluation": "paretoprune.core.problem",
    "Float": "paretoprune.core.space",
    "FunctionProblem": "paretoprune.compression.function",
    "Int": "paretoprune.core.space",
    "KeepSchedule": "paretoprune.schedules",
    "Objective": "paretoprune.core.problem",
    "ParetopruneError": "paretoprune.errors",
    "Problem": "paretoprune.core.problem",
    "SearchContext": "paretoprune.core.strategy",
    "SearchSpace": "paretoprune.core.space",
    "SearchStrategy": "paretoprune.core.strategy",
    "StrategySpec": "paretoprune.search.specs",
    "Tokens": "paretoprune.techniques.tokens",
    "as_problem": "paretoprune.compression.function",
    "compare": "paretoprune.comparison.compare",
    "load": "paretoprune.deploy.views",
    "load_adapter": "paretoprune.zoo.load",
    "load_problem": "paretoprune.compression.load",
    "pruned": "paretoprune.deploy.views",
    "read_schedule": "paretoprune.schedules",
    "run_study": "paretoprune.core.study",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from paretoprune.comparison.compare import Comparison as Comparison
    from paretoprune.comparison.compare import compare as compare
    from paretoprune.compression.function import FunctionProblem as FunctionProblem
    from paretoprune.compression.function import as_problem as as_problem
    from paretoprune.compression.load import load_problem as load_problem
    from paretoprune.compression.problem import Compression as Compression
    from paretoprune.core.problem import Candidate as Candidate
    from paretoprune.core.problem import Evaluation as Evaluation
    from paretoprune.core.problem import Objective as Objective
    from paretoprune.core.problem import Problem as Problem
    from paretoprune.core.space import Categorical as Categorical
    from paretoprune.core.space import Float as Float
    from paretoprune.core.space import Int as Int
    from paretoprune.core.space import SearchSpace as SearchSpace
    from paretoprune.core.strategy import SearchContext as SearchContext
    from paretoprune.core.strategy import SearchStrategy as SearchStrategy
    from paretoprune.core.study import run_study as run_study
    from paretoprune.deploy.views import load as load
    from paretoprune.deploy.views import pruned as pruned
    from paretoprune.errors import ParetopruneError as ParetopruneError
    from paretoprune.schedules import KeepSchedule as KeepSchedule
    from paretoprune.schedules import read_schedule as read_schedule
    from paretoprune.search.specs import StrategySpec as StrategySpec
    from paretoprune.techniques.tokens import Tokens as Tokens
    from paretoprune.zoo.load import load_adapter as load_adapter


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'paretoprune' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
