"""Base of benchmarks: rows of a table to samples, two parts, figures from outcomes.

A new benchmark is one file with one subclass and one registry line. It says which columns name a
question's group, how a row becomes samples, and which figures are published.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import BrokenFileError, InvalidValueError, UnknownNameError
from paretoprune.tasks.base import Sample
from paretoprune.tasks.rows import Row
from paretoprune.tasks.scoring import Generation, Judge, Likelihood, Scoring
from paretoprune.tasks.splits import choose, split_of
from paretoprune.tasks.tables import Table, open_table

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
"""Instructions of LLaVA-1.5 (arXiv 2310.03744), which lmms-eval took over."""
WAYS = ("likelihood", "generation")


class Benchmark(ABC):
    """One benchmark on the user's data: a task function with figures of its own.

    `data` is a file, a folder or a hub name (see `tables.open_table`), or an open table; `split`
    and `config` choose a part of it. `instruction` replaces what is put behind a question ("none"
    for nothing), and `scoring` says whether options are compared by `likelihood` or an answer is
    generated.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    hub: ClassVar[str]
    """Where the data usually are, on the Hugging Face hub."""
    hub_config: ClassVar[str | None] = None
    usual: ClassVar[tuple[str, ...]] = ("validation", "val", "dev", "test")
    """Splits that have answers, the usual one first."""
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("image",), ("question",))
    """Columns that must be there, each by its names in different files."""
    group_columns: ClassVar[tuple[str, ...]]
    """Columns that `group` reads."""
    instruction: str = SHORT
    """Instruction behind a question, on a line of its own."""
    ways: ClassVar[tuple[str, ...]] = WAYS
    """Ways of scoring, the default first."""
    new_tokens: ClassVar[int] = 16

    def __init__(
        self,
        data: str | Table,
        *,
        split: str | None = None,
        config: str | None = None,
        instruction: str | None = None,
        scoring: str | None = None,
    ) -> None:
        self.scoring = scoring or self.ways[0]
        if self.scoring not in self.ways:
            raise UnknownNameError(f"scoring of task {self.name!r}", self.scoring, self.ways)
        if instruction is not None:
            self.instruction = "" if instruction == "none" else instruction
        if isinstance(data, Table):
            self.table = data
        else:
            on_hub = data == self.hub and config is None
            self.table = open_table(
                data, split=split, config=self.hub_config if on_hub else config, usual=self.usual
            )
        self.table.require(*self.needs)
        self.opened(self.table)
        taken = [row for row in self.table.rows(self.group_columns) if self.takes(row)]
        if not taken:
            raise BrokenFileError(f"{self.label} has no row that this task takes")
        self._rows = [row.number - 1 for row in taken]
        self._groups = [self.group(row) for row in taken]

    def takes(self, row: Row) -> bool:
        """Whether a row belongs to the task, by its `group_columns`; all do by default."""
        return True

    def opened(self, table: Table) -> None:  # noqa: B027
        """Look at the whole table before anything is read from it; nothing by default."""

    @abstractmethod
    def group(self, row: Row) -> str:
        """Group of a row: rows of one group are never in two parts."""

    @abstractmethod
    def samples(self, row: Row) -> list[Sample]:
        """The samples of one row, mostly one."""

    def figures(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """Published figures beyond the mean outcome; none by default."""
        return {}

    def __call__(self, split: str, size: int, *, seed: int = 0) -> list[Sample]:
        """At most `size` samples of the part `search` or `heldout`, whole groups."""
        chosen = choose(self._groups, split, size, seed=seed, each=self.per_row, data=self.label)
        rows = [self.table.row(self._rows[number]) for number in chosen]
        return [sample for row in rows for sample in self.samples(row)]

    def available(self, split: str) -> int:
        """The most samples that a part has."""
        return self.per_row * sum(split_of(group) == split for group in self._groups)

    def nth(self, split: str, number: int, *, seed: int = 0) -> Sample:
        """Sample `number`, from 0, of a part, in the order of the seed; reads one row's picture."""
        there = sum(split_of(group) == split for group in self._groups)
        if number >= there:
            raise InvalidValueError(
                f"sample {number}: the {split} part of {self.label} has {there} rows, from 0"
            )
        chosen = choose(self._groups, split, there, seed=seed, data=self.label)
        return self.samples(self.table.row(self._rows[chosen[number]]))[0]

    @property
    def per_row(self) -> int:
        """Most samples that a row becomes."""
        return 1

    @property
    def label(self) -> str:
        """The benchmark and where its data are."""
        return f"{self.name} in {self.table.name!r}"

    def metrics(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """`figures`, checked: as many outcomes as samples."""
        if len(samples) != len(outcomes):
            raise InvalidValueError(
                f"got {len(outcomes)} outcomes of {len(samples)} samples of {self.name}"
            )
        return self.figures(samples, outcomes)

    # --- for subclasses

    def asked(self, question: str) -> str:
        """A question with the instruction on a line of its own."""
        return f"{question}\n{self.instruction}" if self.instruction else question

    def way(self, options: Sequence[str], judge: Judge) -> Scoring:
        """Likelihood of the options, or a judged answer, as was asked for."""
        if self.scoring == "likelihood":
            return Likelihood(tuple(options))
        return Generation(judge, self.new_tokens)


def by_group(
    samples: Sequence[Sample], outcomes: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Outcomes of each group, in order."""
    outcomes_of: dict[str, list[float]] = {}
    for sample, outcome in zip(samples, outcomes, strict=True):
        outcomes_of.setdefault(sample.together, []).append(float(outcome))
    return {group: np.array(values, dtype=np.float32) for group, values in outcomes_of.items()}


def all_right(samples: Sequence[Sample], outcomes: NDArray[np.float32]) -> float:
    """The share of groups whose samples are all right."""
    return float(np.mean([each.min() == 1 for each in by_group(samples, outcomes).values()]))
