"""SEED-Bench (arXiv 2307.16125): multiple choice about pictures and frames of videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from paretoprune.errors import UnknownNameError
from paretoprune.tasks.base import Sample
from paretoprune.tasks.benchmarks.choice import MultipleChoice
from paretoprune.tasks.rows import Row

CHOICES = ("choice_a", "choice_b", "choice_c", "choice_d")
MEDIA = ("image", "video", "all")


class SEEDBench(MultipleChoice):
    """Accuracy, also of pictures and videos apart. `media` takes one kind (default: pictures)."""

    name = "seedbench"
    paper = "arXiv 2307.16125"
    hub = "lmms-lab/SEED-Bench"
    usual = ("test",)
    needs = (("image",), ("question",), ("answer",), ("choice_a", "A"), ("choice_b", "B"))
    group_columns = ("data_id", "question_id", "index", "data_type")

    def __init__(self, data: str, *, media: str = "image", **options: str | None) -> None:
        if media not in MEDIA:
            raise UnknownNameError("media of task 'seedbench'", media, MEDIA)
        self.media = media
        super().__init__(data, **options)

    def group(self, row: Row) -> str:
        """The picture or video, which several questions may be about."""
        return row.text("data_id", "question_id", "index")

    def takes(self, row: Row) -> bool:
        """Whether the row is of the media asked for."""
        return self.media == "all" or _kind(row) == self.media

    def samples(self, row: Row) -> list[Sample]:
        """The question and its options; a video is its frames, in order."""
        columns = CHOICES if row.has(CHOICES[0]) else ("A", "B", "C", "D")
        options, right = self.lettered(row, columns)
        shown = row.pictures()
        name = row.text("question_id", "index")
        return [
            self.choice(
                f"seedbench-{name}", shown[0] if len(shown) == 1 else shown, row.text("question"),
                options, right, family=_kind(row), group=self.group(row),
            )
        ]  # fmt: skip

    def figures(
        self, samples: Sequence[Sample], outcomes: NDArray[np.float32]
    ) -> Mapping[str, float]:
        """Accuracy of pictures and of videos, as far as there are any."""
        kinds = np.array([sample.family for sample in samples])
        return {
            f"accuracy_{kind}": float(outcomes[kinds == kind].mean())
            for kind in MEDIA[:2]
            if (kinds == kind).any()
        }


def _kind(row: Row) -> str:
    return row.one_of("data_type", MEDIA[:2]) if row.has("data_type") else MEDIA[0]
