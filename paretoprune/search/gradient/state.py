"""The state of a gradient search: its checkpoint file, and the optimizer's state."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from paretoprune.errors import BrokenFileError
from paretoprune.files import replacing, require_regular

VALUES = "values"
"""Key of the JSON text in the file's header."""


@dataclass(frozen=True)
class GradientState:
    """Tensors by name, and JSON-ready values: enough to continue as if nothing had happened.

    Generators are no part of it: each ask draws from `SearchContext.rng`, which depends on the seed
    and the ask's number alone.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write one safetensors file, whole or not at all; the values are in its header."""
        tensors = {name: value.detach().contiguous() for name, value in self.tensors.items()}
        with replacing(file) as partial:
            save_file(tensors, partial, metadata={VALUES: json.dumps(self.values)})

    @classmethod
    def load(cls, file: Path) -> GradientState:
        """Read a saved state; raises `BrokenFileError` naming the file."""
        require_regular(file, "state of a search")
        try:
            with safe_open(file, framework="pt") as stored:
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
                values = json.loads((stored.metadata() or {})[VALUES])
        except (OSError, SafetensorError, ValueError, KeyError, RecursionError) as error:
            raise BrokenFileError(f"cannot read a search's state from {file}: {error}") from error
        return cls(tensors, values)


def moments_of(optimizer: Optimizer) -> dict[str, Tensor]:
    """An optimizer's moments of each parameter, as named tensors."""
    return {
        f"adam.{number}.{key}": value
        for number, moments in optimizer.state_dict()["state"].items()
        for key, value in moments.items()
    }


def restore_moments(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Take over the tensors of `moments_of`; other tensors are ignored."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("adam."):
            _, number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = tensor.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Copies of the tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): tensor.clone()
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
