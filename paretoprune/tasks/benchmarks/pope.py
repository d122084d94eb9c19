"""POPE (arXiv 2305.10355): is this thing in the picture? Half of the answers are no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.tasks.answers import pope_answer
from paretoprune.tasks.base import Sample
from paretoprune.tasks.benchmarks.base import Benchmark
from paretoprune.tasks.benchmarks.yes_no import OPTIONS, says, yes_figures
from paretoprune.tasks.rows import Row


class POPE(Benchmark):
    """Accuracy, precision, recall and F1 of yes, and how often yes was said."""

    name = "pope"
    paper = "arXiv 2305.10355"
    hub = "lmms-lab/POPE"
    usual = ("test",)
    needs = (("image",), ("question",), ("answer",))
    group_columns = ("image_source", "image_path", "question_id", "id", "index")

    def group(self, row: Row) -> str:
        """The picture, which all kinds of questions share."""
        return row.text(*self.group_columns)

    def samples(self, row: Row) -> list[Sample]:
        """The question, and the instruction behind it."""
        answer = row.one_of("answer", OPTIONS)
        return [
            Sample(
                id=f"pope-{row.number}",
                image=row.picture(),
                prompt=self.asked(row.text("question")),
                answer=answer,
                family=row.text("category") if row.has("category") else "all",
                scoring=self.way(OPTIONS, says(answer, pope_answer)),
                group=self.group(row),
            )
        ]

    def figures(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """Precision, recall, F1 and the share of yes."""
        return yes_figures(samples, outcomes)
