"""AutoPrune (arXiv 2509.23931): a logistic retention curve, as steep as the question is hard.

The mutual information of question and picture is computed from an early layer's attention. With
a_ij the weight of question token i on visual token j in one head and P = a / sum(a),

    MI = sum over heads of  sum_ij P_ij log( P_ij / (P_i. P_.j) )      ("Method", complexity metric)
    k  = max(k0 - gamma MI, 0)                                         (slope of the curve)
    f(x) = 1 / (1 + exp(k (x - x0))),   r_l = min(1, c f(x_l)),

and c is bisected until the mean of r_l over layers is the token budget. The authors' values are for
32 layers and 32 heads (x0 = 14.9, k0 = 0.4, gamma = 0.2: their README); x counts layers as if there
were 32, and MI is that of 32 heads, so that the values carry over between models.

Their code also recycles dropped tokens, and ranks the others by the attention of all question
tokens. That is a pruner's part here: any may follow the curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from paretoprune.cost import attention_query_flops
from paretoprune.errors import InvalidValueError, share_hint
from paretoprune.pruning.policies.base import Policy

if TYPE_CHECKING:
    from torch import Tensor

    from paretoprune.cost import DecoderSpec
    from paretoprune.pruning.base import PruningContext

DEPTH = 32
"""Layers, and heads, of the decoder that the authors' values are for."""
HALVINGS = 60


class AutoPrune(Policy):
    """One curve per sample, all with the same mean share of visual tokens over layers, `tokens`.

    It decides before layer `layer`, from the attention of the layer before. `centre` is x0, `slope`
    k0, `sensitivity` gamma.
    """

    name: ClassVar[str] = "autoprune"

    def __init__(
        self,
        layers: int,
        levels: int | None,
        tokens: float,
        layer: int = 2,
        centre: float = 14.9,
        slope: float = 0.4,
        sensitivity: float = 0.2,
    ) -> None:
        if not 0 <= tokens <= 1:
            raise InvalidValueError(
                f"tokens is a share of the visual tokens in 0..1, got {tokens}{share_hint(tokens)}"
            )
        if not 1 <= layer < layers:
            raise InvalidValueError(
                "AutoPrune looks at the attention of the layer before it decides: layer must be "
                f"in 1..{layers - 1}, got {layer}"
            )
        if not slope >= 0 or not sensitivity >= 0:
            raise InvalidValueError(
                f"slope and sensitivity must be 0 or more, got {slope} and {sensitivity}"
            )
        self._layers = layers
        self.levels, self.layer = levels, layer
        self.tokens, self.centre = tokens, centre
        self.slope, self.sensitivity = slope, sensitivity

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self._layers

    @property
    def settings(self) -> Mapping[str, Any]:
        """Arguments of the constructor."""
        return {
            "layers": self._layers, "levels": self.levels, "tokens": self.tokens,
            "layer": self.layer, "centre": self.centre, "slope": self.slope,
            "sensitivity": self.sensitivity,
        }  # fmt: skip

    @property
    def label(self) -> str:
        """The name in tables."""
        return f"{self.name} at {self.tokens:.3f} of the tokens ({self.key[:8]})"

    def ratios(self, context: PruningContext) -> Tensor:
        """The curve of each sample, float `[B, layers]`."""
        return self.curve(mutual_information(context))

    def curve(self, information: Tensor) -> Tensor:
        """Keep ratios `[B, layers]` for mutual information `[B]`, in nats over 32 heads."""
        import torch

        k = (self.slope - self.sensitivity * information).clamp(min=0.0)
        index = torch.arange(self._layers, dtype=k.dtype, device=k.device)
        shape = torch.sigmoid(-k[:, None] * (index * DEPTH / self._layers - self.centre))
        low = torch.zeros_like(k)
        high = 1.0 / shape.min(1).values  # there every layer keeps all
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fits = self._scaled(shape, middle).mean(1) <= self.tokens
            low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
        return self._scaled(shape, low)

    def _scaled(self, shape: Tensor, scale: Tensor) -> Tensor:
        import torch

        rows = (scale[:, None] * shape).clamp(max=1.0)
        dense = torch.arange(self._layers, device=shape.device) < self.layer
        return torch.where(dense, torch.ones_like(rows), rows)

    def flops(
        self,
        spec: DecoderSpec,
        tokens: NDArray[np.int64],
        visual: NDArray[np.int64],
        asked: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """A query per token of the question, against all keys of the layer before."""
        return np.asarray(asked, dtype=np.float64) * attention_query_flops(spec, tokens)


def mutual_information(context: PruningContext) -> Tensor:
    """Mutual information of question and picture in the layer before, in nats: float `[B]`.

    The mean over heads, times 32. Only the question's queries are projected, a block at a time: of
    the joint distribution P = a / S, with row sums r and column sums c of the weights a,

        MI = ( sum a log a - sum r log r - sum c log c ) / S + log S.
    """
    import torch

    text, is_valid = context.text
    columns = context.visual[:, None, None]
    sums: list[Tensor] = []
    for part, weights in context.attention_blocks(text):
        heads, asked = weights.shape[1], weights.shape[2]
        a = weights.gather(3, columns.expand(-1, heads, asked, -1))
        a = a * is_valid[:, part][:, None, :, None] * context.present[:, None, None]
        r = a.sum(3)
        parts = (a.xlogy(a).sum((2, 3)), r.xlogy(r).sum(2), r.sum(2), a.sum(2))
        sums = [one + other for one, other in zip(sums, parts, strict=True)] if sums else [*parts]
    log_sums, rows, total, received = sums
    seen = total.clamp(min=torch.finfo(total.dtype).tiny)
    each = (log_sums - rows - received.xlogy(received).sum(2)) / seen + seen.log()
    return DEPTH * torch.where(total > 0, each, 0.0).clamp(min=0.0).mean(1)
