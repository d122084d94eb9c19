"""Files of strangers: whatever is in them, they are read, or refused in one sentence."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import broken, case_of, mutated
from target import check
from targets import CORPUS, TARGETS

from paretoprune.errors import UnknownNameError

QUICK = ("schedule", "study", "rows", "results")
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


@pytest.mark.parametrize("name", QUICK)
def test_what_reached_new_code_is_read_or_refused(name: str) -> None:
    """The corpus that coverage-guided runs left."""
    files = sorted((CORPUS / name).iterdir())
    assert files
    seeds = TARGETS[name].seeds()
    for file in files:
        case = case_of(seeds, file.read_bytes())
        assert case is not None
        check(TARGETS[name], *case)


def test_deep_json_is_no_policy_file() -> None:
    """Found by mutation: looking for the format name ran out of stack."""
    said = check(TARGETS["schedule"], "policy.json", b'{"a":' * 20_000)
    assert said is not None


def test_a_name_of_many_characters_is_cut_in_the_message() -> None:
    """Found by mutation: a name of 10,000 characters was repeated whole."""
    assert len(str(UnknownNameError("policy", "a" * 10_000, ["static"]))) < 400


def _summary(**changes: object) -> bytes:
    content = json.loads(TARGETS["results"].seeds()["comparison.json"])
    for point in content["front"]:
        point.update(changes)
    return json.dumps(content).encode()


def _rows(name: str, **changes: object) -> bytes:
    rows = json.loads(TARGETS["rows"].seeds()[f"{name}.json"])
    rows[1].update(changes)
    return json.dumps(rows).encode()


REFUSED = {
    "a front point without an objective": ("results", "comparison.json", {"search": {"f1": 0.5}}),
    "a keep schedule that rises": ("results", "comparison.json", {"keep": [0.5, 1.0]}),
    "a pruner of 10,000 characters": ("results", "comparison.json", {"pruner": "a" * 10_000}),
    "bytes that are none": ("rows", "mme.json", {"image": {"bytes": {"a": 1}}}),
    "a picture's name of two lines": ("rows", "mme.json", {"image": "\r\n"}),
    "a picture's name with a NUL": ("rows", "mme.json", {"image": "a\x00.png"}),
}
"""Found by fuzzing: each ended in a traceback, or in a message of several lines."""


@pytest.mark.parametrize("case", REFUSED)
def test_found_by_fuzzing(case: str) -> None:
    target, file, changes = REFUSED[case]
    name = file.partition(".")[0]
    content = _summary(**changes) if target == "results" else _rows(name, **changes)
    assert check(TARGETS[target], file, content) is not None


def test_a_figure_that_is_no_number_is_refused() -> None:
    """Found by fuzzing: NaN in a ranking was read, and could not be rounded for the table."""
    content = json.loads(_summary())
    content["standings"][1]["evaluations"] = float("nan")
    said = check(TARGETS["results"], "comparison.json", json.dumps(content).encode())
    assert said is not None
    assert "standings.1.evaluations is not a finite number" in said


def test_a_group_that_utf_8_cannot_write_is_a_group() -> None:
    """Found by fuzzing: a lone surrogate in a question's id could not be hashed."""
    content = _rows("mme", question_id="\ud800")
    assert check(TARGETS["rows"], "mme.json", content) is None


def test_a_column_of_many_characters_is_cut_in_the_message() -> None:
    """Found by fuzzing: the names of all columns were repeated whole."""
    rows = [{"a" * 50_000: 1}]
    said = check(TARGETS["rows"], "mme.json", json.dumps(rows).encode())
    assert said is not None
    assert len(said) < 3000


def test_a_schedule_without_a_score_that_is_a_number_is_refused() -> None:
    """Found by fuzzing: NaN was read, and written again as what is no JSON."""
    content = json.loads(TARGETS["schedule"].seeds()["schedule.json"]) | {"score": float("nan")}
    said = check(TARGETS["schedule"], "schedule.json", json.dumps(content).encode())
    assert said is not None
    assert "score" in said


def _config(file: str, **changes: object) -> str | None:
    seed = f"mini-llava!{file}.json"
    content = json.loads(TARGETS["configs"].seeds()[seed]) | changes
    return check(TARGETS["configs"], seed, json.dumps(content).encode())


def test_a_checkpoint_whose_pictures_cannot_be_prepared_is_refused() -> None:
    """Found by fuzzing: it was loaded, and the first picture ended in a traceback."""
    said = _config("preprocessor_config", image_mean=[0.5] * 4)
    assert said is not None
    assert "no question about a picture can be answered" in said
    assert _config("preprocessor_config", crop_size={"height": 192, "width": 96}) is not None
    assert _config("preprocessor_config", rescale_factor="${x}") is not None


def test_layers_without_an_end_are_refused_before_they_are_made() -> None:
    """Found by fuzzing: a configuration of 2**31 layers was built until memory ran out."""
    config = json.loads(TARGETS["configs"].seeds()["mini-llava!config.json"])
    said = _config("config", text_config=config["text_config"] | {"num_hidden_layers": 2**31})
    assert said is not None
    assert "num_hidden_layers 2147483648; allowed: up to 1000" in said


def test_a_picture_that_is_scaled_by_nothing_is_refused() -> None:
    """Found by fuzzing: 0 was raised to a negative power while the model was built."""
    seed = "mini-internvl!config.json"
    content = json.loads(TARGETS["configs"].seeds()[seed]) | {"downsample_ratio": 0.0}
    assert check(TARGETS["configs"], seed, json.dumps(content).encode()) is not None


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused() -> None:
    """Found by fuzzing: questions with the token ended in an IndexError of the embedding."""
    said = _config("tokenizer_config", unk_token="a token that is new")
    assert said is not None
    assert "its tokenizer has tokens up to number 78, its embedding 78 rows" in said
