"""Metrics of texts, each against cases scored by hand from the published rule."""

import pytest

from paretoprune.tasks.answers import (
    contains_answer,
    direct_accuracy,
    option_letter,
    pope_answer,
    relaxed_accuracy,
    vqa_accuracy,
    yes_or_no,
)
from paretoprune.tasks.vqa_words import CONTRACTIONS, normalised


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Yes", "yes"), ("yes.", "yes"), ("NO", "no"), (" no, it is not", "no"), ("Y", "yes"),
        ("n", "no"), ("Yes, there is no dog.", "yes"), ("The answer is yes.", "yes"),
        ("I would say no", "no"), ("yes and no", "yes"), ("it is both yes and no", None),
        ("maybe", None), ("", None), ("nothing", None), ("know", None), ("Norway", None),
    ],
)  # fmt: skip
def test_yes_or_no(said, answer):
    assert yes_or_no(said) == answer


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Yes", "yes"), ("No", "no"), ("There is not a dog", "no"), ("no", "no"), ("NO", "yes"),
        ("Yes. There is no cat", "yes"), ("No, there is", "no"), ("", "yes"), ("maybe", "yes"),
    ],
)  # fmt: skip
def test_pope_reads_the_first_sentence(said, answer):
    assert pope_answer(said) == answer


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("B", "B"), ("B.", "B"), ("(B)", "B"), ("B. a dog", "B"), ("B) dog", "B"),
        ("The answer is C.", "C"), ("Answer: A", "A"), ("A", "A"), ("a", None), ("D", None),
        ("A dog", "B"), ("A dog is in option B", "B"), ("dog", "B"), ("cat and dog", None),
        ("hotdog", None), ("Both A and B", None), ("A or B", None), ("", None), ("The cat.", "A"),
    ],
)  # fmt: skip
def test_option_letter(said, letter):
    assert option_letter(said, ["cat", "dog", "fish"]) == letter


@pytest.mark.parametrize(
    ("said", "answer", "score"),
    [
        ("100", "100", 1), ("105", "100", 1), ("95", "100", 1), ("105.1", "100", 0),
        ("94.9", "100", 0), ("-10", "-10.4", 1), ("10", "-10", 0), ("12%", "12%", 1),
        ("0.12", "12%", 1), ("12%", "12", 0), ("12.5 %", "12.5%", 1), ("0", "0", 1),
        ("0.0", "0", 0), ("0.01", "0", 0), ("12 million", "12 million", 1), ("12 million", "12", 0),
        ("$5", "5", 0), ("1,000", "1000", 0), ("Yes", "yes", 1), (" blue ", "Blue", 1),
        ("blue", "dark blue", 0), ("[1, 2]", "[1, 2]", 1), ("nan", "5", 0), ("inf", "5", 0),
        ("2019", "2020", 1), ("1e2", "100", 1),
    ],
)  # fmt: skip
def test_relaxed_accuracy(said, answer, score):
    """ChartQA's rule as pix2struct wrote it down; a year is a number like any other."""
    assert relaxed_accuracy(said, answer) == score


def test_contained_answers():
    assert contains_answer("The sign says STOP here", ["stop"]) == 1
    assert contains_answer("st op", ["stop"]) == 0
    assert contains_answer("it reads\nmain st", ["x", "reads main"]) == 1
    assert contains_answer("", ["stop"]) == 0
    assert contains_answer("x ^ 2 + Y", ["x^2+Y"], formula=True) == 1
    assert contains_answer("x^2+y", ["x^2+Y"], formula=True) == 0  # case counts in formulas


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("The  Dog.", "dog"), ("two", "2"), ("none", "0"), ("an apple", "apple"),
        ("1,000", "1000"), ("3.5", "3.5"), ("3.", "3"), ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"), ("yall'll", "y'all'll"), ("twas", "'twas"),
        ("John's", "john 's"), ("red/blue", "red blue"), ("red / blue", "red blue"),
        ("what?", "what"), ("a-b", "b"), ("T-shirt", "t shirt"), ("new\nline", "new line"),
        ("(yes)", "yes"), ("50%", "50%"), ("$5.00", "$5.00"),
    ],
)  # fmt: skip
def test_vqa_normalisation(answer, text):
    assert normalised(answer) == text


def test_contractions_are_those_that_the_evaluation_server_knows():
    assert len(CONTRACTIONS) == 114
    assert CONTRACTIONS["shant"] == "shan't"
    assert CONTRACTIONS["ow's'at"] == CONTRACTIONS["'ows'at"] == "'ow's'at"
    assert not {"lets", "shes", "im", "ive"} & set(CONTRACTIONS)


def by_leaving_one_out(said, answers):
    """The definition, written out."""
    given = [normalised(a) for a in answers]
    scores = [
        min(1, sum(b == normalised(said) for j, b in enumerate(given) if j != i) / 3)
        for i in range(len(given))
    ]
    return sum(scores) / len(scores)


@pytest.mark.parametrize("hits", range(11))
def test_vqa_accuracy_is_the_mean_over_leaving_one_out(hits):
    answers = ["stop"] * hits + ["go"] * (10 - hits)
    found = vqa_accuracy("Stop.", answers)
    assert found == pytest.approx(by_leaving_one_out("Stop.", answers))
    known = {0: 0.0, 1: 0.3, 2: 0.6, 3: 0.9, 4: 1.0, 10: 1.0}
    if hits in known:
        assert found == pytest.approx(known[hits])


def test_vqa_accuracy_of_odd_answers():
    unanswerable = ["unanswerable"] * 7 + ["red", "unsuitable", "red"]
    assert vqa_accuracy("Unanswerable", unanswerable) == 1
    assert vqa_accuracy("red", unanswerable) == pytest.approx(0.6)
    assert vqa_accuracy("", unanswerable) == 0
    assert vqa_accuracy("red", ["red"]) == 0  # nobody else to agree with
    assert vqa_accuracy("red", []) == 0
    assert vqa_accuracy("the red car", ["Red car"] * 10) == 1


def test_direct_answers_count_up_to_three():
    answers = ["umbrella", "umbrella", "parasol", "Umbrella"]
    assert direct_accuracy("umbrella", answers) == 1
    assert direct_accuracy("Parasol ", answers) == pytest.approx(1 / 3)
    assert direct_accuracy("hat", answers) == 0
