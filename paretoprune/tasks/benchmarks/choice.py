"""Multiple choice: lettered options behind the question, as LLaVA-1.5 and lmms-eval write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paretoprune.tasks.answers import option_letter
from paretoprune.tasks.base import Sample, Visual
from paretoprune.tasks.benchmarks.base import LETTER, Benchmark
from paretoprune.tasks.rows import Row

LETTERS = "ABCDEFGHIJ"


class MultipleChoice(Benchmark):
    """One letter is right."""

    instruction = LETTER

    def choice(
        self,
        name: str,
        image: Visual,
        question: str,
        options: Sequence[str],
        right: int,
        *,
        family: str,
        group: str,
    ) -> Sample:
        """A sample that asks for the letter of option number `right`."""
        letters = LETTERS[: len(options)]
        lines = [f"{letter}. {option}" for letter, option in zip(letters, options, strict=True)]
        return Sample(
            id=name,
            image=image,
            prompt=self.asked("\n".join([question, *lines])),
            answer=letters[right],
            family=family,
            scoring=self.way(letters, _chooses(letters[right], options)),
            group=group,
        )

    @staticmethod
    def lettered(row: Row, columns: Sequence[str]) -> tuple[list[str], int]:
        """Options of a row up to the first empty column, and which one `answer` names."""
        options = []
        for column in columns:
            if not row.has(column):
                break
            options.append(row.text(column))
        if len(options) < 2:
            raise row.wrong(columns[len(options)], None, "an option: a choice has two or more")
        return options, LETTERS.index(row.one_of("answer", LETTERS[: len(options)]))


def _chooses(letter: str, options: Sequence[str]) -> Callable[[str], float]:
    return lambda said: float(option_letter(said, options) == letter)
