"""The project's benchmarks: `paretoprune bench NAME` on any machine."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from paretoprune.errors import UnknownNameError

BENCHMARKS = {
    "evaluation": "paretoprune.bench.evaluation:run",
    "prefill": "paretoprune.bench.prefill:run",
    "latency": "paretoprune.bench.latency:run",
    "memory": "paretoprune.bench.memory:run",
    "log": "paretoprune.bench.log:run",
    "kill9": "paretoprune.bench.kill9:run",
    "workers": "paretoprune.bench.workers:run",
    "fleet": "paretoprune.bench.fleet:run",
    "kernels": "paretoprune.bench.kernels:run",
    "joint": "paretoprune.bench.joint:run",
    "operators": "paretoprune.bench.operators:run",
    "search-cost": "paretoprune.bench.search_cost:run",
    "gradient-step": "paretoprune.bench.gradient_step:run",
    "gradient-bias": "paretoprune.bench.gradient_bias:run",
}


def find(name: str) -> Callable[..., Any]:
    """The benchmark called `name`; raises `UnknownNameError`."""
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    module, _, attribute = BENCHMARKS[name].partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found
