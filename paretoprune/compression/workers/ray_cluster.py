"""Workers as Ray actors, on this machine or on a cluster.

Ray keeps no promise of ours: an actor that dies is not restarted by it (`max_restarts=0`), so that
the pool decides what is done again, and how often. Ray (https://docs.ray.io) starts processes on
many machines, notices when one is gone, and is what clusters of GPUs commonly run already.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from paretoprune.compression.workers.transport import WorkerDied
from paretoprune.errors import InvalidValueError, not_installed

STORE_BYTES = 100 << 20
"""Ray's object store on this machine: messages are small and pass by it."""


class Host:
    """A Ray actor: a worker built from its configuration, which answers messages."""

    def __init__(self, factory: str, worker_config: str) -> None:
        module, _, attribute = factory.partition(":")
        self._worker = getattr(importlib.import_module(module), attribute)(
            json.loads(worker_config)
        )

    def ready(self) -> bytes:
        """Say that the worker has started; the answer names its process."""
        return str(os.getpid()).encode()

    def handle(self, message: bytes) -> bytes:
        """Answer a message."""
        answer: bytes = self._worker(message)
        return answer


class RayTransport:
    """Actors of `factory` (`module:attribute`, called with `worker_config`), after `connect`.

    Each has a core, and `gpus` GPUs, to itself.
    """

    def __init__(
        self, factory: str, worker_config: Mapping[str, Any], *, gpus: float = 0.0
    ) -> None:
        import ray

        self._ray = ray
        options = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        self._kind = self._ray.remote(Host).options(**options)
        self._arguments = (factory, json.dumps(worker_config))
        self._actors: list[Any] = []

    def start(self) -> Any:
        """Start an actor."""
        actor = self._kind.remote(*self._arguments)
        self._actors.append(actor)
        return actor

    def submit(self, worker: Any, message: bytes) -> Any:
        """Send a message; returns Ray's reference to the answer."""
        return worker.handle.remote(message)

    def ready(self, worker: Any) -> Any:
        """Ray's reference to the first answer."""
        return worker.ready.remote()

    def wait(self, tickets: Sequence[Any], seconds: float) -> list[Any]:
        """Tickets that are answered, or never will be."""
        done, _ = self._ray.wait(list(tickets), num_returns=len(tickets), timeout=0)
        if not done and seconds:
            done, _ = self._ray.wait(list(tickets), num_returns=1, timeout=seconds)
        return list(done)

    def result(self, ticket: Any) -> bytes:
        """The answer; raises `WorkerDied`, or the worker's exception."""
        failures = self._ray.exceptions
        try:
            answer: bytes = self._ray.get(ticket)
        except failures.RayTaskError as error:
            raise error.cause from error  # the worker's own
        except failures.RayError as error:  # the actor, its machine, or what it left there
            first = str(error).strip().splitlines()
            raise WorkerDied(first[0][:200] if first else type(error).__name__) from error
        return answer

    def stop(self, worker: Any) -> None:
        """Kill an actor."""
        self._ray.kill(worker)
        self._actors = [actor for actor in self._actors if actor is not worker]

    def close(self) -> None:
        """Kill all actors."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []


def disconnect() -> None:
    """Leave the cluster, or end one of our own."""
    import ray

    ray.shutdown()


def connect(workers: int, cluster: str | None) -> Any:
    """Ray, connected to a running cluster at this address, or to one on this machine.

    That has room for `workers`, and ends with `disconnect`. What Ray prints on its own account is
    held back. Raises `MissingDependencyError` without Ray, `InvalidValueError` where no cluster
    answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unasked
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise not_installed("--executor ray needs Ray", "ray") from error
    if ray.is_initialized():
        return ray
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if cluster is None:
            ray.init(
                num_cpus=workers, include_dashboard=False, object_store_memory=STORE_BYTES, **quiet
            )
        else:
            ray.init(address=cluster, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        first = str(error).strip().splitlines()
        where = "on this machine" if cluster is None else f"at {cluster}"
        raise InvalidValueError(
            f"no Ray cluster {where}: {first[0][:300] if first else type(error).__name__}"
        ) from error
    return ray
