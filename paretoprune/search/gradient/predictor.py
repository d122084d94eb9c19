"""A network from a budget to the parameters of a kernel: VisPCO's, but for its input embeddings.

Projection, two residual blocks with FiLM conditioning on the normalised budget (arXiv 1709.07871),
and a head (VisPCO, arXiv 2604.15188, section 3.2). Without input embeddings the tokens that are
projected and pooled in the paper are one learned vector.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paretoprune.policies.predictor import FiLMBlock


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
