"""A pool of workers: each holds a shard of the samples; a dead one is replaced, its work redone.

A message is for a shard, not for a worker, and says all that is needed to answer it. So it can be
sent again: to the replacement, or, while there is no room for one, to a worker that lives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paretoprune.compression.workers.transport import Transport, WorkerDied

MAX_DEATHS = 3
"""Workers that one message may take with it before it counts as the candidates' fault."""
REPLACE_SECONDS = 60.0
"""Seconds that a shard waits for its worker's replacement before another worker takes it."""
LOOK_SECONDS = 1.0


@dataclass
class Worker:
    """A worker as its transport knows it, and whether it has answered yet."""

    handle: Any
    started: float
    ready: Any = None


@dataclass
class Task:
    """A message on its way: to whom, how often its worker died, and its answer."""

    shard: int
    message: bytes
    worker: Worker
    ticket: Any
    deaths: int = 0
    answer: bytes | None = None
    error: Exception | None = None
    waited: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> bool:
        """Whether there is an answer, or an error instead."""
        return self.answer is not None or self.error is not None


@dataclass
class Traffic:
    """Traffic so far: bytes of messages and answers, messages, deaths."""

    sent: int = 0
    received: int = 0
    messages: int = 0
    deaths: int = 0
    moved: int = 0
    """Shards that a living worker took over."""


class WorkerPool:
    """`workers` workers and as many shards; use as a context manager or call `close`.

    `on_death` is called with one sentence for each death.
    """

    def __init__(
        self,
        transport: Transport,
        workers: int,
        *,
        max_deaths: int = MAX_DEATHS,
        replace_seconds: float = REPLACE_SECONDS,
        on_death: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._transport = transport
        self.size = workers
        self._most_deaths = max_deaths
        self._replace_seconds = replace_seconds
        self._on_death = on_death
        self.traffic = Traffic()
        self._workers = [self._start() for _ in range(workers)]
        self._holder = list(self._workers)  # by shard
        self._running: list[Task] = []
        self._warned_of_waiting = False

    def _start(self) -> Worker:
        worker = Worker(self._transport.start(), time.monotonic())
        worker.ready = self._transport.ready(worker.handle)
        return worker

    def submit(self, shard: int, message: bytes) -> Task:
        """Send a message to whoever holds a shard."""
        worker = self._holder[shard]
        task = Task(shard, message, worker, self._send(worker, message))
        self._running.append(task)
        return task

    def _send(self, worker: Worker, message: bytes) -> Any:
        self.traffic.messages += 1
        self.traffic.sent += len(message)
        return self._transport.submit(worker.handle, message)

    def gather(self, tasks: Sequence[Task]) -> list[bytes]:
        """The answers, in order, once all are there; raises the first failed one's exception."""
        while open_tasks := [task for task in tasks if not task.done]:
            self._look(open_tasks)
        for task in tasks:
            if task.error is not None:
                raise task.error
        return [task.answer for task in tasks if task.answer is not None]

    def forget(self, tasks: Sequence[Task]) -> None:
        """Nobody will ask for these answers."""
        gone = {id(task) for task in tasks}
        self._running = [task for task in self._running if id(task) not in gone]

    def _look(self, wanted: Sequence[Task]) -> None:
        by_ticket = {id(task.ticket): task for task in wanted}
        tickets = [task.ticket for task in wanted]
        for ticket in self._transport.wait(tickets, LOOK_SECONDS):
            self._settle(by_ticket[id(ticket)])
        self._hand_over()
        self._tell_of_waiting()

    def _settle(self, task: Task) -> None:
        """Take an answer, or handle a death."""
        try:
            task.answer = self._transport.result(task.ticket)
        except WorkerDied as death:
            if task.worker in self._workers:
                self._replace(task.worker, str(death))
            task.deaths += 1
            if task.deaths >= self._most_deaths:
                task.error = RuntimeError(f"{task.deaths} workers died of it, the last: {death}")
            else:
                task.worker = self._holder[task.shard]
                task.waited = time.monotonic()
                task.ticket = self._send(task.worker, task.message)
        except Exception as error:
            task.error = error
        else:
            self.traffic.received += len(task.answer)
        if task.done:
            self.forget([task])

    def _replace(self, dead: Worker, why: str) -> None:
        self.traffic.deaths += 1
        place = self._workers.index(dead)
        self._on_death(f"worker {place} died ({why}) and is replaced")
        self._transport.stop(dead.handle)
        fresh = self._start()
        self._workers[place] = fresh
        self._holder = [fresh if holder is dead else holder for holder in self._holder]
        self._holder[place] = fresh  # its shards return from the others

    def _hand_over(self) -> None:
        """Give the shards of workers that do not start to the living one with the fewest."""
        for task in self._running:
            late = time.monotonic() - max(task.waited, task.worker.started)
            if late < self._replace_seconds or self._is_up(task.worker):
                continue
            living = [w for w in self._workers if w is not task.worker and self._is_up(w)]
            if not living:
                continue
            taker = min(living, key=self._holder.count)
            self._on_death(f"no worker started for shard {task.shard}: another one takes it over")
            self.traffic.moved += 1
            self._holder[task.shard] = taker
            task.worker, task.waited = taker, time.monotonic()
            task.ticket = self._send(taker, task.message)
        for place, worker in enumerate(self._workers):
            if self._holder[place] is not worker and self._is_up(worker):
                self._holder[place] = worker  # there is room again: it takes its own shard back

    def _tell_of_waiting(self) -> None:
        """Say once that no worker at all has started: the cluster may be full."""
        if self._warned_of_waiting or any(self._is_up(worker) for worker in self._workers):
            return
        if time.monotonic() - self._workers[0].started > self._replace_seconds:
            self._warned_of_waiting = True
            self._on_death(f"none of {self.size} workers has started yet; is there room for them?")

    def _is_up(self, worker: Worker) -> bool:
        if worker.ready is None:
            return True
        if self._transport.wait([worker.ready], 0.0):
            try:
                self._transport.result(worker.ready)
            except Exception:
                return False
            worker.ready = None
            return True
        return False

    def close(self) -> None:
        """End all workers."""
        self._transport.close()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
