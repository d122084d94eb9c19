"""Checks of `paretoprune check-model`: whether a model works here, and its search spaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.verify import (
    PROMPTS,
    SIZES,
    Verification,
    in_one_sentence,
    masked_logits,
    noise_pictures,
    verify,
)
from paretoprune.core.space import SearchSpace
from paretoprune.cost import DecoderSpec, decoder_cost, kv_bytes
from paretoprune.deploy.views import pruned
from paretoprune.pruning.operators import Operators
from paretoprune.schedules.kernels import fitting_kernels
from paretoprune.techniques.tokens import LATTICE_TOKENS, MAX_LEVELS
from paretoprune.zoo.load import load_adapter


@dataclass(frozen=True)
class DenseCost:
    """The decoder's prefill of one probe with every token kept."""

    picture: tuple[int, int]
    visual_tokens: int
    text_tokens: int
    gflops: float
    text_only_gflops: float
    kv_bytes: int


@dataclass(frozen=True)
class ModelCheck:
    """A loaded model: its verification, dimensions, search spaces and dense cost.

    `pruned` is how far a pruned forward pass is from the model with the dropped tokens' keys
    masked, in parts of the largest logit; None for a decoder of one layer.
    """

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
    pruned: float | None

    @property
    def problem(self) -> str | None:
        """The failed check, in one clause; None if there is none."""
        allowed = self.verification.tolerance
        if self.verification.problem is not None or self.pruned is None or self.pruned <= allowed:
            return self.verification.problem
        return (
            f"with half of the visual tokens dropped the logits differ by {self.pruned:.2g} of the "
            "largest from the model's own with those tokens' keys masked (allowed: "
            f"{allowed:g}), so dropping means something else in this model"
        )


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
    levels = min(MAX_LEVELS, max(1, min(found.visual_tokens) // LATTICE_TOKENS))
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
        pruned=pruned_difference(adapter),
    )


def pruned_difference(adapter: Adapter) -> float | None:
    """Deviation of `paretoprune.pruned` from the model with masked keys; see `ModelCheck.pruned`.

    On two noise pictures with prompts of different lengths; half of the visual tokens leave before
    layer 1. None where there is no such layer.
    """
    layers = adapter.spec.layers
    if layers < 2:
        return None
    with in_one_sentence(type(adapter), adapter.model), torch.no_grad():
        inputs = adapter.inputs(noise_pictures(), PROMPTS)
        positions = adapter.positions(inputs)
        at = {} if positions is None else {"position_ids": positions}
        view = pruned(adapter.model, [1.0] + [0.5] * (layers - 1))
        out = view(**inputs, **at, use_cache=True)
        held = out.past_key_values.layers
        nothing = torch.zeros_like(inputs["attention_mask"], dtype=torch.bool)
        # padding of a shorter row points at a token that this row keeps or at padding: no key there
        keep_masks = [
            nothing.scatter_add(1, layer.positions % nothing.shape[1], layer.valid)
            for layer in held
        ]
        own = masked_logits(adapter, inputs, keep_masks)[keep_masks[-1]]
        return float((out.logits[keep_masks[-1]] - own).abs().max() / own.abs().max())
