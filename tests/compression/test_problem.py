"""The main problem on the embedded, trained model."""

import dataclasses

import numpy as np
import pytest
import torch

from paretoprune.comparison.compare import compare
from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.evaluator import Running
from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.compression.samples import chosen_samples, family_scores, stratified_order
from paretoprune.cost import answer_layer_cost, layer_cost
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.pruning.pruners.random import RandomPruner
from paretoprune.schedules import KeepSchedule
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.agreement import assert_same, assert_same_samples
from paretoprune.testing.models import tiny_llava


def constant(problem, ratio):
    return exact_candidate(KeepSchedule.constant(ratio, problem.adapter.spec.layers))


def test_what_is_retained_of_each_sample_is_what_is_not_lost(mini):
    thin = exact_candidate(KeepSchedule((1.0, *[0.3] * (mini.adapter.spec.layers - 1))))
    dense, half = mini.evaluate([constant(mini, 1.0), thin])
    assert dense.retained == pytest.approx(np.ones(len(mini.samples)), abs=1e-4)
    for found in (dense, half):
        assert found.retained.dtype == np.float32
        assert found.retained.shape == found.outcomes.shape
        assert found.retained.min() >= 0 and found.retained.max() <= 1
        lost = found.metrics["lost_to_dense"]
        assert 1 - found.retained.mean() == pytest.approx(lost, abs=1e-5)
    part = mini.evaluate([dataclasses.replace(half.candidate, share=0.5)])[0]
    chosen = chosen_samples(stratified_order(mini.samples), 0.5)
    assert_same_samples(part.retained, half.retained[chosen])
    assert_same_samples(part.outcomes, half.outcomes[chosen])


def test_dense_and_blind_are_the_ends_of_both_scales(mini):
    dense, blind = mini.evaluate([constant(mini, 1.0), constant(mini, 0.0)])
    assert dense.objectives == {"score": pytest.approx(1.0), "compute": pytest.approx(1.0)}
    assert blind.objectives == {"score": pytest.approx(0.0), "compute": pytest.approx(0.0)}
    assert dense.metrics["kl_to_dense"] == pytest.approx(0.0, abs=1e-5)
    assert dense.cost == pytest.approx(1.0)


def test_teacher_forced_exact_match_is_what_greedy_generate_answers(mini):
    """All answer tokens and the end are the arg max <=> generate() gives exactly that answer."""
    samples = load_split("heldout", 48, seed=5)
    problem = Compression(mini.adapter, samples, Tokens(FastV()))
    adapter = mini.adapter
    inputs = adapter.inputs([s.image for s in samples], [s.prompt for s in samples])
    with torch.no_grad():
        out = adapter.model.generate(**inputs, max_new_tokens=6, do_sample=False)
    said = adapter.tokenizer.batch_decode(
        out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    right = [text.split() == s.answer.split() for text, s in zip(said, samples, strict=True)]
    assert problem.dense_outcomes.astype(bool).tolist() == right
    assert any(right)


def test_shared_evaluation_equals_one_by_one_sample_by_sample(mini):
    rng = np.random.default_rng(1)
    candidates = [mini.candidate(mini.space().sample(rng)) for _ in range(6)]
    together = mini.evaluate(candidates)
    for candidate, shared in zip(candidates, together, strict=True):
        (alone,) = mini.evaluate([candidate])
        assert_same(alone, shared)
    assert sum(e.executed for e in together) < sum(e.cost for e in together)


def test_price_is_flops_of_the_candidate_alone_in_dense_passes(mini):
    mini = Compression(mini.adapter, mini.samples, Tokens(FastV()), running=Running(dense_bytes=0))
    candidate = mini.candidate({"layer": 3, "keep": 1 / 3}, "single-step")
    (evaluation,) = mini.evaluate([candidate])
    # one candidate and no padding: what is charged is executed, but for the last layer's outputs
    # that nobody reads
    spec, spared = mini.adapter.spec, 0.0
    for part in mini.evaluator.batches:
        for row in part.sample:
            tokens = int(mini.evaluator.text_tokens[row]) + 48
            spared += float(layer_cost(spec, tokens))
            spared -= answer_layer_cost(spec, tokens, part.positions.shape[1])
    spared /= mini.cost_model.dense_flops * len(mini.samples)
    assert spared > 0
    assert evaluation.executed + spared == pytest.approx(mini.price(candidate), rel=1e-9)


def test_duplicates_are_charged_but_run_once(mini):
    # what a study keeps of the dense model would make the second evaluation cheaper
    mini = Compression(mini.adapter, mini.samples, Tokens(FastV()), running=Running(dense_bytes=0))
    candidate = mini.candidate({"layer": 2, "keep": 0.5}, "single-step")
    mini.evaluate([candidate])  # a ranking that nobody has asked for yet is run once, and kept
    one = mini.evaluate([candidate])
    two = mini.evaluate([candidate, candidate])
    assert sum(e.cost for e in two) == pytest.approx(2 * one[0].cost)
    assert sum(e.executed for e in two) == pytest.approx(one[0].executed)


@pytest.mark.slow
def test_with_another_samples_picture_the_score_drops_to_chance():
    """Chance: answering every question of a family with its most frequent answer."""
    samples = load_split("heldout", 128, seed=1)
    adapter = load_problem(search_size=8, heldout_size=0).adapter
    dense = Compression(adapter, samples, Tokens(FastV()))
    borrowed = [
        dataclasses.replace(s, image=samples[(i + 8) % 128].image) for i, s in enumerate(samples)
    ]
    swapped = Compression(adapter, borrowed, Tokens(FastV()), allow_no_tradeoff=True)
    majority = np.mean(
        [
            max(group.count(answer) for answer in group) / len(group)
            for family in {s.family for s in samples}
            for group in [[s.answer for s in samples if s.family == family]]
        ]
    )
    standard_error = 0.5 / 128**0.5
    assert swapped.dense_score < majority + 3 * standard_error
    assert dense.dense_score > 0.8


def test_visual_tokens_in_the_first_layer_alone_do_not_suffice(mini):
    layers = mini.adapter.spec.layers
    first_only = exact_candidate(KeepSchedule((1.0, *[0.0] * (layers - 1))))
    (evaluation,) = mini.heldout.evaluate([first_only])
    assert evaluation.metrics["accuracy"] < 0.55 * mini.heldout.dense_score


@pytest.mark.slow
def test_fastv_beats_random_clearly_at_equal_compute_on_heldout_data():
    adapter = load_problem(search_size=8, heldout_size=0).adapter
    samples = load_split("heldout", 384, seed=2)
    random = RandomPruner()
    problem = Compression(adapter, samples, Tokens(FastV(), extra_pruners=[random]))
    schedules = [
        KeepSchedule((1.0,) * layer + (ratio,) * (8 - layer))
        for layer, ratio in ((2, 1 / 9), (3, 1 / 9), (3, 2 / 9))
    ]
    better, worse = (
        problem.evaluate([exact_candidate(s, pruner) for s in schedules])
        for pruner in (problem.tokens.pruner, random)
    )
    differences = []
    for one, other in zip(better, worse, strict=True):
        assert one.objectives["compute"] == pytest.approx(other.objectives["compute"], abs=0.005)
        differences.append(one.outcomes - other.outcomes)
    paired = np.mean(differences, axis=0)
    assert paired.mean() > 0.05
    assert paired.mean() > 4 * paired.std(ddof=1) / len(paired) ** 0.5


def test_every_family_is_answered(mini):
    scores = family_scores(mini.heldout.samples, mini.heldout.dense_outcomes)
    assert len(scores) == 8
    assert min(scores.values()) > 0.4  # 16 samples each: the accuracies file has the real figures


def test_splits_too_small_are_refused():
    with pytest.raises(InvalidValueError, match="at least 2 samples, got 1"):
        load_problem(search_size=1)


def test_a_model_that_gains_nothing_from_the_picture_is_refused():
    # no question of MiniVQA is answered by the name of a row: dense scores 0, as blind does
    samples = [dataclasses.replace(s, answer="r1") for s in load_split("search", 16)]
    adapter = load_problem(search_size=8, heldout_size=0).adapter
    with pytest.raises(InvalidValueError, match="nothing to trade off"):
        Compression(adapter, samples, Tokens(FastV()), model_name="mini-llava")


def test_a_decoder_of_two_layers_is_searched_without_the_kernels_it_has_no_room_for():
    """Whoever asks for a missing one is told why."""
    adapter = tiny_llava(layers=2, dtype=torch.float32)
    problem = Compression(
        adapter, load_split("search", 8, seed=0), Tokens(FastV()), allow_no_tradeoff=True
    )
    assert "multi-step" not in problem.spaces
    assert next(iter(problem.spaces)) == "single-step"
    assert 0 < problem.price(problem.candidate({"layer": 1, "keep": 0.5})) < 1
    with pytest.raises(UnsupportedError, match="2 steps does not fit: 2 layers.*another space"):
        problem.candidate({}, "multi-step")
    with pytest.raises(UnsupportedError, match="4 steps does not fit"):
        compare(problem, ["random:space=four-step"], budget=2.0)
    with pytest.raises(UnknownNameError, match="unknown search space 'nine-step'"):
        problem.space("nine-step")
