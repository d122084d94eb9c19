"""MMBench (arXiv 2307.06281): multiple choice, asked again with the options in rotated order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.tasks.base import Sample
from paretoprune.tasks.benchmarks.base import all_right, by_group
from paretoprune.tasks.benchmarks.choice import MultipleChoice
from paretoprune.tasks.rows import Row
from paretoprune.tasks.tables import Table

ROUND = 1_000_000
"""The published files number a question's rotations by this much apart."""
OPTIONS = ("A", "B", "C", "D")


class MMBench(MultipleChoice):
    """Vanilla accuracy (the first order) and circular accuracy (right in every order).

    Files that hold the rotations, as the published ones do, are taken as they are; of others, each
    question is rotated here, as LLaVA and VLMEvalKit do, unless `circular` is false.
    """

    name = "mmbench"
    paper = "arXiv 2307.06281"
    hub = "lmms-lab/MMBench"
    hub_config = "en"
    usual = ("dev", "validation")
    needs = (("image",), ("question",), ("answer",), ("A",), ("B",), ("index",))
    group_columns = ("index",)

    def __init__(self, data: str, *, circular: bool = True, **options: str | None) -> None:
        self.circular = circular
        super().__init__(data, **options)

    def opened(self, table: Table) -> None:
        """Find out whether the file holds rotations."""
        self.rotated = any(self._index(row) >= ROUND for row in table.rows(("index",)))

    @staticmethod
    def _index(row: Row) -> int:
        return row.whole("index", 10**9)

    def group(self, row: Row) -> str:
        """The question, in whatever order."""
        return str(self._index(row) % ROUND)

    @property
    def per_row(self) -> int:
        """One of each order, where they are made here."""
        return len(OPTIONS) if self.circular and not self.rotated else 1

    def samples(self, row: Row) -> list[Sample]:
        """The hint, the question and the options; once for each order."""
        options, right = self.lettered(row, OPTIONS)
        image, question = row.picture(), row.text("question")
        if row.has("hint"):
            question = f"{row.text('hint')}\n{question}"
        rounds = len(options) if self.per_row > 1 else 1
        return [
            self.choice(
                f"mmbench-{self._index(row)}" + (f"-{turn}" if turn else ""),
                image,
                question,
                options[turn:] + options[:turn],
                (right - turn) % len(options),
                family=row.text("category") if row.has("category") else "all",
                group=self.group(row),
            )
            for turn in range(rounds)
        ]

    def figures(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """Both accuracies, over questions."""
        first = [each[0] for each in by_group(samples, outcomes).values()]
        accuracies = {"vanilla_accuracy": float(np.mean(first))}
        if self.circular or self.rotated:
            accuracies["circular_accuracy"] = all_right(samples, outcomes)
        return accuracies
