"""The project's benchmarks: `paretoprune bench NAME` on any machine."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from paretoprune.errors import UnknownNameError

BENCHMARKS = {
    "evaluation": "paretoprune.experiments.bench.evaluation:run",
    "prefill": "paretoprune.experiments.bench.prefill:run",
    "latency": "paretoprune.experiments.bench.latency:run",
    "memory": "paretoprune.experiments.bench.memory:run",
    "log": "paretoprune.experiments.bench.log:run",
    "kill9": "paretoprune.experiments.bench.kill9:run",
    "workers": "paretoprune.experiments.bench.workers:run",
    "fleet": "paretoprune.experiments.bench.fleet:run",
    "kernels": "paretoprune.experiments.bench.kernels:run",
    "joint": "paretoprune.experiments.bench.joint:run",
    "operators": "paretoprune.experiments.bench.operators:run",
    "search-cost": "paretoprune.experiments.bench.search_cost:run",
    "gradient-step": "paretoprune.experiments.bench.gradient_step:run",
    "gradient-bias": "paretoprune.experiments.bench.gradient_bias:run",
}


def find(name: str) -> Callable[..., Any]:
    """The benchmark called `name`; raises `UnknownNameError`."""
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    module, _, attribute = BENCHMARKS[name].partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found
