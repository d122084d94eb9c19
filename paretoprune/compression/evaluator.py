"""Runs configurations on one split: grouped by variant of the model, with shared prefixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from paretoprune.adapters.base import Adapter, on_model
from paretoprune.adapters.fast_layers import with_fast_layers
from paretoprune.compression.configuration import Configuration
from paretoprune.compression.population import score_population, tabulate
from paretoprune.compression.prefill_store import DEFAULT_BYTES, PrefillStore
from paretoprune.compression.samples import chosen_samples, stratified_order
from paretoprune.compression.scorer import Scorer
from paretoprune.compression.split import DEFAULT_DENSE_BYTES, Scoring, Split
from paretoprune.compression.teacher_forcing import AnsweredBatch, answered_batch, batch_numbers
from paretoprune.errors import BrokenFileError
from paretoprune.files import replacing
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.decide import decide_each
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.tokens import enter
from paretoprune.tasks.base import Sample
from paretoprune.techniques.base import Plan, Technique
from paretoprune.techniques.tokens import Tokens

if TYPE_CHECKING:
    from paretoprune.compression.remote import Remote

MAX_STORES = 4
"""Variants of the vision encoder whose prefills are kept."""
Row = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""Of one schedule on every sample, `[samples]` each: score, divergence from dense, and pictures
that are left without any visual token."""
NAMES = ("score", "divergence", "left_out")


class KnownOutcomes:
    """Outcomes of fixed schedules on a whole split, by the configuration's key.

    A search that asks for a known schedule is charged as if it were run: only the work is saved.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> Row | None:
        """Known outcomes of a configuration."""
        return self._rows.get(key)

    def keep(self, key: str, row: Row) -> None:
        """Remember a configuration's outcomes on all samples."""
        score, divergence, left_out = row
        self._rows[key] = score.copy(), divergence.copy(), left_out.copy()

    def save(self, file: Path) -> None:
        """Write everything to an npz file, whole or not at all."""
        keys = list(self._rows)
        with replacing(file) as partial, partial.open("wb") as stream:
            np.savez_compressed(
                stream,
                keys=np.array(keys),
                score=np.stack([self._rows[k][0] for k in keys]),
                divergence=np.stack([self._rows[k][1] for k in keys]),
                left_out=np.stack([self._rows[k][2] for k in keys]),
            )

    def load(self, file: Path, samples: int) -> None:
        """Add outcomes that `save` wrote; raises `BrokenFileError` for another file or size."""
        try:
            with np.load(file, allow_pickle=False) as stored:
                keys = stored["keys"]
                score, divergence, left_out = (stored[name] for name in NAMES)
        except Exception as error:  # numpy raises whatever zipfile and zlib do
            raise BrokenFileError(f"cannot read outcomes from {file}: {error}") from error
        if {x.shape for x in (score, divergence, left_out)} != {(len(keys), samples)}:
            raise BrokenFileError(
                f"{file} holds outcomes of shape {score.shape}, not of {samples} samples"
            )
        for key, *row in zip(keys.tolist(), score, divergence, left_out, strict=True):
            self.keep(key, (row[0], row[1], row[2]))


@dataclass(frozen=True)
class Running:
    """Settings for running a split, none of which changes outcomes.

    `batch` samples at most are prefilled together. `prefill_bytes` of prefills stay in memory, the
    rest on disk; `dense_bytes` of the dense model's hidden states and keys are kept, so that no
    population runs those layers again. `fast_layers=False` evaluates with the model's own layers
    alone (see `adapters.fast_layers`), for debugging. With an `executor` its workers evaluate.
    """

    batch: int = 64
    prefill_bytes: int = DEFAULT_BYTES
    dense_bytes: int = DEFAULT_DENSE_BYTES
    fast_layers: bool = True
    executor: Remote | None = None


class Evaluator:
    """One split of samples on one model.

    `visual_tokens`, `text_tokens` and `pictures` int64 `[samples]` count each sample's;
    `dense_outcomes` and `text_only_outcomes` float32 `[samples]` are those of the model as loaded,
    with all visual tokens and with none. `split` is how workers know the samples. With `known` set,
    no configuration is run twice (see `KnownOutcomes`).
    """

    def __init__(
        self,
        adapter: Adapter,
        samples: Sequence[Sample],
        techniques: Sequence[Technique],
        tokens: Tokens,
        *,
        running: Running,
        split: str = "search",
    ) -> None:
        self.adapter = adapter
        self.samples = list(samples)
        self.running = running
        self.known: KnownOutcomes | None = None
        self._techniques = tuple(techniques)
        self._tokens = tokens
        self._engine = with_fast_layers(adapter) if running.fast_layers else adapter
        self._order = stratified_order(self.samples)
        self._groups = batch_numbers(self._engine, self.samples, batch=running.batch)
        self._stores: dict[str, Sequence[AnsweredBatch]] = {}
        self._scoring: Scoring = (
            self._split
            if running.executor is None
            else running.executor.split(
                split, self._groups, len(self.samples), tokens.pruners,
                per_picture=tokens.per_picture,
            )
        )  # fmt: skip
        measured = self._scoring.measured
        self.visual_tokens, self.text_tokens = measured.visual_tokens, measured.text_tokens
        self.pictures = measured.pictures
        self.dense_outcomes, self.text_only_outcomes = measured.outcomes

    @cached_property
    def _split(self) -> Split:
        """The split in this process: with an executor, only for work that workers cannot do."""
        running, tokens = self.running, self._tokens
        return Split(
            self._engine, self.samples, self._groups, tokens.pruner, needs=tokens.needs,
            prefill_bytes=running.prefill_bytes, dense_bytes=running.dense_bytes,
            per_picture=tokens.per_picture,
        )  # fmt: skip

    @property
    def batches(self) -> PrefillStore:
        """The split's prefills, with answers."""
        return self._split.batches

    @property
    def dense_log_probabilities(self) -> list[torch.Tensor]:
        """The dense model's, of each batch, [B, answer tokens, vocabulary]."""
        return self._split.dense_log_probabilities

    # --- samples

    def chosen(self, share: float) -> NDArray[np.bool_]:
        """The samples of a candidate with this sample fraction: bool `[samples]`."""
        return chosen_samples(self._order, share)

    def part(self, share: float) -> NDArray[np.int64]:
        """Their numbers, rising."""
        return np.flatnonzero(self.chosen(share))

    def first(self, count: int) -> NDArray[np.int64]:
        """Numbers of `count` samples, families in proportion."""
        return self._order[:count]

    @cached_property
    def question_tokens(self) -> NDArray[np.int64]:
        """Tokens of each sample's question, int64 `[samples]`."""
        counts = np.zeros(len(self.samples), dtype=np.int64)
        for part in self.batches:
            _, there = enter(part.prefill, part.sample).context(self.adapter, 0).text
            counts[part.sample.cpu().numpy()] = there.sum(1).cpu().numpy()
        return counts

    def decisions(
        self, policy: Policy, pruner: Pruner, *, rounded: bool = True
    ) -> NDArray[np.float64]:
        """Keep ratios of a policy on each sample: float64 `[samples, layers]`.

        On its lattice, if `rounded`, and such that `pruner` can follow.
        """
        ratios = np.ones((len(self.samples), policy.layers))
        with torch.inference_mode():
            for part, trunk in zip(self.batches, self._split.trunks, strict=True):
                (rows,) = decide_each(
                    self._engine, part.prefill, [(policy, pruner)],
                    sample=part.sample, trunk=trunk, rounded=rounded,
                )  # fmt: skip
                ratios[part.sample.cpu().numpy()] = rows
        return ratios

    # --- running

    def adapter_of(self, plan: Plan) -> Adapter:
        """The model's adapter on the view that the plan describes; the same one if all is dense."""
        model = self.adapter.model
        for technique in self._techniques:
            model = technique.view(model, plan)
        return self.adapter if model is self.adapter.model else on_model(self.adapter, model)

    def rows(
        self, distinct: Mapping[str, Configuration], chosen: NDArray[np.bool_]
    ) -> tuple[list[Row], float]:
        """Outcomes of configurations of one variant on the chosen samples; the FLOPs run.

        Known outcomes are not computed again; outcomes on the whole split become known.
        """
        samples = np.flatnonzero(chosen)
        known = {} if self.known is None else {key: self.known.get(key) for key in distinct}
        found: dict[str, Row] = {
            key: (row[0][samples], row[1][samples], row[2][samples])
            for key, row in known.items()
            if row is not None
        }
        new = {key: one for key, one in distinct.items() if key not in found}
        flops = 0.0
        if new:
            ran, flops = self._run(list(new.values()), chosen)
            for (key, one), row in zip(new.items(), ran, strict=True):
                found[key] = row
                if self.known is not None and one.policy is None and chosen.all():
                    self.known.keep(key, row)
        return [found[key] for key in distinct], flops

    def _run(
        self, configurations: Sequence[Configuration], chosen: NDArray[np.bool_]
    ) -> tuple[list[Row], float]:
        plan = configurations[0].plan
        adapter = self.adapter_of(plan)
        table = tabulate(configurations, len(self.samples))
        if adapter is self.adapter:
            scored = self._scoring.score(table, chosen)
        else:
            scored = score_population(
                adapter, table.pruners, self._batches_of(adapter, plan),
                self.dense_log_probabilities, table.ratios, scorer=Scorer(adapter, self.samples),
                chosen=chosen, wanted=table.wanted, per_picture=self._tokens.per_picture,
            )  # fmt: skip
        samples = np.flatnonzero(chosen)
        indices = [(of[samples], samples) for of in table.of]
        rows = [(scored.score[i], scored.divergence[i], scored.left_out[i]) for i in indices]
        return rows, scored.flops

    def _batches_of(self, adapter: Adapter, plan: Plan) -> Sequence[AnsweredBatch]:
        """The split's batches, prefilled by a view; those of the last few variants are kept.

        The dense model's own answers stand behind the prompts, whatever the view would say.
        """
        key = " ".join(technique.prefill_variant(plan) for technique in self._techniques).strip()
        if not key:
            return self.batches
        if key not in self._stores:
            while len(self._stores) >= MAX_STORES:
                del self._stores[next(iter(self._stores))]
            self._stores[key] = PrefillStore(
                (
                    answered_batch(
                        adapter, self.samples, part.sample.tolist(), needs=self._tokens.needs,
                        said=part.labels,
                    )
                    for part in self.batches
                ),
                limit=DEFAULT_BYTES // MAX_STORES,
            )  # fmt: skip
        return self._stores[key]

    def begin(self, configurations: Sequence[Configuration]) -> None:
        """Send configurations on all samples to the workers, ahead of `rows`."""
        if self.running.executor is None or self.known is not None:
            return
        distinct = {one.key: one for one in configurations}
        table = tabulate(list(distinct.values()), len(self.samples))
        self._scoring.begin(table, np.ones(len(self.samples), dtype=np.bool_))
