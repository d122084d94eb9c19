"""Transport of messages to workers: Ray, or another that starts them and returns answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class WorkerDied(Exception):
    """A worker, or the machine it ran on, is gone; the message has the known details."""


class Transport(Protocol):
    """Starts workers and carries bytes to and from them.

    A worker answers one message at a time, in order. `result` raises the worker's exceptions.
    """

    def start(self) -> Any:
        """Start a worker; it may take a while until it answers."""

    def submit(self, worker: Any, message: bytes) -> Any:
        """Send a message; returns a ticket for its answer."""

    def ready(self, worker: Any) -> Any:
        """A ticket that is answered as soon as the worker has started."""

    def wait(self, tickets: Sequence[Any], seconds: float) -> list[Any]:
        """Tickets that are answered, or never will be; [] after `seconds`."""

    def result(self, ticket: Any) -> bytes:
        """The answer; raises `WorkerDied` where there will be none, else the worker's exception."""

    def stop(self, worker: Any) -> None:
        """End a worker, if it is still there."""

    def close(self) -> None:
        """End all of them."""
