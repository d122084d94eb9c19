"""Fixtures shared by the tests: tiny random models and the embedded trained one."""

import hashlib

import pytest
import torch

from paretoprune.errors import MissingDependencyError
from paretoprune.problems.load import load_problem
from paretoprune.testing.postgresql import PostgresServer


@pytest.fixture(autouse=True, scope="session")
def _deterministic_threads():
    """Float sums do not depend on how many cores the test machine has."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def mini():
    """Token pruning on the embedded mini-LLaVA with small splits."""
    return load_problem(search_size=64, heldout_size=128)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of the tests' own, where one is installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    try:
        server = PostgresServer()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def database(postgres, request):
    """The address of an empty PostgreSQL database."""
    digits = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    return postgres.create(f"test_{digits}")
