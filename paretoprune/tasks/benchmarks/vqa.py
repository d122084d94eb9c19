"""Questions that ten people answered: TextVQA (arXiv 1904.08920), VizWiz (arXiv 1802.08218)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import multimode

import numpy as np
from numpy.typing import NDArray

from paretoprune.tasks.answers import vqa_accuracy
from paretoprune.tasks.base import Sample
from paretoprune.tasks.benchmarks.base import SHORT, Benchmark
from paretoprune.tasks.rows import Row
from paretoprune.tasks.scoring import Generation

UNANSWERABLE = "unanswerable"


class TextVQA(Benchmark):
    """VQA's soft accuracy. With `ocr`, the tokens that an OCR system read stand in the prompt."""

    name = "textvqa"
    paper = "arXiv 1904.08920"
    hub = "lmms-lab/textvqa"
    usual = ("validation", "val")
    needs = (("image",), ("question",), ("answers", "answer"))
    group_columns = ("image_id", "question_id", "index")
    ways = ("generation",)

    def __init__(self, data: str, *, ocr: bool = False, **options: str | None) -> None:
        self.ocr = ocr
        super().__init__(data, **options)

    def group(self, row: Row) -> str:
        """The picture, where it has a name, else the question."""
        return row.text(*self.group_columns)

    def samples(self, row: Row) -> list[Sample]:
        """The question with a capital, the tokens if asked for, and the instruction."""
        question = row.text("question").capitalize()
        if self.ocr:
            question += f"\nReference OCR token: {', '.join(row.texts('ocr_tokens'))}"
        return [self.open(row, question, "all")]

    def open(self, row: Row, question: str, family: str) -> Sample:
        """A sample that is judged against people's answers."""
        answers = row.texts("answers", "answer")
        return Sample(
            id=f"{self.name}-{row.text('question_id', 'index')}",
            image=row.picture(),
            prompt=self.asked(question),
            answer=multimode(answers)[0],
            family=family,
            scoring=Generation(partial(vqa_accuracy, answers=answers), self.new_tokens),
            group=self.group(row),
        )


class VizWiz(TextVQA):
    """VQA's soft accuracy, also of the questions that most people found unanswerable."""

    name = "vizwiz"
    paper = "arXiv 1802.08218"
    hub = "lmms-lab/VizWiz-VQA"
    usual = ("val", "validation")
    group_columns = ("question_id", "image_path", "index")
    instruction = (
        "When the provided information is insufficient, respond with 'Unanswerable'.\n" + SHORT
    )

    def samples(self, row: Row) -> list[Sample]:
        """The question with a capital, and both instructions behind it."""
        said = multimode(row.texts("answers", "answer"))[0]
        kind = UNANSWERABLE if said == UNANSWERABLE else "answerable"
        family = row.text("category") if row.has("category") else kind
        return [self.open(row, row.text("question").capitalize(), family)]

    def figures(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """Soft accuracy of answerable and unanswerable questions, as far as there are any."""
        without = np.array([sample.family == UNANSWERABLE for sample in samples])
        parts = {"accuracy_answerable": ~without, "accuracy_unanswerable": without}
        return {
            name: float(outcomes[inside].mean()) for name, inside in parts.items() if inside.any()
        }
