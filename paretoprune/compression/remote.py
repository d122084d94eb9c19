"""A split that many workers score, each on its own shard of the samples and with its own model.

A shard is whole batches, made up as one process would make them, so that every sample is computed
as it is there. Workers get names and numbers and build the rest themselves; what comes back is
added up, and no sample is in two shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretoprune.compression.population import Outcomes, Table
from paretoprune.compression.split import Measured
from paretoprune.compression.workers import WorkerPool
from paretoprune.compression.workers.messages import decode, encode
from paretoprune.compression.workers.pool import Task
from paretoprune.errors import UnsupportedError
from paretoprune.pruning.base import Pruner
from paretoprune.registry import pruners

WORKER = "paretoprune.compression.worker:SplitWorker"
Message = tuple[int, bytes]


def worker_config_of(
    model: str,
    task: str,
    data: str | None,
    data_seed: int,
    sizes: Mapping[str, int],
    loading: Mapping[str, Any],
) -> dict[str, Any]:
    """Settings from which a worker builds its model and data, JSON-ready; paths are absolute."""
    paths = {
        "model": str(Path(model).resolve()) if Path(model).is_dir() else model,
        "data": str(Path(data).resolve()) if data is not None and Path(data).exists() else data,
    }
    return {
        **paths, "task": task, "data_seed": data_seed, "sizes": dict(sizes),
        "loading": dict(loading),
    }  # fmt: skip


class Remote:
    """Workers with a model each; gives splits by name."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool

    def split(
        self,
        name: str,
        groups: Sequence[Sequence[int]],
        samples: int,
        known: Sequence[Pruner],
        *,
        per_picture: bool = False,
    ) -> RemoteSplit:
        """The split called `name`, of batches that hold the samples numbered in `groups`.

        Its workers know the pruners in `known`, by registered name; raises `UnsupportedError` for
        one of another class, which they could not build.
        """
        for pruner in known:
            known_as = pruners.entry(pruner.name)
            if known_as.is_located or known_as.load() is not type(pruner):
                raise UnsupportedError(
                    f"workers build pruners by their registered names, and {pruner.name!r} is not "
                    "that of this one; register it by an entry point, or run in process"
                )
        shards = shards_of(groups, self.pool.size)
        return RemoteSplit(self.pool, name, shards, samples, known, per_picture=per_picture)


def shards_of(groups: Sequence[Sequence[int]], workers: int) -> list[list[list[int]]]:
    """Deal batches to workers, the largest first to who has the fewest samples; none for some."""
    shards: list[list[list[int]]] = [[] for _ in range(workers)]
    sizes = [0] * workers
    for group in sorted(groups, key=len, reverse=True):
        least = sizes.index(min(sizes))
        shards[least].append([int(number) for number in group])
        sizes[least] += len(group)
    return shards


class RemoteSplit:
    """One split, as its workers see it together."""

    def __init__(
        self,
        pool: WorkerPool,
        name: str,
        shards: Sequence[Sequence[Sequence[int]]],
        samples: int,
        known: Sequence[Pruner],
        *,
        per_picture: bool = False,
    ) -> None:
        self._pool = pool
        self._samples = samples
        self._shards = {
            number: np.concatenate([np.asarray(group) for group in shard])
            for number, shard in enumerate(shards)
            if shard
        }
        self._about = {
            number: {
                "split": name, "groups": [list(group) for group in shards[number]],
                "pruners": [[pruner.name, dict(pruner.settings)] for pruner in known],
                "per_picture": per_picture,
            }
            for number in self._shards
        }  # fmt: skip
        self._begun: dict[tuple[Message, ...], list[Task]] = {}
        self._measured = self._measure()

    @property
    def measured(self) -> Measured:
        """Token counts and reference outcomes of all samples."""
        return self._measured

    def _measure(self) -> Measured:
        visual, text, pictures = np.zeros((3, self._samples), dtype=np.int64)
        outcomes = np.zeros((2, self._samples), dtype=np.float32)
        found = Measured(visual, text, pictures, outcomes)
        messages = [
            (number, encode({**about, "do": "measure"}, {}))
            for number, about in self._about.items()
        ]
        for number, (_, arrays) in self._answers(self._sent(messages), messages):
            rows = self._shards[number]
            found.visual_tokens[rows] = arrays["visual"]
            found.text_tokens[rows] = arrays["text"]
            found.pictures[rows] = arrays["pictures"]
            found.outcomes[:, rows] = arrays["outcomes"]
        return found

    def score(self, table: Table, chosen: NDArray[np.bool_]) -> Outcomes:
        """Outcomes of a table's schedules on the chosen samples, from all shards."""
        messages = self._messages(table, chosen)
        tasks = self._begun.pop(tuple(messages), None) or self._sent(messages)
        self._forget()
        score = np.zeros((len(table.ratios), self._samples), dtype=np.float32)
        divergence = np.zeros_like(score)
        left_out = np.zeros(score.shape, dtype=np.int64)
        flops = 0.0
        for number, (said, arrays) in self._answers(tasks, messages):
            rows = self._shards[number]
            score[:, rows], divergence[:, rows] = arrays["score"], arrays["divergence"]
            left_out[:, rows] = arrays["left_out"]
            flops += said["flops"]
        return Outcomes(score, divergence, left_out, flops)

    def begin(self, table: Table, chosen: NDArray[np.bool_]) -> None:
        """Send the work of the next `score` call, so that no worker waits for the others."""
        messages = self._messages(table, chosen)
        if tuple(messages) not in self._begun:
            self._begun[tuple(messages)] = self._sent(messages)

    def _forget(self) -> None:
        """Only the latest work that was begun may still be asked for."""
        for key in list(self._begun)[:-1]:
            self._pool.forget(self._begun.pop(key))

    def _sent(self, messages: Sequence[Message]) -> list[Task]:
        return [self._pool.submit(number, message) for number, message in messages]

    def _answers(
        self, tasks: Sequence[Task], messages: Sequence[Message]
    ) -> list[tuple[int, tuple[dict[str, Any], dict[str, NDArray[Any]]]]]:
        answers = self._pool.gather(tasks)
        return [
            (number, decode(answer)) for (number, _), answer in zip(messages, answers, strict=True)
        ]

    def _messages(self, table: Table, chosen: NDArray[np.bool_]) -> list[Message]:
        """One per shard that has any of the chosen samples."""
        ranked = [[pruner.name, dict(pruner.settings)] for pruner in table.pruners]
        distinct = [one for i, one in enumerate(ranked) if one not in ranked[:i]]
        said = {"do": "score", "ranked": distinct, "by": [distinct.index(one) for one in ranked]}
        return [
            (
                number,
                encode(
                    {**self._about[number], **said},
                    {
                        "ratios": table.ratios,
                        "wanted": np.packbits(table.wanted[:, rows], axis=1),
                        "chosen": chosen[rows],
                    },
                ),
            )
            for number, rows in self._shards.items()
            if chosen[rows].any()
        ]
