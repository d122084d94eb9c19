"""Workers as threads of this process: for tests of a pool, and for simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from paretoprune.compression.workers.transport import WorkerDied

Answering = Callable[[bytes], bytes]


@dataclass(eq=False)
class ThreadWorker:
    """A thread with a worker in it, its open tickets, and whether it was killed."""

    answer: Answering
    pool: ThreadPoolExecutor | None
    open: list[Future[bytes]] = field(default_factory=list)
    dead: bool = False


class ThreadTransport:
    """Threads that answer messages; `build` makes a worker.

    `room` is the largest number that can run at a time: a further one waits, never ready, until
    there is more.
    """

    def __init__(self, build: Callable[[], Answering], *, room: int | None = None) -> None:
        self._build = build
        self.room = room
        self.workers: list[ThreadWorker] = []

    def start(self) -> ThreadWorker:
        """Start a thread, if there is room."""
        living = sum(worker.pool is not None and not worker.dead for worker in self.workers)
        fits = self.room is None or living < self.room
        worker = ThreadWorker(self._build(), ThreadPoolExecutor(1) if fits else None)
        self.workers.append(worker)
        return worker

    def submit(self, worker: ThreadWorker, message: bytes) -> Future[bytes]:
        """Send a message."""
        return self._call(worker, lambda: worker.answer(message))

    def ready(self, worker: ThreadWorker) -> Future[bytes]:
        """A ticket that is answered once the thread runs."""
        return self._call(worker, lambda: b"")

    def _call(self, worker: ThreadWorker, work: Callable[[], bytes]) -> Future[bytes]:
        ticket: Future[bytes] = Future()
        worker.open.append(ticket)

        def run() -> None:
            try:
                answer = work()
            except Exception as error:
                _settle(ticket, error)
            else:
                _settle(ticket, answer)
            worker.open.remove(ticket)

        if worker.dead:
            _settle(ticket, WorkerDied("killed"))
        elif worker.pool is not None:
            worker.pool.submit(run)
        return ticket

    def wait(self, tickets: Sequence[Future[bytes]], seconds: float) -> list[Future[bytes]]:
        """Tickets that are answered."""
        return list(wait(tickets, seconds, FIRST_COMPLETED).done)

    def result(self, ticket: Future[bytes]) -> bytes:
        """The answer."""
        return ticket.result()

    def kill(self, worker: ThreadWorker) -> None:
        """Let a worker die: its messages are never answered."""
        worker.dead = True
        for ticket in list(worker.open):
            _settle(ticket, WorkerDied("killed"))
        if worker.pool is not None:
            worker.pool.shutdown(wait=False, cancel_futures=True)

    def stop(self, worker: ThreadWorker) -> None:
        """End a worker."""
        if not worker.dead:
            self.kill(worker)

    def close(self) -> None:
        """End all of them."""
        for worker in self.workers:
            self.stop(worker)


def _settle(ticket: Future[bytes], found: bytes | Exception) -> None:
    """Answer a ticket, unless its worker was killed meanwhile."""
    try:
        if isinstance(found, Exception):
            ticket.set_exception(found)
        else:
            ticket.set_result(found)
    except InvalidStateError:
        pass
