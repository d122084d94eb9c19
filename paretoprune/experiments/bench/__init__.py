"""The project's benchmarks: `paretoprune bench NAME` on any machine, and what they share."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paretoprune.errors import UnknownNameError
from paretoprune.files import write_json

BENCHMARKS = (
    "evaluation", "prefill", "latency", "memory", "kernels", "operators", "gradient-bias",
    "gradient-step", "search-cost", "kill9",
)  # fmt: skip
"""Names of the modules in this package that have a `run`."""
PACKAGES = ("paretoprune", "torch", "transformers", "numpy")


def find(name: str) -> Callable[..., Any]:
    """The benchmark called `name`; raises `UnknownNameError`."""
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    benchmark: Callable[..., Any] = module.run
    return benchmark


def machine(device: str) -> dict[str, str]:
    """Versions and device by name, to be printed with every figure."""
    import torch

    from paretoprune.zoo.load import find_device

    found = {name: version(name) for name in PACKAGES}
    found["python"] = platform.python_version()
    if find_device(device).type == "cuda":
        found["device"] = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        plural = "s" if threads > 1 else ""
        found["device"] = f"{platform.machine()} CPU, {threads} thread{plural}"
    return found


def one_line(ran_on: Mapping[str, str]) -> str:
    """The return value of `machine`, on one line."""
    return ", ".join(f"{name} {value}" for name, value in ran_on.items())


def write_figures(file: Path | None, figures: Mapping[str, Any]) -> None:
    """Write a benchmark's figures as JSON, if a file is named."""
    if file is not None:
        write_json(file, figures)
