"""How much of a population's work is distinct: the bound that prefix sharing can reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paretoprune.cost import DecoderSpec, layer_cost


def distinct_flops(
    spec: DecoderSpec, counts: NDArray[np.int64], text: NDArray[np.int64]
) -> tuple[float, float]:
    """FLOPs of the layer segments, each distinct one once, and those of all candidates alone.

    `counts` int64 [candidates, layers, samples] are kept visual tokens, `text` int64 [samples]
    the other ones. A segment is one layer after one path of kept counts; ranking is left out.
    """
    alone = float(layer_cost(spec, counts + text).sum())
    distinct = 0.0
    path = np.zeros(len(counts), dtype=np.int64)
    for layer in range(counts.shape[1]):
        step = np.concatenate([path[:, None], counts[:, layer]], axis=1)
        _, first, path = np.unique(step, axis=0, return_index=True, return_inverse=True)
        path = path.reshape(-1)
        distinct += float(layer_cost(spec, counts[first, layer] + text).sum())
    return distinct, alone
