"""What a benchmark ran on: package versions, device, threads."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch

from paretoprune.zoo.load import find_device

PACKAGES = ("paretoprune", "torch", "transformers", "numpy")


def machine(device: str) -> dict[str, str]:
    """Versions and device by name, to be printed with every figure."""
    found = {name: version(name) for name in PACKAGES}
    found["python"] = platform.python_version()
    if find_device(device).type == "cuda":
        found["device"] = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        plural = "s" if threads > 1 else ""
        found["device"] = f"{platform.machine()} CPU, {threads} thread{plural}"
    return found


def told(found: dict[str, str]) -> str:
    """The same on one line."""
    return ", ".join(f"{name} {value}" for name, value in found.items())
