"""A-OKVQA (arXiv 2206.01718): questions that need knowledge beyond the picture."""

from __future__ import annotations

from functools import partial
from statistics import multimode

from paretoprune.errors import UnknownNameError
from paretoprune.tasks.answers import direct_accuracy
from paretoprune.tasks.base import Sample
from paretoprune.tasks.benchmarks.base import SHORT
from paretoprune.tasks.benchmarks.choice import LETTERS, MultipleChoice
from paretoprune.tasks.rows import Row
from paretoprune.tasks.scoring import Generation

ANSWERS = ("choice", "direct")


class AOKVQA(MultipleChoice):
    """Accuracy of choices; with `answers="direct"`, free answers against those of ten people."""

    name = "aokvqa"
    paper = "arXiv 2206.01718"
    hub = "HuggingFaceM4/A-OKVQA"
    usual = ("validation", "val")
    needs = (("image",), ("question",), ("choices", "A", "direct_answers"))
    group_columns = ("question_id", "index", "difficult_direct_answer")

    def __init__(self, data: str, *, answers: str = "choice", **options: str | None) -> None:
        if answers not in ANSWERS:
            raise UnknownNameError("answers of task 'aokvqa'", answers, ANSWERS)
        self.answers = answers
        if answers == "direct":
            self.instruction = SHORT
        super().__init__(data, **options)

    def takes(self, row: Row) -> bool:
        """Questions whose free answers differ too much are asked as choices alone."""
        return self.answers == "choice" or not row.values.get("difficult_direct_answer")

    def group(self, row: Row) -> str:
        """The question."""
        return row.text("question_id", "index")

    def samples(self, row: Row) -> list[Sample]:
        """The question with its choices, or alone."""
        name, group = f"aokvqa-{self.group(row)}", self.group(row)
        if self.answers == "direct":
            answers = row.texts("direct_answers")
            judge = partial(direct_accuracy, answers=answers)
            return [
                Sample(
                    name, row.picture(), self.asked(row.text("question")), multimode(answers)[0],
                    "direct", Generation(judge, self.new_tokens), group,
                )
            ]  # fmt: skip
        if row.has("A"):
            options, right = self.lettered(row, LETTERS[:4])
        else:
            options = row.texts("choices")
            right = row.whole("correct_choice_idx", len(options) - 1)
        return [
            self.choice(
                name, row.picture(), row.text("question"), options, right,
                family="choice", group=group,
            )
        ]  # fmt: skip
