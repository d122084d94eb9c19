"""The record: what becomes of tokens by hand, and files that are not what they should be."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from paretoprune.compression.kept import (
    EXAMPLES_NAME,
    Example,
    Examples,
    Pruned,
    SeenAs,
    State,
    Step,
    read_examples,
    write_examples,
)
from paretoprune.errors import BrokenFileError


def png(high=8, wide=8):
    stream = io.BytesIO()
    Image.fromarray(np.full((high, wide, 3), 200, np.uint8)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue())


def example(steps, tokens=4, layers=4, **more):
    boxes = [(0.0, i / tokens, 1.0, (i + 1) / tokens) for i in range(tokens)]
    given = {
        "question": "q", "model": "m", "pictures": [png()], "views": [SeenAs(picture=0)],
        "view": [0] * tokens, "boxes": boxes, "dense_answer": "a",
        "pruned": [
            Pruned(label="l", pruner="p", keep=[1.0] * layers, steps=steps, answer="b", right=False)
        ],
    }  # fmt: skip
    return Example(**(given | more))


STEPS = [
    Step(layer=0, kept=[0, 1, 2, 3]),
    Step(layer=1, kept=[0, 2], merged=[(1, 0)]),
    Step(layer=3, kept=[2], merged=[(0, 2)]),
]


def test_a_merged_token_lives_on_until_its_carrier_is_gone():
    found = example(STEPS)
    states = found.states(found.pruned[0])
    G, M, K = State.GONE, State.MERGED, State.KEPT
    assert states.tolist() == [[K, K, K, K], [K, M, K, G], [M, M, K, G]]
    dropped = [*STEPS[:2], Step(layer=3, kept=[2])]
    found = example(dropped)
    assert found.states(found.pruned[0])[-1].tolist() == [G, G, K, G]


def test_spans_and_counts():
    one = example(STEPS).pruned[0]
    assert one.changes == [0, 1, 3]
    assert one.spans() == [(0, 0), (1, 2), (3, 3)]
    assert one.counts() == [4, 2, 2, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"view": [0, 0, 0]}, "4 boxes for 3"),
        ({"view": [0, 0, 0, 1]}, "view must be in 0..0"),
        ({"views": [SeenAs(picture=1)]}, "picture must be in 0..0"),
        ({"pictures": [base64.b64encode(b"<svg onload=alert(1)>")]}, "PNG or JPEG"),
        ({"boxes": [(0.5, 0, 0.2, 1)] * 4}, "top <= bottom"),
        ({"boxes": [(0, 0, 2, 1)] * 4}, "less than or equal to 1"),
        ({"boxes": [(0, 0, float("nan"), 1)] * 4}, "less than or equal to 1|finite"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(change, words):
    with pytest.raises(ValidationError, match=words):
        example(STEPS, **change)


@pytest.mark.parametrize(
    "steps",
    [
        [Step(layer=1, kept=[0])],
        [Step(layer=0, kept=[0]), Step(layer=0, kept=[])],
        [Step(layer=0, kept=[0]), Step(layer=4, kept=[])],
        [Step(layer=0, kept=[4])],
        [Step(layer=0, kept=[0], merged=[(9, 0)])],
    ],
)
def test_steps_that_make_no_sense_are_refused(steps):
    with pytest.raises(ValidationError, match="steps must rise|there are 4 visual tokens"):
        example(steps)


def test_the_file_reads_back(tmp_path):
    stored = Examples(label="tpe", seed=1, examples=[example(STEPS)])
    write_examples(tmp_path, stored)
    assert read_examples(tmp_path) == stored
    assert {file.name for file in tmp_path.iterdir()} == {EXAMPLES_NAME}
    assert read_examples(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format": "x"}', "\udcff", '{"label": 1}', json.dumps({"a": "b" * 99})],
)
def test_a_file_that_is_something_else_is_named(tmp_path, text):
    (tmp_path / EXAMPLES_NAME).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BrokenFileError, match=EXAMPLES_NAME):
        read_examples(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokenFileError, match="file"):
        write_examples(tmp_path / "file", Examples(label="a", seed=0, examples=[]))
