"""Contract suites that a third party runs on its own strategy, pruner, kernel or adapter.

Each is a class of pytest tests with a factory to fill in; a plug-in's test file is a few lines:

    from paretoprune.testing.strategies import StrategyContract

    class TestMine(StrategyContract):
        def make(self):
            return MyStrategy()

The suites take `pytest` from here. `models`, `toys`, `layered`, `relaxations` and `postgresql`,
which have no tests, do without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paretoprune.errors import not_installed

if TYPE_CHECKING:
    import pytest as pytest
else:
    try:
        import pytest
    except ImportError:

        def __getattr__(name: str) -> Any:
            if name == "pytest":
                raise not_installed("the contract suites run under pytest", "pytest")
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    else:
        # a failing assert then shows its values, as in the implementer's own tests
        pytest.register_assert_rewrite(
            *(
                f"{__name__}.{suite}"
                for suite in (
                    "strategies", "problems", "pruners", "kernels", "adapters", "policies",
                )
            )
        )  # fmt: skip
