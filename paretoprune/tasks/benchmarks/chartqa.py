"""ChartQA (arXiv 2203.10244): questions about charts; numbers may be 5 % off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from paretoprune.tasks.answers import best_relaxed
from paretoprune.tasks.base import Sample
from paretoprune.tasks.benchmarks.base import Benchmark
from paretoprune.tasks.rows import Row
from paretoprune.tasks.scoring import Generation

KINDS = ("human", "augmented")


class ChartQA(Benchmark):
    """Relaxed accuracy, also of the questions by people and by machines apart."""

    name = "chartqa"
    paper = "arXiv 2203.10244"
    hub = "lmms-lab/ChartQA"
    usual = ("test",)
    needs = (("image",), ("question",), ("answer",))
    group_columns = ("question", "answer")
    ways = ("generation",)

    def group(self, row: Row) -> str:
        """The question with its answer: the data have no ids."""
        several = isinstance(row.values["answer"], list)
        return f"{row.text('question')}/{(row.answers if several else row.text)('answer')}"

    def samples(self, row: Row) -> list[Sample]:
        """The question, and the instruction behind it."""
        answers = row.answers("answer")
        kind = row.text("type", "split") if row.found("type", "split") else KINDS[0]
        return [
            Sample(
                id=f"chartqa-{row.number}",
                image=row.picture(),
                prompt=self.asked(row.text("question")),
                answer=answers[0],
                family=kind.removesuffix("_test").removeprefix("test_"),
                scoring=Generation(partial(best_relaxed, answers=answers), self.new_tokens),
                group=self.group(row),
            )
        ]

    def figures(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """Relaxed accuracy of each kind of question, as far as there are any."""
        kinds = np.array([sample.family for sample in samples])
        return {
            f"relaxed_{kind}": float(outcomes[kinds == kind].mean())
            for kind in KINDS
            if (kinds == kind).any()
        }
