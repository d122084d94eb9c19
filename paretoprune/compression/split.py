"""One split of samples on one model, ready to score schedules: prefills, dense states, answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from paretoprune.adapters.base import Adapter
from paretoprune.compression.population import Outcomes, Table, score_population
from paretoprune.compression.prefill_store import DEFAULT_BYTES, PrefillStore
from paretoprune.compression.scorer import Scorer
from paretoprune.compression.teacher_forcing import answered_batch
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pictures import pictures_of
from paretoprune.pruning.tokens import Trunk, trunk_bytes
from paretoprune.tasks.base import Sample

DEFAULT_DENSE_BYTES = 1 << 30


@dataclass(frozen=True)
class Measured:
    """References of a split: token counts int64 `[samples]`, and dense and text-only outcomes.

    `pictures` int64 `[samples]` are those of each prompt that have visual tokens. `outcomes`
    float32 `[2, samples]` are the dense model's and the text-only one's.
    """

    visual_tokens: NDArray[np.int64]
    text_tokens: NDArray[np.int64]
    pictures: NDArray[np.int64]
    outcomes: NDArray[np.float32]


class Scoring(Protocol):
    """Where schedules are scored: in this process, or by many workers."""

    @property
    def measured(self) -> Measured:
        """Token counts and reference outcomes of all samples."""

    def score(self, table: Table, chosen: NDArray[np.bool_]) -> Outcomes:
        """Outcomes of a table's schedules on the chosen samples, bool `[samples]`."""

    def begin(self, table: Table, chosen: NDArray[np.bool_]) -> None:
        """Start the work of the next `score` call, where something can run meanwhile."""


class Split:
    """The samples in `groups` (numbers, a list per batch), prefilled and run dense and text-only.

    With all samples' groups this is the whole split; a worker has some of them, and zeros for the
    other samples. `needs` are the pruners'. `prefill_bytes` of prefills stay in memory, the rest on
    disk; `dense_bytes` of the dense model's hidden states and keys are kept, so that no population
    runs those layers again. With `per_picture` every picture keeps a token where a ratio is above
    0.
    """

    def __init__(
        self,
        adapter: Adapter,
        samples: Sequence[Sample],
        groups: Sequence[Sequence[int]],
        pruner: Pruner,
        *,
        needs: frozenset[str],
        prefill_bytes: int = DEFAULT_BYTES,
        dense_bytes: int = DEFAULT_DENSE_BYTES,
        per_picture: bool = False,
    ) -> None:
        self._adapter = adapter
        self._per_picture = per_picture
        self.batches = PrefillStore(
            (answered_batch(adapter, samples, numbers, needs=needs) for numbers in groups),
            limit=prefill_bytes,
        )
        self.scorer = Scorer(adapter, samples)
        self.dense_log_probabilities: list[torch.Tensor] = []
        self.trunks: list[Trunk | None] = []
        visual = np.zeros(len(samples), dtype=np.int64)
        text, pictures = np.zeros_like(visual), np.zeros_like(visual)
        for part in self.batches:
            rows = part.sample.cpu().numpy()
            visual[rows] = part.prefill.visual.sum(1).cpu().numpy()
            text[rows] = part.prefill.valid.sum(1).cpu().numpy() - visual[rows]
            pictures[rows] = pictures_of(part.prefill).cpu().numpy()
        self._measured = Measured(
            visual, text, pictures, self._references(len(samples), pruner, dense_bytes)
        )

    @property
    def measured(self) -> Measured:
        """Token counts and reference outcomes."""
        return self._measured

    def _references(self, samples: int, pruner: Pruner, room: int) -> NDArray[np.float32]:
        """Outcomes of the dense model and of the text-only one, float32 [2, samples]."""
        layers = self._adapter.spec.layers
        both = np.stack([np.ones(layers), np.zeros(layers)])
        outcomes = np.zeros((2, samples), dtype=np.float32)
        with torch.no_grad():
            for part in self.batches:
                needed = trunk_bytes(self._adapter.spec, part.prefill, with_path=part.goes_on)
                trunk = Trunk() if needed <= room else None
                room -= 0 if trunk is None else needed
                self.trunks.append(trunk)
                for leaf in run_population(
                    self._adapter, part.prefill, both, pruner,
                    sample=part.sample, answers=part.positions, trunk=trunk,
                    with_path=part.goes_on,
                ):  # fmt: skip
                    predicted = part.log_probabilities(self._adapter, leaf.tokens)
                    scored = self.scorer.outcomes(part, leaf, predicted).cpu().numpy()
                    outcomes[leaf.candidates[0], part.sample.cpu().numpy()] = scored
                    if leaf.candidates == [0]:
                        self.dense_log_probabilities.append(predicted)
        return outcomes

    def score(self, table: Table, chosen: NDArray[np.bool_]) -> Outcomes:
        """Outcomes of a table's schedules on the chosen samples."""
        return score_population(
            self._adapter, table.pruners, self.batches, self.dense_log_probabilities, table.ratios,
            chosen=chosen, wanted=table.wanted, scorer=self.scorer, trunks=self.trunks,
            per_picture=self._per_picture,
        )  # fmt: skip

    def begin(self, table: Table, chosen: NDArray[np.bool_]) -> None:
        """Nothing: one process does one thing at a time."""
