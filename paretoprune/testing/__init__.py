"""Contract suites that a third party runs on its own strategy, pruner, kernel or adapter.

Each is a class of pytest tests with a factory to fill in; a plug-in's test file is a few lines:

    from paretoprune.testing.strategies import StrategyContract

    class TestMine(StrategyContract):
        def make(self):
            return MyStrategy()
"""

from paretoprune.errors import MissingDependencyError

try:
    import pytest
except ImportError as error:
    raise MissingDependencyError(
        "the contract suites run under pytest; install it with: pip install 'paretoprune[test]'"
    ) from error

# a failing assert then shows its values, as in the implementer's own tests
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{suite}"
        for suite in ("strategies", "problems", "pruners", "kernels", "adapters")
    )
)
