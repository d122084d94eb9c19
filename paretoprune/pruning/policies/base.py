"""The policy contract: how many visual tokens each decoder layer keeps, for this input.

A pruner says which tokens go, a policy how many. A static one is a keep schedule; an adaptive one
looks at the input, once, and gives every sample a schedule of its own. A new policy is one file
with one subclass of `Policy` and one line in the registry.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.schedules.kernels.base import on_lattice

if TYPE_CHECKING:
    from torch import Tensor

    from paretoprune.cost import DecoderSpec
    from paretoprune.pruning.base import PruningContext

BUDGET = "budget"
"""The setting that names a policy's compute budget."""
SLACK = 1e-6
"""Tolerance of ratios that leave 0..1 or rise from layer to layer."""


class Policy(ABC):
    """Gives each sample of a batch its keep schedule. Same input, same schedule: no randomness.

    It decides once per input, before the decoder layer `layer`: layers before that keep all tokens.
    At layer 0 it sees the prefill alone, embedded text and projected pictures; later it may look at
    hidden states and at the attention of the layer before. Its keep ratios are rounded to `levels`
    steps (None: not rounded), so that samples and candidates share work.

    `budget` is the target of the mean relative compute over inputs; None if it has none.
    """

    name: ClassVar[str]
    adaptive: ClassVar[bool] = True
    """Whether schedules depend on the input."""
    layer: int = 0
    budget: float | None = None
    levels: int | None = None

    @property
    @abstractmethod
    def layers(self) -> int:
        """Number of decoder layers that its schedules are for."""

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Arguments of the constructor, JSON-ready: numbers, texts, lists."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Learned weights by name, which `settings` do not hold."""
        return {}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The policy of these settings and weights; raises `InvalidValueError` for unfit ones."""
        return cls(**settings)

    @abstractmethod
    def ratios(self, context: PruningContext) -> Tensor:
        """Keep ratios of each sample, float `[B, layers]` in 0..1, not rising from layer to layer.

        `context` is what a pruner sees before `layer`, with all tokens present.
        """

    def flops(
        self,
        spec: DecoderSpec,
        tokens: NDArray[np.int64],
        visual: NDArray[np.int64],
        asked: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """FLOPs of deciding, float64 `[samples]`, in matrix products, as those of layers are.

        Each sample has `tokens` in all, `visual` ones of them, and `asked` tokens of the question.
        """
        return np.zeros(np.shape(tokens))

    def at(self, budget: float) -> Self:
        """The same policy aiming at another budget; raises `UnsupportedError` if it has none."""
        if self.budget is None:
            raise UnsupportedError(f"policy {self.name!r} has no budget to choose")
        return self.restore({**self.settings, BUDGET: float(budget)}, self.tensors)

    def schedules(self, context: PruningContext, *, rounded: bool = True) -> NDArray[np.float64]:
        """Checked keep ratios of each sample, float64 `[B, layers]`; on the lattice if `rounded`.

        Raises `InvalidValueError` for ratios that are no keep schedules.
        """
        ratios = np.asarray(self.ratios(context).detach().cpu().double().numpy())
        return checked(self, ratios, len(context.hidden), rounded=rounded)

    @cached_property
    def key(self) -> str:
        """Name by content: equal for policies that decide alike, in any process."""
        digest = hashlib.sha256(
            json.dumps([self.name, dict(self.settings)], sort_keys=True).encode()
        )
        for name, tensor in sorted(self.tensors.items()):
            values = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {values.dtype} {tuple(values.shape)} ".encode())
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def label(self) -> str:
        """The name in tables."""
        aim = "" if self.budget is None else f" at {self.budget:.3f}"
        return f"{self.name}{aim} ({self.key[:8]})"


def checked(
    policy: Policy, ratios: NDArray[np.float64], samples: int, *, rounded: bool = True
) -> NDArray[np.float64]:
    """Ratios `[samples, layers]` of a policy as schedules, if `rounded` on its lattice.

    Raises `InvalidValueError` naming the fault.
    """
    shape = (samples, policy.layers)
    if ratios.shape != shape:
        raise InvalidValueError(
            f"policy {policy.name!r} must give keep ratios of shape {shape}, got {ratios.shape}"
        )
    if not np.isfinite(ratios).all() or ratios.min() < -SLACK or ratios.max() > 1 + SLACK:
        raise InvalidValueError(
            f"policy {policy.name!r} gives keep ratios outside 0..1: {float(ratios.min()):g} to "
            f"{float(ratios.max()):g}"
        )
    if (ratios[:, : policy.layer] < 1 - SLACK).any():
        raise InvalidValueError(
            f"policy {policy.name!r} decides before layer {policy.layer}, so the layers before it "
            "must keep all tokens"
        )
    rise = np.diff(ratios, axis=1)
    if rise.size and rise.max() > SLACK:
        raise InvalidValueError(
            f"policy {policy.name!r} gives keep ratios that rise by {float(rise.max()):g} from one "
            "layer to the next, but dropped tokens stay dropped"
        )
    falling = np.minimum.accumulate(ratios.clip(0.0, 1.0), axis=1)
    falling[:, : policy.layer] = 1.0
    if policy.levels is None or not rounded:
        return falling
    return on_lattice(falling, policy.levels)
