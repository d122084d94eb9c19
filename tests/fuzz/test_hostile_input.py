"""Files of strangers: whatever is in them, they are read, or refused in one sentence."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import broken, mutated
from targets import TARGETS, check

from paretoprune.errors import UnknownNameError

QUICK = ("schedule", "study")
"""Targets that need no model."""


@pytest.mark.parametrize("name", QUICK)
def test_valid_files_are_taken(name: str) -> None:
    for seed, content in TARGETS[name].seeds().items():
        said = check(TARGETS[name], seed, content.encode("utf-8"))
        # what is in comments of a study file is shown, not asked for
        assert said is None, f"{seed}: {said}"


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=60, deadline=None)
@given(randomness=st.randoms(use_true_random=False))
def test_mutated_files_are_read_or_refused(name: str, randomness: random.Random) -> None:
    seeds = TARGETS[name].seeds()
    seed = randomness.choice(sorted(seeds))
    as_json = seed.endswith(".json")
    text = seeds[seed]
    content = mutated(text, randomness) if as_json else broken(text.encode("utf-8"), randomness)
    check(TARGETS[name], seed, content)


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=40, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=500), st.text(max_size=500).map(lambda t: t.encode("utf-8", "replace"))
    )
)
def test_anything_at_all_is_read_or_refused(name: str, content: bytes) -> None:
    check(TARGETS[name], min(TARGETS[name].seeds()), content)


def test_deep_json_is_no_policy_file() -> None:
    """Found by mutation: looking for the format name ran out of stack."""
    said = check(TARGETS["schedule"], "policy.json", b'{"a":' * 20_000)
    assert said is not None


def test_a_name_of_many_characters_is_cut_in_the_message() -> None:
    """Found by mutation: a name of 10,000 characters was repeated whole."""
    assert len(str(UnknownNameError("policy", "a" * 10_000, ["static"]))) < 400
