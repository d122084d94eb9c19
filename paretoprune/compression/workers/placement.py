"""Placement of a problem's workers: the values of the command line's `--executor`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from paretoprune.compression.workers.pool import WorkerPool
from paretoprune.errors import InvalidValueError


class Placement(Protocol):
    """Starts a pool for a problem."""

    def pool(self, factory: str, worker_config: Mapping[str, Any]) -> WorkerPool:
        """Workers of `factory` (`module:attribute`), each called with `worker_config`."""


@dataclass
class RayPlacement:
    """Ray actors; use as a context manager, or call `close`.

    `workers` defaults to one per GPU for a model on `cuda`, else one per core of the cluster.
    `cluster` is the address of a running one; None starts one on this machine.
    """

    workers: int | None = None
    cluster: str | None = None
    pools: list[WorkerPool] = field(default_factory=list, init=False)

    def pool(self, factory: str, worker_config: Mapping[str, Any]) -> WorkerPool:
        """Workers as Ray actors; each death is a warning."""
        from paretoprune.compression.workers.ray_cluster import RayTransport, connect

        on_gpu = str(worker_config.get("loading", {}).get("device", "cpu")).startswith("cuda")
        ray = connect(self.workers or os.cpu_count() or 1, self.cluster)
        kind = "GPU" if on_gpu else "CPU"
        most = int(ray.cluster_resources().get(kind, 0))
        workers = self.workers or most
        if not 0 < workers <= most:
            raise InvalidValueError(
                f"{workers or 1} workers need as many {kind}s, and the Ray cluster has {most}"
            )
        transport = RayTransport(factory, worker_config, gpus=1.0 if on_gpu else 0.0)
        pool = WorkerPool(
            transport, workers, on_death=lambda what: warnings.warn(what, stacklevel=2)
        )
        self.pools.append(pool)
        return pool

    def close(self) -> None:
        """End all workers, and a cluster of our own."""
        from paretoprune.compression.workers.ray_cluster import disconnect

        for pool in self.pools:
            pool.close()
        if self.pools:
            disconnect()
        self.pools = []

    def __enter__(self) -> RayPlacement:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
