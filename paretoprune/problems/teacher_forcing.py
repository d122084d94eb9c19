"""A split of samples, ready for the decoder: prefilled once, bucketed by length, with answers.

Scoring is by teacher forcing: a sample is right when every answer token and the end of sequence
are the arg max, which is when greedy decoding gives exactly that answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.extras import prefill_for
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.tokens import Tokens
from paretoprune.tasks.base import Sample, size_of

IGNORE = -100


@dataclass(frozen=True)
class AnsweredBatch:
    """B samples with answers of up to A tokens (end of sequence included).

    `sample` int64 [B] numbers them in their split; `places` int64 [B, A] are the original token
    places that predict `labels` int64 [B, A] (-100 behind shorter answers).
    """

    prefill: Prefill
    sample: Tensor
    places: Tensor
    labels: Tensor

    def log_probabilities(self, adapter: Adapter, tokens: Tokens) -> Tensor:
        """Log-probabilities where answers are predicted, float [B, A, vocabulary]."""
        return adapter.head(tokens.at(self.places)).float().log_softmax(-1)

    def exact(self, log_probabilities: Tensor) -> Tensor:
        """Whether the whole answer is the arg max, bool [B]."""
        right = (log_probabilities.argmax(-1) == self.labels) | (self.labels == IGNORE)
        return right.all(1)

    def divergence(self, dense: Tensor, student: Tensor) -> Tensor:
        """KL(dense || student) summed over answer tokens, in nats, float [B]."""
        per_token = (dense.exp() * (dense - student)).sum(-1)
        return per_token.masked_fill(self.labels == IGNORE, 0.0).sum(1)

    def rows(self, index: Tensor) -> AnsweredBatch:
        """The same for some of the batch."""
        return AnsweredBatch(
            self.prefill.rows(index), self.sample[index], self.places[index], self.labels[index]
        )


def answered_batches(
    adapter: Adapter, samples: Sequence[Sample], *, batch: int, needs: frozenset[str] = frozenset()
) -> Iterator[AnsweredBatch]:
    """Prefill a split once, in batches of at most `batch` samples, of equal length if possible.

    With extras for a pruner's `needs`.
    """
    if not samples:
        raise InvalidValueError("a split needs at least one sample")
    ids = adapter.tokenizer([f"{s.prompt} {s.answer}" for s in samples])["input_ids"]
    buckets: dict[tuple[object, ...], list[int]] = {}
    for number, sample in enumerate(samples):
        buckets.setdefault((len(ids[number]), size_of(sample.image)), []).append(number)
    for _, numbers in sorted(buckets.items()):
        for start in range(0, len(numbers), batch):
            yield answered_batch(adapter, samples, numbers[start : start + batch], needs=needs)


def answered_batch(
    adapter: Adapter,
    samples: Sequence[Sample],
    numbers: Sequence[int],
    *,
    needs: frozenset[str] = frozenset(),
) -> AnsweredBatch:
    """Prefill the samples with these numbers, together, with extras for a pruner's `needs`."""
    chosen = [samples[i] for i in numbers]
    inputs, prompt_end, labels = adapter.teacher_forced(
        [s.image for s in chosen], [s.prompt for s in chosen], [s.answer for s in chosen]
    )
    with torch.no_grad():
        prefill = prefill_for(adapter, inputs, prompt_end, needs=needs)
    offsets = torch.arange(labels.shape[1], device=labels.device)
    places = prompt_end[:, None] + torch.where(labels == IGNORE, 0, offsets)
    sample = torch.tensor(list(numbers), device=labels.device)
    return AnsweredBatch(prefill, sample, places, labels)
