"""A split of samples, ready for the decoder: prefilled once, bucketed by length, with answers.

Answers are teacher-forced: every answer token and the end of sequence are the arg max exactly when
greedy decoding gives that answer. Where a sample is scored by generation, or has no answer, what
the dense model says stands behind its prompt: a pruned model is decoded only from where it departs
from that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter, Prefill
from paretoprune.adapters.extras import prefill_for
from paretoprune.adapters.model_access import Rotary, embed
from paretoprune.adapters.prompts import teacher_forced
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.context import pick
from paretoprune.pruning.continuation import Continuation
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.pruners.random import RandomPruner
from paretoprune.pruning.tokens import Tokens
from paretoprune.tasks.base import Sample, size_of
from paretoprune.tasks.scoring import Generation, Likelihood

IGNORE = -100


@dataclass(frozen=True)
class AnsweredBatch:
    """B samples with answers of up to A tokens (end of sequence included).

    `sample` int64 [B] numbers them in their split; `positions` int64 [B, A] are the original token
    positions that predict `labels` int64 [B, A] (-100 behind shorter answers). `following` holds
    cosines and sines [B, N, head_dim] of the positions behind the prompt, where decoding goes on.
    """

    prefill: Prefill
    sample: Tensor
    positions: Tensor
    labels: Tensor
    following: Rotary | None = None

    @property
    def goes_on(self) -> bool:
        """Whether leaves are decoded further, so that populations must be run with their path."""
        return self.following is not None

    def log_probabilities(self, adapter: Adapter, tokens: Tokens) -> Tensor:
        """Log-probabilities where answers are predicted, float [B, A, vocabulary]."""
        return adapter.head(tokens.at(self.positions)).float().log_softmax(-1)

    def exact(self, log_probabilities: Tensor) -> Tensor:
        """Whether the whole answer is the arg max, bool [B]."""
        return self.right(log_probabilities).all(1)

    def right(self, log_probabilities: Tensor) -> Tensor:
        """Mask of answer tokens that are the arg max, bool [B, A]; true behind shorter answers."""
        return (log_probabilities.argmax(-1) == self.labels) | (self.labels == IGNORE)

    def divergence(self, dense: Tensor, student: Tensor) -> Tensor:
        """KL(dense || student) summed over answer tokens, in nats, float [B]."""
        per_token = (dense.exp() * (dense - student)).sum(-1)
        return per_token.masked_fill(self.labels == IGNORE, 0.0).sum(1)

    def rows(self, index: Tensor) -> AnsweredBatch:
        """The same for some of the batch."""
        following = self.following
        return AnsweredBatch(
            self.prefill.rows(index), self.sample[index], self.positions[index], self.labels[index],
            None if following is None else (following[0][index], following[1][index]),
        )  # fmt: skip


def answered_batches(
    adapter: Adapter, samples: Sequence[Sample], *, batch: int, needs: frozenset[str] = frozenset()
) -> Iterator[AnsweredBatch]:
    """Prefill a split once, in batches of at most `batch` samples, of equal length if possible.

    With extras for a pruner's `needs`.
    """
    for numbers in batch_numbers(adapter, samples, batch=batch):
        yield answered_batch(adapter, samples, numbers, needs=needs)


def batch_numbers(adapter: Adapter, samples: Sequence[Sample], *, batch: int) -> list[list[int]]:
    """Batches of at most `batch` samples, of equal length if possible."""
    if not samples:
        raise InvalidValueError("a split needs at least one sample")
    ids = adapter.tokenizer([f"{s.prompt} {_known(s)}" for s in samples])["input_ids"]
    buckets: dict[tuple[object, ...], list[int]] = {}
    for number, sample in enumerate(samples):
        # one way of scoring per batch, so that only those are decoded further that must be
        way = type(sample.scoring).__name__, _says_itself(sample), _room(adapter, sample) > 0
        key = len(ids[number]), size_of(sample.image), *way
        buckets.setdefault(key, []).append(number)
    return [
        numbers[start : start + batch]
        for _, numbers in sorted(buckets.items())
        for start in range(0, len(numbers), batch)
    ]


def answered_batch(
    adapter: Adapter,
    samples: Sequence[Sample],
    numbers: Sequence[int],
    *,
    needs: frozenset[str] = frozenset(),
    said: Tensor | None = None,
) -> AnsweredBatch:
    """Prefill the samples with these numbers, together, with extras for a pruner's `needs`.

    `said` are labels of another model's answers, int64 [B, A], to put behind the prompts where
    this model's own would stand.
    """
    chosen = [samples[i] for i in numbers]
    room = max(_room(adapter, s) for s in chosen)
    inputs, prompt_end, labels = teacher_forced(
        adapter, [s.image for s in chosen], [s.prompt for s in chosen], [_known(s) for s in chosen],
        room=room,
    )  # fmt: skip
    following = None
    with torch.no_grad():
        prefill = prefill_for(adapter, inputs, prompt_end, needs=needs)
        if room:
            ahead = prompt_end[:, None] + 1 + torch.arange(room, device=labels.device)
            following = pick(prefill.rotary[0], ahead), pick(prefill.rotary[1], ahead)
            if any(_says_itself(s) for s in chosen):
                most = [_room(adapter, s) for s in chosen]
                labels = _dense_answers(adapter, prefill, following, most) if said is None else said
                prefill = _forced(adapter, prefill, labels)
            prefill = _until(prefill, prompt_end + (labels != IGNORE).sum(1) - 1)
    offsets = torch.arange(labels.shape[1], device=labels.device)
    positions = prompt_end[:, None] + torch.where(labels == IGNORE, 0, offsets)
    sample = torch.tensor(list(numbers), device=labels.device)
    return AnsweredBatch(prefill, sample, positions, labels, following)


def option_tokens(adapter: Adapter, scoring: Likelihood) -> list[list[int]]:
    """The tokens of each option; raises `InvalidValueError` where they do not tell it apart."""
    tokens = [
        adapter.tokenizer(option, add_special_tokens=False)["input_ids"]
        for option in scoring.options
    ]
    for number, ids in enumerate(tokens):
        if not ids or ids in tokens[:number]:
            what = (
                "no tokens" if not ids else f"the tokens of {scoring.options[tokens.index(ids)]!r}"
            )
            raise InvalidValueError(
                f"option {scoring.options[number]!r} has {what} in this model's tokenizer, so "
                "its likelihood cannot be compared"
            )
    return tokens


def stop_tokens(adapter: Adapter) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's and those of the generation configuration."""
    config = getattr(adapter.model, "generation_config", None)
    more = getattr(config, "eos_token_id", None)
    listed = more if isinstance(more, list) else [more]
    tokens = [adapter.tokenizer.eos_token_id, *listed]
    return frozenset(int(token) for token in tokens if token is not None)


def _known(sample: Sample) -> str:
    return sample.answer or ""


def _says_itself(sample: Sample) -> bool:
    """Whether the dense model's own answer stands behind the prompt."""
    return sample.answer is None or isinstance(sample.scoring, Generation)


def _room(adapter: Adapter, sample: Sample) -> int:
    """Positions decoded behind the prompt; 0 where one forward pass suffices."""
    if isinstance(sample.scoring, Generation):
        return sample.scoring.new_tokens
    if isinstance(sample.scoring, Likelihood):
        longest = max(map(len, option_tokens(adapter, sample.scoring)))
        return longest if longest > 1 else 0
    return sample.new_tokens if sample.answer is None else 0


def _dense_answers(
    adapter: Adapter, prefill: Prefill, following: Rotary, most: Sequence[int]
) -> Tensor:
    """The dense model's greedy answers of at most `most[i]` tokens: labels int64 [B, A]."""
    end = prefill.prompt_end
    dense = np.ones((1, adapter.spec.layers))
    prompts = _until(prefill, end)
    (leaf,) = run_population(adapter, prompts, dense, RandomPruner(), with_path=True)  # ranks none
    first = adapter.head(leaf.tokens.at(end[:, None]))[:, 0].argmax(-1)
    rows = torch.arange(len(end), device=end.device)
    going_on = Continuation(adapter, leaf, rows, last=end, prompt_end=end, following=following)
    said = going_on.greedy(first, most, stop_tokens(adapter))
    longest = max(map(len, said))
    padded = [row + [IGNORE] * (longest - len(row)) for row in said]
    return torch.tensor(padded, device=end.device)


def _forced(adapter: Adapter, prefill: Prefill, labels: Tensor) -> Prefill:
    """The prefill with answers [B, A] but their last tokens behind the prompts."""
    inputs = labels[:, :-1]
    place = prefill.prompt_end[:, None] + 1 + torch.arange(inputs.shape[1], device=labels.device)
    words = embed(adapter, inputs.clamp(min=0)).to(prefill.hidden.dtype)
    place = place[..., None].expand_as(words)
    return replace(prefill, hidden=prefill.hidden.scatter(1, place, words))


def _until(prefill: Prefill, last: Tensor) -> Prefill:
    """The tokens of each row up to the positions `last` int64 [B]; for padding on the right."""
    length = int(last.max()) + 1
    kept = torch.arange(length, device=last.device)[None] <= last[:, None]
    cos, sin = prefill.rotary
    return replace(
        prefill,
        hidden=prefill.hidden[:, :length],
        rotary=(cos[:, :length], sin[:, :length]),
        visual=prefill.visual[:, :length],
        valid=prefill.valid[:, :length] & kept,
        extras={name: x[:, :length] for name, x in prefill.extras.items()},
    )
