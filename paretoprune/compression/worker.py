"""The worker's side of a remote split: a model, and the shards of splits it was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretoprune.adapters.fast_layers import with_fast_layers
from paretoprune.compression.population import Table
from paretoprune.compression.split import Split
from paretoprune.compression.workers.messages import decode, encode
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import make_pruner
from paretoprune.tasks.base import Sample
from paretoprune.tasks.load import load_task
from paretoprune.zoo.load import load_adapter


class SplitWorker:
    """Answers `measure` and `score` messages; see `compression.remote` for the other side.

    A message says which samples it is about, so any worker can answer any: it makes their prefills
    when it first meets them. On a CPU it uses one thread, as one of many workers.
    """

    def __init__(self, worker_config: Mapping[str, Any]) -> None:
        loading = dict(worker_config["loading"])
        if loading.get("device", "cpu") == "cpu":
            torch.set_num_threads(1)
        self._worker_config = worker_config
        adapter = load_adapter(worker_config["model"], **loading)
        adapter.model.requires_grad_(False)
        self._adapter = with_fast_layers(adapter)
        self._task = load_task(worker_config["task"], worker_config["data"])
        self._samples: dict[str, Sequence[Sample]] = {}
        self._splits: dict[tuple[str, str, bool], tuple[Split, NDArray[np.int64]]] = {}
        self._pruners: dict[str, Pruner] = {}

    def __call__(self, message: bytes) -> bytes:
        """Answer one message."""
        said, arrays = decode(message)
        split, rows = self._split(said)
        if said["do"] == "measure":
            found = split.measured
            return encode(
                {},
                {
                    "visual": found.visual_tokens[rows], "text": found.text_tokens[rows],
                    "pictures": found.pictures[rows], "outcomes": found.outcomes[:, rows],
                },
            )  # fmt: skip
        count = len(self._samples[said["split"]])
        wanted = np.zeros((len(arrays["ratios"]), count), dtype=np.bool_)
        wanted[:, rows] = np.unpackbits(arrays["wanted"], axis=1, count=len(rows)).astype(np.bool_)
        chosen = np.zeros(count, dtype=np.bool_)
        chosen[rows] = arrays["chosen"]
        ranked = [self._pruner(*one) for one in said["ranked"]]
        table = Table(
            [ranked[place] for place in said["by"]], arrays["ratios"], wanted,
            np.zeros((0, count), dtype=np.int64),
        )  # fmt: skip
        scored = split.score(table, chosen)
        return encode(
            {"flops": scored.flops},
            {
                "score": scored.score[:, rows], "divergence": scored.divergence[:, rows],
                "left_out": scored.left_out[:, rows].astype(np.int32),
            },
        )  # fmt: skip

    def _split(self, said: Mapping[str, Any]) -> tuple[Split, NDArray[np.int64]]:
        name, groups = said["split"], said["groups"]
        key = name, repr(groups), said["per_picture"]
        if key not in self._splits:
            worker_config = self._worker_config
            if name not in self._samples:
                size = worker_config["sizes"][name]
                self._samples[name] = self._task(name, size, seed=worker_config["data_seed"])
            known = [self._pruner(*one) for one in said["pruners"]]
            needs = frozenset[str]().union(*(pruner.needs for pruner in known))
            split = Split(
                self._adapter, self._samples[name], groups, known[0], needs=needs,
                per_picture=said["per_picture"],
            )  # fmt: skip
            rows = np.concatenate([np.asarray(group, dtype=np.int64) for group in groups])
            self._splits[key] = split, rows
        return self._splits[key]

    def _pruner(self, name: str, settings: Mapping[str, Any]) -> Pruner:
        key = repr((name, settings))
        if key not in self._pruners:
            self._pruners[key] = make_pruner(name, settings)
        return self._pruners[key]
