"""Base of trained policies: a network whose output is a kernel's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from paretoprune.errors import InvalidValueError, share_hint
from paretoprune.pruning.policies.base import Policy
from paretoprune.registry import kernels
from paretoprune.schedules.kernels.base import Kernel

BLOCKS = 2


class FiLMBlock(nn.Module):
    """A residual block: x + W2 gelu( (1 + gamma(b)) * W1 norm(x) + beta(b) )."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.film = nn.Linear(1, 2 * width)

    def forward(self, x: Tensor, budget: Tensor) -> Tensor:
        """Features `[..., width]` under budgets `[..., 1]`."""
        gamma, beta = self.film(budget).chunk(2, -1)
        inside = (1 + gamma) * self.inner(self.norm(x)) + beta
        after: Tensor = x + self.outer(nn.functional.gelu(inside))
        return after


class TrainedPolicy(Policy):
    """A network at one budget; its outputs in 0..1 are the parameters of the kernel.

    `kernel` is the kernel's name, with the `slope` of its steps; `first` is the first layer that
    it prunes; `width` is the network's own. Raises `InvalidValueError` for a budget outside 0..1.
    """

    net: nn.Module

    def __init__(
        self,
        layers: int,
        levels: int | None,
        hidden: int,
        kernel: str,
        budget: float,
        width: int,
        first: int,
        slope: float,
    ) -> None:
        if not 0 <= budget <= 1:
            raise InvalidValueError(
                f"a budget is a relative compute in 0..1, got {budget:g}{share_hint(budget)}"
            )
        self._layers, self.levels, self.hidden = layers, levels, hidden
        self.kernel_name, self.budget = kernel, float(budget)
        self.width, self.first, self.slope = width, first, slope

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self._layers

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel whose parameters the network gives."""
        kernel: Kernel = kernels.load(self.kernel_name)(self._layers, self.levels or 1, self.first)
        return kernel

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything but the weights."""
        return {
            "layers": self._layers, "levels": self.levels, "hidden": self.hidden,
            "kernel": self.kernel_name, "budget": self.budget, "width": self.width,
            "first": self.first, "slope": self.slope,
        }  # fmt: skip

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The network's weights, float32."""
        return {name: x.detach().float() for name, x in self.net.state_dict().items()}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The policy of a file."""
        policy = cls(**settings)
        policy.net.load_state_dict(dict(tensors))
        return policy

    def _ratios_of(self, units: Tensor) -> Tensor:
        """Keep ratios `[rows, layers]` of parameters in 0..1, `[rows, parameters]`."""
        low, high = (torch.from_numpy(bound).to(units) for bound in self.kernel.bounds)
        return self.kernel.ratios(low + units * (high - low), slope=self.slope)

    def _check_hidden(self, found: int) -> None:
        if found != self.hidden:
            raise InvalidValueError(
                f"this predictor is for hidden width {self.hidden}, the model has {found}"
            )
