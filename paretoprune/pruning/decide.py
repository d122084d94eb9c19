"""Keep ratios of adaptive policies on each sample of a batch, with as few layers as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.base import Pruner, PruningContext
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.tokens import Trunk, enter


def decide(
    policy: Policy, context: PruningContext, pruner: Pruner, *, rounded: bool = True
) -> NDArray[np.float64]:
    """Keep schedules of a batch's samples, float64 `[B, layers]`, such that `pruner` can follow.

    On the policy's lattice, if `rounded`. Layers before the pruner's first one stay whole. Raises
    `InvalidValueError` for ratios that are no schedules.
    """
    return pruner.fitted(policy.schedules(context, rounded=rounded))


def decide_each(
    adapter: Adapter,
    prefill: Prefill,
    policies: Sequence[tuple[Policy, Pruner]],
    *,
    sample: torch.Tensor | None = None,
    trunk: Trunk | None = None,
    rounded: bool = True,
) -> list[NDArray[np.float64]]:
    """Keep ratios `[B, layers]` of each policy on a batch, with the pruner that follows it.

    Dense layers are run as far as the latest of them looks, or taken from the `trunk`. Ratios are
    on each policy's lattice, if `rounded`. Raises `InvalidValueError` for a policy made for another
    number of layers.
    """
    layers = adapter.spec.layers
    for policy, _ in policies:
        check_layers(policy, layers)
    decided: dict[int, NDArray[np.float64]] = {}
    tokens = enter(prefill, sample)
    deepest = max((policy.layer for policy, _ in policies), default=0)
    for layer in range(deepest + 1):
        context = tokens.context(adapter, layer)
        for number, (policy, pruner) in enumerate(policies):
            if policy.layer == layer:
                decided[number] = decide(policy, context, pruner, rounded=rounded)
        if layer < deepest:
            if trunk is not None and layer in trunk.after:
                tokens = replace(trunk.after[layer], extras=tokens.extras)
            else:
                tokens = tokens.run(adapter, layer)
    return [decided[number] for number in range(len(policies))]


def check_layers(policy: Policy, layers: int) -> None:
    """Raise `InvalidValueError` where policy and model do not have the same number of layers."""
    if policy.layers != layers:
        raise InvalidValueError(
            f"policy {policy.name!r} is for {policy.layers} decoder layers, this model has {layers}"
        )
    if not 0 <= policy.layer < layers:
        raise InvalidValueError(
            f"policy {policy.name!r} decides before layer {policy.layer}, which must be in "
            f"0..{layers - 1}"
        )
