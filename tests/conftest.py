"""Fixtures shared by the tests: tiny random models and the embedded trained one."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import settings

# before torch is imported, here and in the commands that tests start: two workers share two cores,
# and threads that wait for each other there take many times as long
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# hqq, which transformers imports, compiles a function that nothing here calls: a second per process
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import torch

from paretoprune.compression.load import load_problem
from paretoprune.errors import MissingDependencyError
from paretoprune.testing.postgresql import PostgresServer

# the same cases in every run; tests/fuzz/run.py draws others
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")


FOLDERS = {"adapters", "compression", "harnesses", "pruning", "techniques", "zoo"}
LOADERS = {"mini", "load_adapter", "load_problem", "Compression"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark as `numeric` what evaluates models: tests of FOLDERS, and users of one of LOADERS."""
    for item in items:
        folders = {*item.path.relative_to(Path(__file__).parent).parts[:-1]}
        used = {*item.fixturenames, *vars(getattr(item, "module", None) or object)}
        if folders & FOLDERS or used & LOADERS:
            item.add_marker(pytest.mark.numeric)


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
