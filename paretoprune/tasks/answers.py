"""Scores of generated texts: the answer post-processing and metrics that benchmarks publish.

Pure functions of texts. Sources are named where a rule is a convention and not a matter of course.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from paretoprune.tasks.vqa_words import normalised

RELAXED = 0.05
"""ChartQA's tolerance, as a share of the right number (arXiv 2203.10244, section 5.1)."""
ANSWERS_FOR_FULL = 3
"""VQA (arXiv 1505.00468): an answer that three of the other annotators gave counts in full."""


def yes_or_no(said: str) -> Literal["yes", "no"] | None:
    """The answer of two that a text gives: its first word, else the only one of them that occurs.

    So a yes within a sentence counts, "Yes, there is no dog" is a yes, and "maybe" is neither.
    """
    words = re.findall(r"[a-z]+", said.lower())
    if words and words[0] in ("yes", "y", "no", "n"):
        return "yes" if words[0].startswith("y") else "no"
    answers = {"yes", "no"} & set(words)
    if len(answers) != 1:
        return None
    return "yes" if "yes" in answers else "no"


def pope_answer(said: str) -> Literal["yes", "no"]:
    """As POPE's evaluation reads answers (arXiv 2305.10355): no or not in the first sentence is no.

    Anything else is a yes.
    """
    words = said.partition(".")[0].replace(",", "").split()
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def option_letter(said: str, options: Sequence[str]) -> str | None:
    """The letter that a text chooses of options A, B, ...; None where that is not clear.

    A letter in front ("B", "(B)", "B. a cat"), else the only letter that stands alone, else the
    letter of the only option whose text occurs.
    """
    letters = [chr(ord("A") + number) for number in range(len(options))]
    text = said.strip()
    first = re.match(r"\(?([A-Z])[).:,]", text)
    if first and first[1] in letters:
        return str(first[1])
    alone = set(re.findall(r"(?<![A-Za-z'])([A-Z])(?![A-Za-z'])", text)) & set(letters)
    if re.search(r"\bA (?!or\b|and\b)[a-z]", text):  # an article
        alone -= {"A"}
    if len(alone) == 1:
        return str(alone.pop())
    lower = text.lower()
    named = [
        letter
        for letter, option in zip(letters, options, strict=True)
        if option.strip() and re.search(rf"(?<!\w){re.escape(option.strip().lower())}(?!\w)", lower)
    ]
    return named[0] if len(named) == 1 else None


def relaxed_accuracy(said: str, answer: str) -> float:
    """1 for a number within 5 % of the right one, or for the same text in any case; else 0.

    ChartQA's measure as pix2struct wrote it down and all evaluations use it: a percent sign divides
    by 100, so that "12%" is 0.12; a number with any other unit is a text; a right answer of 0 must
    be met as text.
    """
    number, target = _number(said), _number(answer)
    if number is not None and target:
        return float(abs(number - target) <= RELAXED * abs(target))
    return float(said.strip().lower() == answer.strip().lower())


def best_relaxed(said: str, answers: Sequence[str]) -> float:
    """The best relaxed accuracy of several accepted answers."""
    return max(relaxed_accuracy(said, answer) for answer in answers)


def _number(text: str) -> float | None:
    bare = text.strip()
    try:
        value = float(bare.rstrip("%")) / 100 if bare.endswith("%") else float(bare)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None


def contains_answer(said: str, answers: Sequence[str], *, formula: bool = False) -> float:
    """1 if one of the answers occurs in the text, in any case: OCRBench (arXiv 2305.07895).

    An empty answer does not. Of a `formula`, blanks do not count and case does.
    """

    def plain(text: str) -> str:
        one_line = text.strip().replace("\n", " ")
        return one_line.replace(" ", "") if formula else one_line.lower()

    return float(any(plain(answer) in plain(said) for answer in answers if plain(answer)))


def vqa_accuracy(said: str, answers: Sequence[str]) -> float:
    """VQA's soft accuracy (arXiv 1505.00468): how many annotators agree, three for 1.

    Averaged over leaving each annotator out, after the official normalisation of all answers.
    """
    text = normalised(said)
    references = [normalised(answer) for answer in answers]
    if not references:
        return 0.0
    hits = sum(answer == text for answer in references)
    # leaving out one of those who agree leaves one fewer; leaving out another changes nothing
    agreeing = hits * min(1.0, (hits - 1) / ANSWERS_FOR_FULL)
    others = (len(references) - hits) * min(1.0, hits / ANSWERS_FOR_FULL)
    return (agreeing + others) / len(references)


def direct_accuracy(said: str, answers: Sequence[str]) -> float:
    """A-OKVQA's direct answers (arXiv 2206.01718): agreeing annotators over three, at most 1."""
    text = said.strip().lower()
    hits = sum(answer.strip().lower() == text for answer in answers)
    return min(1.0, hits / ANSWERS_FOR_FULL)
