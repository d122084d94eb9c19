"""What a pool does with answers, errors and deaths, on workers that are threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from paretoprune.compression.workers import WorkerPool
from paretoprune.compression.workers.messages import decode, encode
from paretoprune.compression.workers.threads import ThreadTransport


def echo():
    return lambda message: message[::-1]


def test_answers_come_in_the_order_of_what_was_asked():
    with WorkerPool(ThreadTransport(echo), 3) as pool:
        tasks = [pool.submit(i % 3, f"message {i}".encode()) for i in range(20)]
        assert pool.gather(tasks) == [f"message {i}".encode()[::-1] for i in range(20)]
        assert pool.traffic.messages == 20 and pool.traffic.deaths == 0
        assert pool.traffic.sent == pool.traffic.received == sum(len(t.message) for t in tasks)


def test_what_a_worker_raises_comes_out_and_the_pool_goes_on():
    def build():
        def answer(message):
            if message == b"bad":
                raise ValueError("this candidate")
            return message

        return answer

    with WorkerPool(ThreadTransport(build), 2) as pool:
        with pytest.raises(ValueError, match="this candidate"):
            pool.gather([pool.submit(0, b"good"), pool.submit(1, b"bad")])
        assert pool.gather([pool.submit(0, b"x"), pool.submit(1, b"y")]) == [b"x", b"y"]


class Holding:
    """Workers that answer only once they are let go; the first ones made hold."""

    def __init__(self, holding):
        self.go = threading.Event()
        self.held = threading.Semaphore(0)
        self.left = holding

    def __call__(self):
        hold = self.left > 0
        self.left -= 1

        def answer(message):
            if hold:
                self.held.release()
                self.go.wait(300)
            return message

        return answer


def test_a_dead_worker_is_replaced_and_its_shard_done_again():
    build = Holding(1)
    transport = ThreadTransport(build)
    said = []
    with WorkerPool(transport, 2, on_death=said.append) as pool:
        tasks = [pool.submit(0, b"first"), pool.submit(1, b"second"), pool.submit(0, b"third")]
        assert build.held.acquire(timeout=300)
        transport.kill(transport.workers[0])
        assert pool.gather(tasks) == [b"first", b"second", b"third"]
        build.go.set()
        assert pool.traffic.deaths == 1
        assert len(said) == 1 and "worker 0 died" in said[0]
        assert pool.gather([pool.submit(0, b"again")]) == [b"again"]


def test_what_kills_every_worker_is_the_messages_fault():
    transport = ThreadTransport(lambda: lambda message: message)
    submit = transport.submit

    def deadly(worker, message):
        if message == b"deadly":
            transport.kill(worker)
        return submit(worker, message)

    transport.submit = deadly
    with WorkerPool(transport, 2, max_deaths=3) as pool:
        with pytest.raises(RuntimeError, match="3 workers died of it"):
            pool.gather([pool.submit(0, b"deadly")])
        assert pool.gather([pool.submit(0, b"fine"), pool.submit(1, b"too")]) == [b"fine", b"too"]


def test_a_shard_without_a_worker_goes_to_one_that_lives_and_comes_back():
    build = Holding(1)
    transport = ThreadTransport(build, room=2)
    with WorkerPool(transport, 2, replace_seconds=0.1) as pool:
        task = pool.submit(0, b"mine")
        assert build.held.acquire(timeout=300)
        transport.room = 1  # its machine is gone: there is no room for a replacement
        transport.kill(transport.workers[0])
        assert pool.gather([task]) == [b"mine"]
        build.go.set()
        assert (pool.traffic.deaths, pool.traffic.moved) == (1, 1)
        assert pool._holder[0] is pool._holder[1]
        waiting = pool._workers[0]
        transport.room = 2  # the machine is back
        waiting.handle.pool = ThreadPoolExecutor(1)
        waiting.ready = transport.ready(waiting.handle)
        pool.gather([pool.submit(1, b"a look")])
        assert pool._holder[0] is waiting
        assert pool.gather([pool.submit(0, b"home")]) == [b"home"]


def test_messages_carry_arrays_and_names():
    arrays = {"ratios": np.linspace(0, 1, 6).reshape(2, 3), "empty": np.zeros((0, 2), np.float32)}
    message = encode({"do": "score", "by": [0, 1]}, arrays)
    said, found = decode(message)
    assert said == {"do": "score", "by": [0, 1]}
    assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    assert message == encode({"by": [0, 1], "do": "score"}, dict(reversed(arrays.items())))


def test_a_pool_without_any_worker_says_so_once():
    said = []
    transport = ThreadTransport(echo, room=0)
    with WorkerPool(transport, 2, replace_seconds=0.05, on_death=said.append) as pool:
        task = pool.submit(0, b"hello")
        for _ in range(2):
            pool._look([task])
    assert said == ["none of 2 workers has started yet; is there room for them?"]
