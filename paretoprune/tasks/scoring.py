"""Scoring rules: a task gives each of its samples one of these.

Every way gives one outcome in 0..1 per sample and model, so that standard errors, held-out areas
and paired tests mean the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from paretoprune.errors import InvalidValueError

Judge: TypeAlias = Callable[[str], float]
"""Score in 0..1 of a text that a model generated."""
DEFAULT_NEW_TOKENS = 16


@dataclass(frozen=True)
class Exact:
    """1 if greedy decoding gives the answer, word for word; found by teacher forcing."""

    measure: ClassVar[str] = "exact match"


@dataclass(frozen=True)
class TokenShare:
    """The share of the answer's tokens, its end included, that greedy decoding predicts.

    Each behind the right ones before it (teacher forcing): for answers of whole sentences, which no
    model repeats word for word.
    """

    measure: ClassVar[str] = "share of tokens"


@dataclass(frozen=True)
class Likelihood:
    """1 if the answer is the likeliest of `options`, by the sum of their tokens' log-probabilities.

    One forward pass where the options are single tokens, such as letters or yes and no. Nothing is
    normalised by length; of equal ones, the first counts.
    """

    measure: ClassVar[str] = "likeliest option right"

    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.options) < 2 or len(set(self.options)) < len(self.options):
            raise InvalidValueError(
                f"likelihoods are compared of two or more different options, got {self.options!r}"
            )


@dataclass(frozen=True)
class Generation:
    """The score in 0..1 that `judge` gives the greedy answer of at most `new_tokens` tokens."""

    measure: ClassVar[str] = "judged answers"

    judge: Judge
    new_tokens: int = DEFAULT_NEW_TOKENS

    def __post_init__(self) -> None:
        if self.new_tokens < 1:
            raise InvalidValueError(f"generation needs at least 1 new token, got {self.new_tokens}")


EXACT = Exact()
Scoring: TypeAlias = Exact | TokenShare | Likelihood | Generation
