"""What `paretoprune check-model` finds out: does a model work here, and what can be searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paretoprune.adapters.load import load_adapter
from paretoprune.adapters.verify import SIZES, Verification, verify
from paretoprune.cost import DecoderSpec, decoder_cost, kv_bytes
from paretoprune.problems.token_pruning import LATTICE_TOKENS, MOST_LEVELS
from paretoprune.pruning.operators import Operators
from paretoprune.schedules.kernels import fitting_kernels
from paretoprune.space import SearchSpace


@dataclass(frozen=True)
class DenseCost:
    """The decoder's prefill of one probe with every token kept."""

    picture: tuple[int, int]
    visual_tokens: int
    text_tokens: int
    gflops: float
    blind_gflops: float
    kv_bytes: int


@dataclass(frozen=True)
class ModelCheck:
    """A loaded model: what was verified, its dimensions, its search spaces and its dense cost."""

    model: str
    architecture: str
    adapter: str
    note: str | None
    parameters: int
    dtype: str
    spec: DecoderSpec
    verification: Verification
    spaces: dict[str, SearchSpace]
    costs: list[DenseCost]


def check_model(model: str, *, pruner: str = "fastv", **loading: Any) -> ModelCheck:
    """Load a model, verify its adapter on noise pictures, and describe it.

    `loading` goes to `load_adapter`. Raises what that raises; a fault that verification finds in a
    family's own adapter is reported in the result.
    """
    wanted = Operators.of(pruner)
    adapter = load_adapter(model, **loading)
    operators, _ = wanted.available(adapter)
    found = verify(adapter)
    spec = adapter.spec
    levels = min(MOST_LEVELS, max(1, min(found.visual_tokens) // LATTICE_TOKENS))
    fitting = fitting_kernels(spec.layers, levels, operators.first_layer)
    spaces = {name: operators.joined(kernel.space) for name, kernel in fitting.kernels.items()}
    costs = []
    for size, visual, text in zip(SIZES, found.visual_tokens, found.text_tokens, strict=True):
        whole = np.full(spec.layers, visual + text, dtype=np.int64)
        alone = np.full(spec.layers, text, dtype=np.int64)
        costs.append(
            DenseCost(
                size, visual, text, decoder_cost(spec, whole) / 1e9,
                decoder_cost(spec, alone) / 1e9,
                kv_bytes(spec, whole, bytes_per_value=adapter.model.dtype.itemsize),
            )
        )  # fmt: skip
    return ModelCheck(
        model=model,
        architecture=type(adapter.model).__name__,
        adapter=adapter.family,
        note=adapter.note,
        parameters=sum(p.numel() for p in adapter.model.parameters()),
        dtype=str(adapter.model.dtype).removeprefix("torch."),
        spec=spec,
        verification=found,
        spaces=spaces,
        costs=costs,
    )
