"""Finds the torch device of a name."""

from __future__ import annotations

import torch

from paretoprune.errors import InvalidValueError, brief


def find_device(name: str) -> torch.device:
    """The device called `name`, such as `cpu` or `cuda:1`, if it is on this machine.

    Raises `InvalidValueError`, which names those that are.
    """
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        found = None
    if found is None or found.type == "meta":
        why = " (this torch is built without CUDA)" if torch.version.cuda is None else ""
        raise InvalidValueError(
            f"there is no device {brief(name)} here; there are: {', '.join(_available())}{why}"
        )
    return found


def _available() -> list[str]:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    some = ["cuda"] if gpus else []
    apple = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *some, *(f"cuda:{i}" for i in range(gpus)), *apple]
