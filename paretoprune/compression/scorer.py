"""From a leaf of the pruned decoder to one outcome in 0..1 per sample, as its task scores it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from paretoprune.adapters.base import Adapter
from paretoprune.compression.teacher_forcing import (
    IGNORE,
    AnsweredBatch,
    option_tokens,
    stop_tokens,
)
from paretoprune.pruning.continuation import Continuation
from paretoprune.pruning.decoder import Executed, Leaf
from paretoprune.tasks.base import Sample
from paretoprune.tasks.scoring import Exact, Generation, Likelihood, Scoring, TokenShare


class Scorer:
    """Scores batches of one split; holds nothing that changes, so threads may share it."""

    def __init__(self, adapter: Adapter, samples: Sequence[Sample]) -> None:
        self._adapter = adapter
        self._samples = samples
        self._stop = stop_tokens(adapter)
        self._options = {
            number: option_tokens(adapter, sample.scoring)
            for number, sample in enumerate(samples)
            if isinstance(sample.scoring, Likelihood)
        }

    def outcomes(
        self, part: AnsweredBatch, leaf: Leaf, predicted: Tensor, executed: Executed | None = None
    ) -> Tensor:
        """Outcomes float [B] of a batch; `predicted` are its leaf's log-probabilities [B, A, v].

        The FLOPs of decoding further are added to `executed`.
        """
        scoring = self._scoring(part)
        if isinstance(scoring, Exact):
            return part.exact(predicted).float()
        if isinstance(scoring, TokenShare):
            known = part.labels != IGNORE
            return (part.right(predicted) & known).sum(1) / known.sum(1)
        if isinstance(scoring, Likelihood):
            return self._likeliest(part, leaf, predicted, executed)
        said = self.answers(part, leaf, predicted, executed)
        judged = [
            self._judge(int(number), text)
            for number, text in zip(part.sample.tolist(), said, strict=True)
        ]
        return torch.tensor(judged, device=predicted.device)

    def answers(
        self, part: AnsweredBatch, leaf: Leaf, predicted: Tensor, executed: Executed | None = None
    ) -> list[str]:
        """Greedy answers of B samples scored by generation.

        A row that agrees with the dense answer behind its prompt said the same; the others are
        decoded from where they depart from it.
        """
        known = (part.labels != IGNORE).sum(1)
        agreed = part.right(predicted).long().cumprod(1).sum(1).minimum(known)
        said = [row[:n] for row, n in zip(part.labels.tolist(), known.tolist(), strict=True)]
        rows = (agreed < known).nonzero()[:, 0]
        if len(rows):
            behind = agreed[rows]
            first = predicted[rows, behind].argmax(-1)
            most = [
                self._longest(int(part.sample[row])) - int(n)
                for row, n in zip(rows, behind, strict=True)
            ]
            end = part.positions[rows, 0]
            going_on = self._behind(part, leaf, rows, end + behind, executed)
            new = going_on.greedy(first, most, self._stop)
            for row, n, tokens in zip(rows.tolist(), behind.tolist(), new, strict=True):
                said[row] = said[row][:n] + tokens
        texts = self._adapter.tokenizer.batch_decode(said, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _likeliest(
        self, part: AnsweredBatch, leaf: Leaf, predicted: Tensor, executed: Executed | None
    ) -> Tensor:
        numbers = part.sample.tolist()
        options = [self._options[number] for number in numbers]
        most = max(map(len, options))
        first = predicted[:, 0]
        totals = first.new_full((len(options), most), -torch.inf)
        for place in range(most):
            # rows with fewer options repeat their first one; the repetitions are left out below
            row_options = [each[place] if place < len(each) else each[0] for each in options]
            totals[:, place] = self._log_probability(part, leaf, first, row_options, executed)
        for row, each in enumerate(options):
            totals[row, len(each) :] = -torch.inf
        likeliest = totals.argmax(1).tolist()
        right = [self._is_answer(n, place) for n, place in zip(numbers, likeliest, strict=True)]
        return torch.tensor(right, device=predicted.device, dtype=torch.float32)

    def _log_probability(
        self,
        part: AnsweredBatch,
        leaf: Leaf,
        first: Tensor,
        options: list[list[int]],
        executed: Executed | None,
    ) -> Tensor:
        """Summed log-probability of one option per row, [B], from that of first tokens [B, v]."""
        longest = max(map(len, options))
        padded = [ids + [ids[-1]] * (longest - len(ids)) for ids in options]
        ids = torch.tensor(padded, device=first.device)
        total = first.gather(1, ids[:, :1])[:, 0]
        if longest == 1:
            return total
        lengths = torch.tensor(list(map(len, options)), device=first.device)
        rows = torch.arange(len(options), device=first.device)
        behind = self._behind(part, leaf, rows, part.positions[:, 0], executed).next(ids[:, :-1])
        each = behind.gather(2, ids[:, 1:, None])[..., 0]
        inside = torch.arange(1, longest, device=first.device)[None] < lengths[:, None]
        return total + each.masked_fill(~inside, 0.0).sum(1)

    def _behind(
        self,
        part: AnsweredBatch,
        leaf: Leaf,
        rows: Tensor,
        last: Tensor,
        executed: Executed | None,
    ) -> Continuation:
        assert part.following is not None
        cos, sin = part.following
        return Continuation(
            self._adapter, leaf, rows, last=last, prompt_end=part.positions[rows, 0],
            following=(cos[rows], sin[rows]), executed=executed,
        )  # fmt: skip

    def _scoring(self, part: AnsweredBatch) -> Scoring:
        """That of the whole batch: batches are made of samples that are scored alike."""
        return self._samples[int(part.sample[0])].scoring

    def _judge(self, number: int, text: str) -> float:
        scoring = self._samples[number].scoring
        assert isinstance(scoring, Generation)
        return scoring.judge(text)

    def _longest(self, number: int) -> int:
        scoring = self._samples[number].scoring
        assert isinstance(scoring, Generation)
        return scoring.new_tokens

    def _is_answer(self, number: int, option: int) -> bool:
        sample = self._samples[number]
        assert isinstance(sample.scoring, Likelihood)
        return sample.scoring.options[option] == sample.answer
