"""The ratio predictor: (picture, question, budget) to the parameters of a kernel, per input.

After VisPCO (arXiv 2604.15188, section 3.2): projection, two residual blocks with FiLM conditioning
on the budget (arXiv 1709.07871), and a head. Pooling comes first here, so its cost does not grow
with the number of tokens. Its output is added to static parameters of the budget and of the
question's cluster,

    theta(z, b) = sigmoid( sum_g q_g(z) sum_k h_k(b) theta_gk + head(x(z, b)) ),
    q_g(z) = softmax_g( - |t - c_g|^2 / (2 v) ),

with theta_gk the parameters of cluster g at budget k of a grid, h the linear interpolation between
budgets of the grid, t the pooled question and c_g the centre of cluster g. Without the head it is a
static front per cluster of questions, and with one cluster a static front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretoprune.cost import DecoderSpec
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.base import PruningContext
from paretoprune.pruning.policies.features import pooled_features
from paretoprune.pruning.policies.trained import BLOCKS, FiLMBlock, TrainedPolicy


class RatioPredictor(nn.Module):
    """Features `[rows, 2 hidden]` and budgets `[rows]` to kernel parameters in 0..1.

    `mean` and `scale` `[2 hidden]` standardise the features; `base`
    `[clusters, points, parameters]` are the logits at the budgets of the grid. `centres`
    `[clusters, hidden]` and `spread` are the centres and the variance of clusters of standardised
    questions. The head starts at zero: untrained, it is a static front per cluster.
    """

    mean: Tensor
    scale: Tensor
    centres: Tensor
    spread: Tensor

    def __init__(
        self, hidden: int, parameters: int, points: int, width: int, clusters: int
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2 * hidden))
        self.register_buffer("scale", torch.ones(2 * hidden))
        self.register_buffer("centres", torch.zeros(clusters, hidden))
        self.register_buffer("spread", torch.ones(1))
        self.base = nn.Parameter(torch.zeros(clusters, points, parameters))
        self.project = nn.Linear(2 * hidden, width)
        self.blocks = nn.ModuleList([FiLMBlock(width) for _ in range(BLOCKS)])
        self.head = nn.Linear(width, parameters)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, budgets: Tensor, weights: Tensor) -> Tensor:
        """`weights` `[rows, points]` are those of the grid points at the budgets."""
        z = (features - self.mean) / self.scale
        x = self.project(z)
        for block in self.blocks:
            x = block(x, budgets[:, None])
        # |t|^2 is the same for all clusters
        near = z[:, z.shape[1] // 2 :] @ self.centres.T - (self.centres**2).sum(1) / 2
        cluster = torch.softmax(near / self.spread, 1)
        both = (cluster[:, :, None] * weights[:, None]).flatten(1)
        return torch.sigmoid(both @ self.base.flatten(0, 1) + self.head(x))


def seeded_net(
    hidden: int, parameters: int, points: int, width: int, clusters: int = 1, *, seed: int
) -> RatioPredictor:
    """A network with weights drawn by this seed; global generators stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RatioPredictor(hidden, parameters, points, width, clusters)


def predictor_flops(
    hidden: int, parameters: int, points: int, width: int, clusters: int = 1
) -> float:
    """FLOPs of one row in matrix products."""
    block = 4.0 * width * width + 4.0 * width
    network = 4.0 * hidden * width + BLOCKS * block + 2.0 * width * parameters
    return network + 2.0 * clusters * (hidden + points * parameters)


class Predicted(TrainedPolicy):
    """A trained predictor at one budget, deciding from the prefill.

    `grid` are the budgets that it was trained at, `clusters` is the number of clusters of
    questions. `aims` are budgets to ask the predictor for, and `reached` the mean relative compute
    that each gives on the training data, both rising.
    """

    name: ClassVar[str] = "predictor"
    net: RatioPredictor

    def __init__(
        self,
        layers: int,
        levels: int | None,
        hidden: int,
        kernel: str,
        grid: Sequence[float],
        budget: float,
        width: int = 16,
        first: int = 1,
        slope: float = 10.0,
        aims: Sequence[float] = (0.0, 1.0),
        reached: Sequence[float] = (0.0, 1.0),
        clusters: int = 1,
        *,
        net: RatioPredictor | None = None,
    ) -> None:
        super().__init__(layers, levels, hidden, kernel, budget, width, first, slope)
        if len(grid) < 2 or len(aims) < 2 or len(aims) != len(reached):
            raise InvalidValueError(
                f"a predictor needs 2 or more budgets, and as many aims as reached, got "
                f"{len(grid)}, {len(aims)} and {len(reached)}"
            )
        self.grid = tuple(map(float, grid))
        self.aims, self.reached = tuple(map(float, aims)), tuple(map(float, reached))
        self.clusters = clusters
        parameters = len(self.kernel.space.knobs)
        self.net = net or seeded_net(hidden, parameters, len(self.grid), width, clusters, seed=0)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything but the weights."""
        return {
            **super().settings, "grid": list(self.grid), "aims": list(self.aims),
            "reached": list(self.reached), "clusters": self.clusters,
        }  # fmt: skip

    def ratios(self, context: PruningContext) -> Tensor:
        """Keep ratios from pooled features, float `[B, layers]`."""
        features = torch.cat(pooled_features(context), 1)
        self._check_hidden(features.shape[1] // 2)
        return self.predict(features)

    def predict(self, features: Tensor) -> Tensor:
        """Keep ratios for features `[rows, 2 hidden]`, off any lattice: `[rows, layers]`."""
        assert self.budget is not None
        aim = float(np.interp(self.budget, self.reached, self.aims))
        aims = np.full(len(features), aim)
        with torch.no_grad():
            return self.at_aims(features, aims)

    def at_aims(self, features: Tensor, aims: NDArray[np.float64]) -> Tensor:
        """The same at one uncorrected budget per row, float64 `[rows]`; differentiable."""
        weights = torch.from_numpy(between(np.asarray(self.grid), aims)).to(features)
        state = {**dict(self.net.named_parameters()), **dict(self.net.named_buffers())}
        state = {name: x.to(features) for name, x in state.items()}
        budgets = torch.from_numpy(aims).to(features)
        units = torch.func.functional_call(self.net, state, (features, budgets, weights))
        return self._ratios_of(units)

    def flops(
        self,
        spec: DecoderSpec,
        tokens: NDArray[np.int64],
        visual: NDArray[np.int64],
        asked: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """One row of the predictor; pooling has no products."""
        parameters = len(self.kernel.space.knobs)
        row = predictor_flops(self.hidden, parameters, len(self.grid), self.width, self.clusters)
        return np.full(np.shape(tokens), row)


def between(grid: NDArray[np.float64], budgets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the grid points at these budgets: float64 `[budgets, points]`, rows sum to 1.

    Linear between neighbours, constant outside.
    """
    each = [np.interp(budgets, grid, row) for row in np.eye(len(grid))]
    return np.stack(each, axis=1)
