"""Texts and likelihoods of a pruned checkpoint, as harnesses ask for them."""

import json

import pytest
import torch

from paretoprune.deploy.harnesses.answering import load_answering
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.testing.agreement import assert_same_samples

KEEP = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.0, 0.0]
SAMPLES = load_split("heldout", 6)
PICTURES = [[s.image] for s in SAMPLES]
PROMPTS = [s.prompt for s in SAMPLES]
ANSWERS = [str(s.answer) for s in SAMPLES]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("schedules") / "best.json"
    path.write_text(
        json.dumps({"format": "paretoprune-schedule/1", "pruner": "fastv", "keep": KEEP})
    )
    return path


@pytest.fixture(scope="module")
def dense():
    return load_answering("mini-llava", schedule="dense")


@pytest.fixture(scope="module")
def pruned(file):
    return load_answering("mini-llava", schedule=str(file))


def test_a_likelihood_is_the_dense_models_own(dense):
    """Against the plain transformers model, token by token."""
    adapter = dense.model.adapter
    text = " yes two"
    said = adapter.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(said) == 2
    inputs = adapter.inputs([PICTURES[0]], [PROMPTS[0]])
    with torch.no_grad():
        first = adapter.model(**inputs).logits[0, -1].log_softmax(-1)
        longer = adapter.model(
            **inputs
            | {
                "input_ids": torch.cat([inputs["input_ids"], torch.tensor([said[:1]])], 1),
                "attention_mask": torch.ones(1, inputs["input_ids"].shape[1] + 1),
            }
        )
    second = longer.logits[0, -1].log_softmax(-1)
    ((value, greedy),) = dense.log_likelihoods([PICTURES[0]], [PROMPTS[0]], [text])
    assert value == pytest.approx(float(first[said[0]] + second[said[1]]), abs=1e-4)
    assert greedy == (int(first.argmax()) == said[0] and int(second.argmax()) == said[1])


def test_one_token_continuations_share_the_probability(pruned):
    adapter = pruned.model.adapter
    seen = adapter.tokenizer
    words = [w for w, i in sorted(seen.get_vocab().items()) if i not in adapter.visual_token_ids]
    single = [w for w in words if len(seen(w, add_special_tokens=False)["input_ids"]) == 1]
    found = pruned.log_likelihoods([PICTURES[0]] * len(single), [PROMPTS[0]] * len(single), single)
    assert sum(torch.tensor([v for v, _ in found]).exp()) == pytest.approx(1.0, abs=1e-4)
    assert sum(greedy for _, greedy in found) == 1
    assert max(found)[1]  # the likeliest is the greedy one


def test_likelihoods_agree_with_generation(pruned):
    """The pruned view's teacher forcing against its KV cache: what it says is greedy."""
    said = pruned.generate(PICTURES, PROMPTS, new_tokens=4)
    greedy = [greedy for _, greedy in pruned.log_likelihoods(PICTURES, PROMPTS, said)]
    assert_same_samples(greedy, [True] * len(said))
    wrong = ["red" if text != "red" else "blue" for text in said]
    assert not any(greedy for _, greedy in pruned.log_likelihoods(PICTURES, PROMPTS, wrong))


def test_batches_say_what_single_questions_say(pruned):
    texts = ["yes", "no two", "red", "three", "no no no", "blue"]
    together = pruned.log_likelihoods(PICTURES, PROMPTS, texts)
    alone = [
        pruned.log_likelihoods([PICTURES[i]], [PROMPTS[i]], [texts[i]])[0]
        for i in range(len(texts))
    ]
    assert_same_samples([v for v, _ in together], [v for v, _ in alone])
    assert_same_samples([greedy for _, greedy in together], [greedy for _, greedy in alone])
    said = pruned.generate(PICTURES, PROMPTS, new_tokens=3)
    each = [
        pruned.generate([v], [p], new_tokens=3)[0] for v, p in zip(PICTURES, PROMPTS, strict=True)
    ]
    assert_same_samples([a == b for a, b in zip(said, each, strict=True)], [True] * len(said))


def test_the_schedule_is_followed(dense, pruned):
    a = dense.log_likelihoods(PICTURES, PROMPTS, ANSWERS)
    b = pruned.log_likelihoods(PICTURES, PROMPTS, ANSWERS)
    assert any(abs(x - y) > 1e-3 for (x, _), (y, _) in zip(a, b, strict=True))
    pruned.generate(PICTURES[:1], PROMPTS[:1], new_tokens=1)
    assert pruned.model.model.pruning.decided[0].tolist() == KEEP


def test_an_answer_ends_where_it_is_told(dense):
    (whole,) = dense.generate([PICTURES[0]], [PROMPTS[0]], new_tokens=4)
    assert dense.generate([PICTURES[0]], [PROMPTS[0]], new_tokens=4, until=["nowhere"]) == [whole]
    assert dense.generate([PICTURES[0]], [PROMPTS[0]], new_tokens=4, until=["", whole]) == [""]
    assert dense.generate([PICTURES[0]], [PROMPTS[0]], new_tokens=4, until=[whole[1:]]) == [
        whole[0]
    ]


def test_presets_and_pruners_by_name(file):
    preset = load_answering("mini-llava", schedule="fastv:k=2,r=0.5")
    assert preset.generate([PICTURES[0]], [PROMPTS[0]], new_tokens=1)
    other = load_answering("mini-llava", schedule=str(file), pruner="random")
    assert other.model.model.pruning.pruner.name == "random"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"schedule": "fastw:k=2,r=0.5"}, UnknownNameError, "unknown preset 'fastw:k=2,r=0.5'"),
        ({"pruner": "fastv"}, InvalidValueError, "needs a schedule"),
        ({"schedule": "dense", "pruner": "fastv"}, InvalidValueError, "nothing to rank"),
    ],
)
def test_what_does_not_fit_is_said(options, error, says):
    with pytest.raises(error, match=says):
        load_answering("mini-llava", **options)


def test_a_continuation_without_tokens_is_refused(dense):
    with pytest.raises(InvalidValueError, match="'' has no tokens"):
        dense.log_likelihoods([PICTURES[0]], [PROMPTS[0]], [""])
