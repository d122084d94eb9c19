"""Files of strangers: whatever is in them, they are read, or refused in one sentence."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import BYTES, JSON_LETTERS, REPEATED, broken, case_of, mutated
from readers import READERS
from target import check
from targets import CORPUS, TARGETS

from paretoprune.errors import ParetopruneError, UnknownNameError

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


def _read(reader: str, folder: Path, content: bytes) -> str | None:
    """The sentence that a reader refuses a file of this content with; None where it takes it."""
    name, _, read = READERS[reader]
    (folder / name).write_bytes(content)
    return _refusal(read, folder / name)


def _refusal(read: Callable[[Path], Any], file: Path) -> str | None:
    try:
        read(file)
    except ParetopruneError as error:
        said = str(error)
        assert said.strip()
        assert said.isprintable()
        assert len(said) < 1500
        assert file.name in said or file.parent.name in said, said
        return said
    return None


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_takes_its_file_with_and_without_a_byte_order_mark(
    reader: str, tmp_path: Path
) -> None:
    content = READERS[reader][1]().encode()
    assert _read(reader, tmp_path, content) is None
    if reader != "configuration":  # transformers reads it
        assert _read(reader, tmp_path, b"\xef\xbb\xbf" + content) is None


@pytest.mark.parametrize("case", BYTES)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_hostile_bytes(reader: str, case: str, tmp_path: Path) -> None:
    """Deeply nested JSON ended in RecursionError; that of a benchmark ended the process."""
    said = _read(reader, tmp_path, BYTES[case])
    takes_any_text = reader in ("text", "question beside a picture")
    assert said is not None or takes_any_text or (reader == "study" and not BYTES[case].strip())


@pytest.mark.parametrize("case", JSON_LETTERS)
@pytest.mark.parametrize("reader", [r for r in READERS if "json" in READERS[r][0]])
def test_every_reader_of_json_refuses_hostile_values(
    reader: str, case: str, tmp_path: Path
) -> None:
    """The valid file with a further value that JSON does not have, or not without an end."""
    content = READERS[reader][1]().replace("{", '{"extra": ' + JSON_LETTERS[case] + ", ", 1)
    said = _read(reader, tmp_path, content.encode())
    assert said is not None or reader == "configuration"  # transformers takes some


@pytest.mark.parametrize("reader", [r for r in READERS if "json" in READERS[r][0]])
def test_every_reader_of_json_refuses_a_key_that_is_there_twice(
    reader: str, tmp_path: Path
) -> None:
    """The last one counted, and nothing was said."""
    content = REPEATED.sub(r"{\1, \1", READERS[reader][1](), count=1)
    said = _read(reader, tmp_path, content.encode())
    if reader != "configuration":  # transformers reads it
        assert said is not None
        assert "is there twice" in said


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_waits_for_what_is_no_file(reader: str, kind: str, tmp_path: Path) -> None:
    """A pipe was waited for without an end."""
    name, _, read = READERS[reader]
    file = tmp_path / name
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    assert _refusal(read, file) is not None


def test_a_number_of_too_many_digits_in_a_study_file_is_refused(tmp_path: Path) -> None:
    """Found by trying: hexadecimal numbers have no limit, and could not be shown."""
    said = _read("study", tmp_path, b"budget = 0x" + b"f" * 5000)
    assert said is not None
    assert "a int that cannot be shown" in said
