"""Base of calibration data: records to samples, two parts, areas, missing answers.

A search needs no benchmark: it may compare a compressed model with the dense one on any pictures
and questions. Answers are sentences, so an outcome is the share of their tokens that a model
predicts, each behind the right ones before it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from PIL import Image

from paretoprune.errors import BrokenFileError, InvalidValueError, UnknownNameError
from paretoprune.tasks.areas import Size, equalised
from paretoprune.tasks.base import Sample
from paretoprune.tasks.picture import picture_size, read_picture
from paretoprune.tasks.scoring import TokenShare
from paretoprune.tasks.splits import choose, even_split

ANSWERS = ("given", "dense")
AREAS = ("as-is", "uniform")
DEFAULT_ANSWER_TOKENS = 32


@dataclass(frozen=True)
class Record:
    """A question about the picture `file`; `picture` is its name within the data."""

    name: str
    picture: str
    file: Path
    question: str
    answer: str | None = None


class Calibration(ABC):
    """Calibration data as a task, on the file or folder `data`.

    `answers` are those `given`, or what the `dense` model says, of at most `new_tokens` tokens;
    where none is given, the dense model's stands for it. `areas="uniform"` resizes pictures so that
    their areas are uniform between `low` and `high` pixels (see `tasks.areas`).
    """

    name: ClassVar[str]

    def __init__(
        self,
        data: str,
        *,
        answers: str = "given",
        new_tokens: str | int = DEFAULT_ANSWER_TOKENS,
        areas: str = "as-is",
        low: str | float | None = None,
        high: str | float | None = None,
    ) -> None:
        if answers not in ANSWERS:
            raise UnknownNameError(f"answers of task {self.name!r}", answers, ANSWERS)
        if areas not in AREAS:
            raise UnknownNameError(f"areas of task {self.name!r}", areas, AREAS)
        self.answers = answers
        self.areas = areas
        self.new_tokens = int(_number("new_tokens", new_tokens))
        if self.new_tokens < 1:
            raise InvalidValueError(f"new_tokens must be 1 or more, got {self.new_tokens}")
        self.low = None if low is None else _number("low", low)
        self.high = None if high is None else _number("high", high)
        path = Path(data).expanduser()
        if not path.exists():
            raise BrokenFileError(f"calibration data {data!r} do not exist")
        self.label = f"{self.name} in {data!r}"
        self.records = self.read(path)
        if not self.records:
            raise BrokenFileError(f"{self.label} has no question about a picture")
        self._groups = [record.picture for record in self.records]
        self._parts = even_split(self._groups)

    @abstractmethod
    def read(self, path: Path) -> list[Record]:
        """All records; pictures are not opened."""

    @cached_property
    def sizes(self) -> list[Size]:
        """Width and height of every record's picture, from the files' headers."""
        known: dict[Path, Size] = {}
        for record in self.records:
            if record.file not in known:
                known[record.file] = picture_size(record.file)
        return [known[record.file] for record in self.records]

    @cached_property
    def shown_sizes(self) -> list[Size]:
        """Pictures of the samples: unchanged, or with uniform areas."""
        if self.areas == "as-is":
            return self.sizes
        return equalised(self.sizes, low=self.low, high=self.high)

    def __call__(self, split: str, size: int, *, seed: int = 0) -> list[Sample]:
        """At most `size` samples of the part `search` or `heldout`; a picture is in one alone."""
        return [self._sample(number) for number in self._chosen(split, size, seed)]

    def available(self, split: str) -> int:
        """The number of samples in a part."""
        return sum(self._parts[group] == split for group in self._groups)

    def nth(self, split: str, number: int, *, seed: int = 0) -> Sample:
        """Sample `number`, from 0, of a part, in the order of the seed."""
        there = self.available(split)
        if number >= there:
            raise InvalidValueError(
                f"sample {number}: the {split} part of {self.label} has {there}, from 0"
            )
        return self._sample(self._chosen(split, there, seed)[number])

    def _chosen(self, split: str, size: int, seed: int) -> list[int]:
        part_of = self._parts.__getitem__
        return choose(self._groups, split, size, seed=seed, data=self.label, part_of=part_of)

    def _sample(self, number: int) -> Sample:
        record = self.records[number]
        image = read_picture(record.file)
        if self.areas == "uniform":
            image = image.resize(self.shown_sizes[number], Image.Resampling.BICUBIC)
        return Sample(
            id=f"{self.name}-{record.name}",
            image=image,
            prompt=record.question,
            answer=record.answer if self.answers == "given" else None,
            family="calibration",
            scoring=TokenShare(),
            group=record.picture,
            new_tokens=self.new_tokens,
        )


def _number(name: str, value: str | float) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise InvalidValueError(f"{name} must be a number, got {value!r}") from error
