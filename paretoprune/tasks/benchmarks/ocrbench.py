"""OCRBench (arXiv 2305.07895): 1,000 questions about text; the output must contain an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from paretoprune.tasks.answers import contains_answer
from paretoprune.tasks.base import Sample
from paretoprune.tasks.benchmarks.base import Benchmark
from paretoprune.tasks.rows import Row
from paretoprune.tasks.scoring import Generation

FORMULAS = "Handwritten Mathematical Expression Recognition"
FULL = 1000


class OCRBench(Benchmark):
    """Contained answers, out of 1,000."""

    name = "ocrbench"
    paper = "arXiv 2305.07895"
    hub = "echo840/OCRBench"
    usual = ("test",)
    needs = (("image",), ("question",), ("answer",))
    group_columns = ("dataset", "question", "answer", "index")
    instruction = ""
    ways = ("generation",)
    new_tokens = 128

    def group(self, row: Row) -> str:
        """The question with its answers: the data have no ids."""
        source = row.text("dataset", "index") if row.found("dataset", "index") else ""
        return f"{source}/{row.text('question')}/{row.texts('answer')}"

    def samples(self, row: Row) -> list[Sample]:
        """The question alone; an answer counts where it occurs."""
        answers = row.texts("answer")
        kind = row.text("question_type", "category")
        judge = partial(contains_answer, answers=answers, formula=kind == FORMULAS)
        return [
            Sample(
                id=f"ocrbench-{row.number}",
                image=row.picture(),
                prompt=self.asked(row.text("question")),
                answer=answers[0],
                family=kind,
                scoring=Generation(judge, self.new_tokens),
                group=self.group(row),
            )
        ]

    def figures(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """The score, of as many questions as there are, scaled to 1,000."""
        return {"ocrbench_score": FULL * float(outcomes.mean())}
