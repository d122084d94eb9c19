"""MME (arXiv 2306.13394): two questions about each picture, one to be answered yes and one no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.tasks.answers import yes_or_no
from paretoprune.tasks.base import Sample
from paretoprune.tasks.benchmarks.base import Benchmark, all_right
from paretoprune.tasks.benchmarks.yes_no import OPTIONS, says
from paretoprune.tasks.rows import Row

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark",
    "artwork", "OCR",
)  # fmt: skip
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
OWN_INSTRUCTION = " Please answer yes or no."
"""In the questions themselves; the instruction takes its place, as in lmms-eval."""


class MME(Benchmark):
    """Accuracy, accuracy+ (both questions about a picture right), and their sums by category."""

    name = "mme"
    paper = "arXiv 2306.13394"
    hub = "lmms-lab/MME"
    usual = ("test",)
    needs = (("image",), ("question",), ("answer",), ("category",))
    group_columns = ("question_id", "image_path", "category", "index")

    def group(self, row: Row) -> str:
        """The picture within its category."""
        return f"{row.text('category')}/{row.text('question_id', 'image_path', 'index')}"

    def samples(self, row: Row) -> list[Sample]:
        """The question without its own instruction, and ours behind it."""
        question, answer = row.text("question"), row.one_of("answer", OPTIONS)
        if self.instruction:
            question = question.replace(OWN_INSTRUCTION, "")
        return [
            Sample(
                id=f"mme-{row.number}",
                image=row.picture(),
                prompt=self.asked(question),
                answer=answer,
                family=row.text("category"),
                scoring=self.way(OPTIONS, says(answer, yes_or_no)),
                group=self.group(row),
            )
        ]

    def figures(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """Sums over categories of accuracy and accuracy+ in percent: at most 2,000 and 800."""
        scores = {}
        for category in dict.fromkeys(sample.family for sample in samples):
            inside = [i for i, sample in enumerate(samples) if sample.family == category]
            part = [samples[i] for i in inside]
            right = outcomes[inside]
            scores[category] = 100 * (float(right.mean()) + all_right(part, right))
        known = {"perception": PERCEPTION, "cognition": COGNITION}
        return {
            "accuracy_plus": all_right(samples, outcomes),
            "mme_score": sum(scores.values()),
            **{
                f"mme_{kind}": sum(scores[c] for c in names if c in scores)
                for kind, names in known.items()
                if any(c in scores for c in names)
            },
        }
