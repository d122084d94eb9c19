"""The record of what was kept, against the decoder that evaluations run."""

import numpy as np
import pytest
import torch

from paretoprune.adapters.extras import prefill_for
from paretoprune.adapters.generic import GenericAdapter
from paretoprune.adapters.llava import LlavaAdapter
from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.kept import State
from paretoprune.compression.kept_tokens import Question, Wanted, kept_tokens
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.decoder import run_population
from paretoprune.pruning.merging import Merge, merged, watched
from paretoprune.pruning.operators import make_pruner
from paretoprune.schedules import KeepSchedule
from paretoprune.tasks.base import Video
from paretoprune.testing.models import (
    tiny_internvl,
    tiny_llava,
    tiny_llava_next,
    tiny_qwen2_5_vl,
)

PROMPT = "at r1 c2 is A star B ring ?"
FAMILIES = {
    "llava": tiny_llava,
    "next": tiny_llava_next,
    "qwen": tiny_qwen2_5_vl,
    "internvl": tiny_internvl,
}
FALLING = KeepSchedule((1.0, 0.6, 0.6, 0.2))


@pytest.fixture(scope="module")
def adapters():
    return {name: build() for name, build in FAMILIES.items()}


def noise(*size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def kept_by_the_decoder(adapter, picture, pruner, schedule):
    """Visual tokens present in each layer, by number, from the population decoder."""
    inputs = adapter.inputs([picture], [PROMPT])
    prefill = prefill_for(adapter, inputs, needs=pruner.needs)
    visual = prefill.visual[0].nonzero()[:, 0].tolist()
    found = []
    for layer in range(schedule.layers):
        # nothing leaves behind this layer, so what comes out of the last one was in this one
        ratios = [*schedule.ratios[: layer + 1]]
        ratios += [ratios[-1]] * (schedule.layers - layer - 1)
        with torch.no_grad():
            (leaf,) = run_population(adapter, prefill, np.array([ratios]), pruner)
        there = set(leaf.tokens.origin[0].tolist())
        found.append([i for i, place in enumerate(visual) if place in there])
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["fastv", "sparsevlm", "tome", "uniform", "random"])
def test_kept_sets_are_those_that_the_decoder_uses(adapters, family, name):
    adapter, picture, pruner = adapters[family], noise(96, 144), make_pruner(name)
    example = kept_tokens(
        adapter, Question(picture, PROMPT), [Wanted("x", FALLING, pruner)], new_tokens=2
    )
    (one,) = example.pruned
    expected = kept_by_the_decoder(adapter, picture, pruner, FALLING)
    states = example.states(one)
    for layer, kept in enumerate(expected):
        step = [i for i, first in enumerate(one.changes) if first <= layer][-1]
        assert one.steps[step].kept == kept
        assert np.flatnonzero(states[step] == State.KEPT).tolist() == kept
    assert one.counts() == [len(kept) for kept in expected]
    assert one.counts() == FALLING.counts(example.tokens).tolist()
    merges = any(step.merged for step in one.steps)
    assert merges == (name in ("sparsevlm", "tome"))
    assert (states == State.MERGED).any() == merges


def test_what_tome_merges_is_what_its_weights_say(adapters):
    adapter, picture = adapters["llava"], noise(96, 96)
    schedule = KeepSchedule((0.5, 0.5, 0.5, 0.5))
    example = kept_tokens(
        adapter, Question(picture, PROMPT), [Wanted("x", schedule, make_pruner("tome"))]
    )
    (step,) = example.pruned[0].steps
    prefill = adapter.prefill(adapter.inputs([picture], [PROMPT]))
    place, weights = merged(prefill.hidden[prefill.visual], 8)
    place = place[:8]  # behind them stand those that were merged
    expected = {
        (token, int(place[row]))
        for row, token in weights.nonzero().tolist()
        if token not in place.tolist()
    }
    assert set(step.merged) == expected
    assert len(expected) == 8


def test_nothing_that_tome_takes_is_ever_gone(adapters):
    wanted = [Wanted("x", FALLING, make_pruner("tome"))]
    example = kept_tokens(adapters["qwen"], Question(noise(64, 96), PROMPT), wanted)
    assert not (example.states(example.pruned[0]) == State.GONE).any()


def test_answers_and_their_verdicts_are_those_of_the_evaluation(mini):
    schedule = KeepSchedule((1.0, 1.0, *[0.1] * 6))
    (evaluation,) = mini.evaluate([exact_candidate(schedule)])
    wanted = [Wanted("x", schedule, mini.tokens.pruner)]
    found = [kept_tokens(mini.adapter, Question.of(s), wanted) for s in mini.samples[:24]]
    assert [e.pruned[0].right for e in found] == (evaluation.outcomes[:24] == 1).tolist()
    assert [e.dense_right for e in found] == (mini.dense_outcomes[:24] == 1).tolist()
    assert {e.pruned[0].right for e in found} == {True, False}  # or it says nothing
    for example, sample in zip(found, mini.samples, strict=False):
        assert (example.dense_answer == sample.answer) == example.dense_right
        assert (example.question, example.answer) == (sample.prompt, sample.answer)


def test_the_record_is_the_same_every_time_and_the_model_is_left_alone(adapters):
    adapter = adapters["internvl"]
    before = {name: value.clone() for name, value in adapter.model.state_dict().items()}
    question = Question(noise(96, 144), PROMPT)
    wanted = [Wanted("x", FALLING, make_pruner("sparsevlm"))]
    one, other = (kept_tokens(adapter, question, wanted, new_tokens=3) for _ in range(2))
    assert one == other
    after = adapter.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert type(adapter.model).__name__.startswith("InternVL")


def test_no_visual_token_at_all(adapters):
    example = kept_tokens(
        adapters["llava"],
        Question(noise(96, 96), PROMPT),
        [Wanted("blind", KeepSchedule.constant(0.0, 4), make_pruner("fastv"))],
    )
    assert example.pruned[0].counts() == [0, 0, 0, 0]
    assert (example.states(example.pruned[0]) == State.GONE).all()


def test_pictures_are_stored_once_and_scaled_down(adapters):
    items = [noise(64, 96), Video(np.stack([noise(64, 64)] * 4)), noise(300, 200)]
    example = kept_tokens(
        adapters["qwen"], Question(items, PROMPT), [Wanted("x", FALLING, make_pruner("fastv"))],
        new_tokens=2, max_side_pixels=100,
    )  # fmt: skip
    assert len(example.pictures) == 4  # two pictures, two moments
    assert [view.kind for view in example.views] == ["picture", "frame", "frame", "picture"]
    tiled = kept_tokens(adapters["next"], Question(noise(96, 144), PROMPT), [], new_tokens=2)
    assert [view.picture for view in tiled.views] == [0, 0]
    assert [view.kind for view in tiled.views] == ["whole", "tiles"]


def test_watching_does_not_change_the_pruner():
    pruner = make_pruner("visionzip", {"contextual": 0.5})
    noted: list[Merge] = []
    twin = watched(pruner, noted)
    assert twin is not pruner
    assert twin.settings == pruner.settings
    assert isinstance(twin, type(pruner))
    assert type(pruner).__name__ == "VisionZip"


def test_a_family_that_knows_no_boxes_says_so(adapters):
    adapter = adapters["llava"]
    generic = GenericAdapter(adapter.model, adapter.tokenizer, adapter.image_processor)
    with pytest.raises(UnsupportedError, match="does not say where in the picture"):
        kept_tokens(generic, Question(noise(96, 96), PROMPT), [])


def test_boxes_of_another_number_of_tokens_are_refused(adapters):
    class Forgetful(LlavaAdapter):
        def token_boxes(self, items, inputs):
            return super().token_boxes(items[:1], inputs)

    inner = adapters["llava"]
    adapter = Forgetful(inner.model, inner.tokenizer, inner.image_processor)
    with pytest.raises(InvalidValueError, match="boxes of 16 visual tokens, but the prompt has 32"):
        kept_tokens(adapter, Question([noise(96, 96)] * 2, PROMPT), [])
    with pytest.raises(InvalidValueError, match="shows no picture"):
        kept_tokens(inner, Question([], PROMPT), [])


def test_a_schedule_that_does_not_fit_is_refused(adapters):
    for schedule, words in (
        (KeepSchedule.constant(1.0, 5), "5 layers"),
        (KeepSchedule((0.5, 0.5, 0.5, 0.5)), "cannot rank tokens before layer 1"),
    ):
        with pytest.raises(InvalidValueError, match=words):
            kept_tokens(
                adapters["llava"],
                Question(noise(96, 96), PROMPT),
                [Wanted("x", schedule, make_pruner("fastv"))],
            )


def test_a_problem_shows_the_first_sample_of_each_family(mini):
    schedule = KeepSchedule((1.0, 1.0, *[0.25] * 6))
    pruner = make_pruner("tome")
    mini_too = mini.heldout
    assert mini_too is not None
    candidates = {"a": exact_candidate(schedule), "b": exact_candidate(schedule)}
    found = mini_too.examples(candidates, 3)
    assert [e.sample for e in found] == [s.id for s in mini_too.samples[:3]]
    assert len({e.family for e in found}) == 3
    assert [p.label for p in found[0].pruned] == ["a", "b"]
    assert found[0].pruned[0].keep == list(schedule.ratios)
    assert found[0].pruned[0].pruner == mini.tokens.pruner.label
    assert pruner.label not in {p.pruner for p in found[0].pruned}
