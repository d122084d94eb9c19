"""VisPCO's ratio predictor (arXiv 2604.15188, section 3.2): every input token is projected.

With x_t the decoder's input embeddings (picture and question) and b the budget in 0..1,

    y_t = F2( F1( W x_t ; b ) ; b ),   theta(x, b) = sigmoid( head( mean_t y_t ) ),

F1 and F2 residual blocks with FiLM conditioning on b (arXiv 1709.07871), and theta, scaled to the
kernel's bounds, the parameters of a keep schedule. Ours (`policies.predictor`) pools first, so its
cost does not grow with the number of tokens.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretoprune.cost import DecoderSpec
from paretoprune.pruning.base import PruningContext
from paretoprune.pruning.policies.features import prompt_embeddings
from paretoprune.pruning.policies.trained import BLOCKS, FiLMBlock, TrainedPolicy


class TokenPredictor(nn.Module):
    """Embeddings `[rows, tokens, hidden]` and budgets `[rows]` to parameters in 0..1.

    The last layer starts small, so that every input starts at the middle of the kernel.
    """

    def __init__(self, hidden: int, parameters: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(hidden, width)
        self.blocks = nn.ModuleList([FiLMBlock(width) for _ in range(BLOCKS)])
        self.head = nn.Linear(width, parameters)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, embeddings: Tensor, is_valid: Tensor, budgets: Tensor) -> Tensor:
        """Parameters `[rows, parameters]`; `is_valid` `[rows, tokens]` is false for padding."""
        x = self.project(embeddings)
        for block in self.blocks:
            x = block(x, budgets[:, None, None])
        weight = is_valid[..., None].to(x)
        pooled = (x * weight).sum(1) / weight.sum(1).clamp(min=1.0)
        return torch.sigmoid(self.head(pooled))


def seeded_token_predictor(
    hidden: int, parameters: int, width: int, *, seed: int
) -> TokenPredictor:
    """A network with weights drawn by this seed; global generators stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TokenPredictor(hidden, parameters, width)


def token_predictor_flops(
    tokens: NDArray[np.int64], hidden: int, parameters: int, width: int
) -> NDArray[np.float64]:
    """FLOPs for inputs of so many tokens, in matrix products, float64 of their shape."""
    each = 2.0 * hidden * width + BLOCKS * 4.0 * width * width
    fixed = BLOCKS * 4.0 * width + 2.0 * width * parameters
    return np.asarray(each * np.asarray(tokens, dtype=np.float64) + fixed)


class VispcoPolicy(TrainedPolicy):
    """A trained `TokenPredictor` at one budget, deciding from the prefill."""

    name: ClassVar[str] = "vispco"
    net: TokenPredictor

    def __init__(
        self,
        layers: int,
        levels: int | None,
        hidden: int,
        kernel: str,
        budget: float,
        width: int = 32,
        first: int = 1,
        slope: float = 10.0,
        *,
        net: TokenPredictor | None = None,
    ) -> None:
        super().__init__(layers, levels, hidden, kernel, budget, width, first, slope)
        parameters = len(self.kernel.space.knobs)
        self.net = net or seeded_token_predictor(hidden, parameters, width, seed=0)

    def ratios(self, context: PruningContext) -> Tensor:
        """Keep ratios from the prompt's embeddings, float `[B, layers]`."""
        embeddings, is_valid = prompt_embeddings(context)
        self._check_hidden(embeddings.shape[2])
        with torch.no_grad():
            return self.predict(embeddings, is_valid)

    def predict(self, embeddings: Tensor, is_valid: Tensor) -> Tensor:
        """Keep ratios at the policy's budget, off any lattice: `[rows, layers]`."""
        assert self.budget is not None
        return self.at_budgets(
            embeddings, is_valid, embeddings.new_full((len(is_valid),), self.budget)
        )

    def at_budgets(self, embeddings: Tensor, is_valid: Tensor, budgets: Tensor) -> Tensor:
        """The same at one budget per row, `[rows]`; differentiable."""
        state = {name: x.to(embeddings) for name, x in self.net.named_parameters()}
        units = torch.func.functional_call(self.net, state, (embeddings, is_valid, budgets))
        return self._ratios_of(units)

    def flops(
        self,
        spec: DecoderSpec,
        tokens: NDArray[np.int64],
        visual: NDArray[np.int64],
        asked: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Every visual token and every one of the question goes through the network."""
        seen = np.asarray(visual) + np.maximum(asked, 1)
        return token_predictor_flops(seen, self.hidden, len(self.kernel.space.knobs), self.width)
