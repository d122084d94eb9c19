"""VQA's normalisation of answers, as the evaluation server of VQA, TextVQA and VizWiz applies it.

Lower case, numbers as digits, no articles, no punctuation but in numbers, contractions with their
apostrophes (rules of visualqa.org/evaluation and EvalAI's answer processor).
"""

from __future__ import annotations

import re

ARTICLES = frozenset(("a", "an", "the"))
DIGITS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_FULL = (  # noqa: SIM905
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't "
    "haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't "
    "mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've "
    "should've shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's someone'd "
    "someone'd've someone'll someone's something'd something'd've something'll that's there'd "
    "there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've "
    "we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've "
    "who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll "
    "y'all'd've you'd you'd've you'll you're you've"
).split()
CONTRACTIONS = {
    full[:place] + full[place + 1 :]: full
    for full in _FULL
    for place, sign in enumerate(full)
    if sign == "'"
}
"""Each contraction by its spellings with one apostrophe missing."""
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),+(?=\d)")
_FULL_STOP = re.compile(r"\.(?!\d)")


def normalised(answer: str) -> str:
    """An answer as it is compared with others."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = _unpunctuated(text.replace("\n", " ").replace("\t", " ").strip())
    words = [DIGITS.get(word, word) for word in text.split()]
    return " ".join(CONTRACTIONS.get(w, w) for w in words if w not in ARTICLES)


def _unpunctuated(text: str) -> str:
    """Remove signs next to a blank, make those between letters a blank, keep stops in numbers."""
    joined = _COMMA_IN_NUMBER.search(text) is not None
    result = text
    for sign in PUNCTUATION:
        apart = joined or f"{sign} " in text or f" {sign}" in text
        result = result.replace(sign, "" if apart else " ")
    return _FULL_STOP.sub("", result)
