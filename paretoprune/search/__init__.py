"""Search strategies: one per file, behind the contract in `core.strategy`."""

DEFAULT_STRATEGIES = (
    "random",
    "grid:space=single-step",
    "tpe",
    "nsga2",
    "pymoo-nsga2",
    "gradient",
)
"""Compared unless others are named, as far as they fit the problem."""
