"""Memory that a model holds, and that a call takes at its peak, in bytes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def held_bytes(model: nn.Module) -> int:
    """Bytes of all weights and buffers that a model or view holds, each tensor once."""
    held = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in held.values())


class _Meter(TorchDispatchMode):
    """Bytes of the tensor storages that operations create, now alive and at their peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        inputs = {_storage(x)._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                storage = _storage(x)
                if storage._cdata not in inputs | self._alive:  # else a view, or written in place
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
    """Peak bytes that a call adds on the device.

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
