"""Measures the peak memory of a pruned prefill: activations and the cache, without the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.decoder import run_population


class _Keeping:
    """An adapter that keeps every layer's keys and values, as generation does."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.cache: list[tuple[Tensor, Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def run_layer(
        self, index: int, hidden: Tensor, rotary: Any, mask: Tensor | None, cache: Any = None
    ) -> Tensor:
        return self._adapter.run_layer(index, hidden, rotary, mask, _Copying(cache, self.cache))


class _Copying:
    def __init__(self, inner: Any, kept: list[tuple[Tensor, Tensor]]) -> None:
        self._inner = inner
        self._kept = kept

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *args: object
    ) -> tuple[Tensor, Tensor]:
        self._kept.append((keys, values))
        found: tuple[Tensor, Tensor] = self._inner.update(keys, values, layer, *args)
        return found


def peak_prefill_bytes(
    adapter: Adapter, prefill: Prefill, ratios: NDArray[np.float64], pruner: Pruner
) -> int:
    """Most bytes that a prefill under ratios `[layers]` holds at once, beyond what it starts with.

    Measured: on CUDA by the allocator's own meter, elsewhere from the allocations that the torch
    profiler records, in order. Includes the cache of keys and values.
    """

    def run() -> None:
        keeping: Any = _Keeping(adapter)
        for _ in run_population(keeping, prefill, ratios[None], pruner):
            pass

    with torch.inference_mode():
        if adapter.model.device.type == "cuda":
            return _on_cuda(run)
        return _recorded(run)


def _on_cuda(run: Callable[[], None]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)


def _recorded(run: Callable[[], None]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    results: Any = recorded.profiler.kineto_results
    changes = [(e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]"]
    changes.sort(key=lambda change: change[0])  # stable: events of one instant stay in order
    return int(max(0, np.cumsum([size for _, size in changes]).max(initial=0)))
