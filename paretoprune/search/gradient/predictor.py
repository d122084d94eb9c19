"""A network from a budget to the parameters of a kernel: VisPCO's, but for its input embeddings.

Projection, two residual blocks with FiLM conditioning on the normalised budget (arXiv 1709.07871),
and a head (VisPCO, arXiv 2604.15188, section 3.2). Without input embeddings the tokens that are
projected and pooled in the paper are one learned vector.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FiLMBlock(nn.Module):
    """A residual block: x + W2 gelu( (1 + gamma(b)) * W1 norm(x) + beta(b) )."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.film = nn.Linear(1, 2 * width)

    def forward(self, x: Tensor, budget: Tensor) -> Tensor:
        """Features `[rows, width]` under budgets `[rows, 1]`."""
        gamma, beta = self.film(budget).chunk(2, -1)
        inside = (1 + gamma) * self.inner(self.norm(x)) + beta
        after: Tensor = x + self.outer(nn.functional.gelu(inside))
        return after


class BudgetPredictor(nn.Module):
    """Budgets `[rows]` in 0..1 to kernel parameters in 0..1, `[rows, parameters]`.

    The last layer starts small, so that every budget starts at the middle of the kernel.
    """

    def __init__(self, parameters: int, width: int = 32) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(width))
        self.project = nn.Linear(width, width)
        self.blocks = nn.ModuleList([FiLMBlock(width), FiLMBlock(width)])
        self.head = nn.Linear(width, parameters)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, budgets: Tensor) -> Tensor:
        """Sigmoids of the head's outputs."""
        column = budgets[:, None]
        x = self.project(self.token).expand(len(budgets), -1)
        for block in self.blocks:
            x = block(x, column)
        return torch.sigmoid(self.head(x))


def seeded_predictor(parameters: int, width: int, seed: int) -> BudgetPredictor:
    """A float64 predictor with weights drawn by this seed; global generators stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BudgetPredictor(parameters, width).double()
