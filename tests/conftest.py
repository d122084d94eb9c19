"""Fixtures shared by the tests: tiny random models and the embedded trained one."""

import pytest
import torch

from paretoprune.problems.load import load_problem


@pytest.fixture(autouse=True, scope="session")
def _deterministic_threads():
    """Float sums do not depend on how many cores the test machine has."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def mini():
    """Token pruning on the embedded mini-LLaVA with small splits."""
    return load_problem(search_size=64, heldout_size=128)
