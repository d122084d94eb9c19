"""Measures the peak memory of a pruned prefill: activations and the cache, without the weights."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
        self, keys: Tensor, values: Tensor, layer: int, *args: object, **further: object
    ) -> tuple[Tensor, Tensor]:
        self._kept.append((keys, values))
        found: tuple[Tensor, Tensor] = self._inner.update(keys, values, layer, *args, **further)
        return found


class _Meter(TorchDispatchMode):
    """Bytes of the tensor storages that operations create, now alive and at their peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = {_storage(x)._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                storage = _storage(x)
                if storage._cdata not in given | self._alive:  # else a view, or written in place
                    self._count(storage)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def _storage(x: Tensor) -> torch.UntypedStorage:
    return x.untyped_storage()


def peak_bytes(device: torch.device, call: Callable[[], object]) -> int:
    """Most bytes that a call holds on the device at once, beyond what was there before.

    Measured: on CUDA by the allocator's own meter, elsewhere from every tensor that an operation
    makes, for as long as it lives (buffers inside an operation are not seen).
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    meter = _Meter()
    with meter:
        call()
    return meter.peak


def peak_prefill_bytes(
    adapter: Adapter,
    prefill: Prefill,
    ratios: NDArray[np.float64],
    pruner: Pruner,
    *,
    per_picture: bool = False,
) -> int:
    """Most bytes that a prefill under ratios `[layers]` holds at once, beyond what it starts with.

    Measured by `peak_bytes`, arguments as in `run_population`. Includes the cache of keys and
    values.
    """
    keeping: Any = _Keeping(adapter)

    def call() -> None:
        for _ in run_population(keeping, prefill, ratios[None], pruner, per_picture=per_picture):
            pass

    with torch.inference_mode():
        return peak_bytes(adapter.model.device, call)
