"""Ways of scoring: each against the plain computation it stands for, on models of real classes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from paretoprune.adapters.prompts import teacher_forced
from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.evaluator import Running
from paretoprune.compression.kept_tokens import Question, Wanted, kept_tokens
from paretoprune.compression.problem import Compression
from paretoprune.deploy.views import pruned
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.schedules import KeepSchedule
from paretoprune.tasks.base import Sample
from paretoprune.tasks.scoring import Exact, Generation, Likelihood, TokenShare
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.agreement import assert_same_samples
from paretoprune.testing.models import (
    random_pictures,
    tiny_internvl,
    tiny_llava,
    tiny_llava_next,
    tiny_qwen2_5_vl,
)

NEW = 5
PROMPTS = ("what colour is the star ?", "read the sign ?", "is there any red ring ?", "how many ?")
SCHEDULES = [(1.0, 0.5, 0.25, 0.25), (1.0, 1.0, 0.5, 0.0), (1.0, 0.0, 0.0, 0.0)]


def samples_of(scoring, answer="red", prompts=PROMPTS):
    pictures = random_pictures(len(prompts))
    return [
        Sample(str(i), picture, prompt, answer, "-", scoring, new_tokens=NEW)
        for i, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True))
    ]


def problem_of(adapter, samples, **running):
    return Compression(
        adapter, samples, Tokens(FastV()), allow_no_tradeoff=True, running=Running(**running)
    )


def scored(problem, schedules=SCHEDULES):
    problem.dense_score, problem.text_only_score = (
        1.0,
        0.0,
    )  # random models gain nothing: only outcomes
    found = problem.evaluate([exact_candidate(KeepSchedule(s)) for s in schedules])
    return np.array([e.outcomes for e in found])


@pytest.mark.parametrize(
    "make", [tiny_llava, tiny_llava_next, tiny_qwen2_5_vl, tiny_internvl]
)  # fmt: skip
def test_generation_says_what_the_pruned_model_generates(make):
    """And so does the dense model; the judge sees every text once per sample and model."""
    adapter = make()
    heard = {}

    def judge(number):
        def hear(text):
            heard.setdefault(number, []).append(text)
            return len(text) / 1000

        return hear

    samples = [
        replace(s, scoring=Generation(judge(i), NEW)) for i, s in enumerate(samples_of(Exact()))
    ]
    problem = problem_of(adapter, samples, batch=3)
    heard.clear()
    outcomes = scored(problem)
    texts = []
    for schedule in SCHEDULES:
        view = pruned(adapter.model, list(schedule))
        said = []
        for sample in samples:  # alone, so that padding plays no part
            inputs = adapter.inputs([sample.image], [sample.prompt])
            stop = adapter.tokenizer.eos_token_id
            with torch.no_grad():
                out = view.generate(
                    **inputs, max_new_tokens=NEW, do_sample=False, eos_token_id=stop
                )
            new = out[0, inputs["input_ids"].shape[1] :]
            said.append(adapter.tokenizer.decode(new, skip_special_tokens=True).strip())
        texts.append(said)
    expected = np.array([[len(t) / 1000 for t in said] for said in texts], dtype=np.float32)
    assert_same_samples(outcomes, expected, flipped=0)
    assert sorted(t for said in texts for t in said) == sorted(itertools.chain(*heard.values()))
    assert len({tuple(said) for said in texts}) > 1  # pruning changed what was said


def test_generation_together_equals_one_by_one_and_on_a_share():
    adapter = tiny_llava()
    samples = samples_of(Generation(len, NEW), prompts=PROMPTS * 2)
    problem = problem_of(adapter, samples)
    together = scored(problem)
    alone = np.concatenate([scored(problem, [s]) for s in SCHEDULES])
    assert_same_samples(together, alone, flipped=0)
    part = [
        replace(exact_candidate(KeepSchedule(s)), share=0.5) for s in SCHEDULES
    ]  # fmt: skip
    chosen = sorted(problem.evaluator.first(4))
    found = np.array([e.outcomes for e in problem.evaluate(part)])
    assert_same_samples(found, together[:, chosen], flipped=0)


def test_prefills_on_disk_are_decoded_as_those_in_memory():
    adapter = tiny_llava()
    samples = samples_of(Generation(len, NEW))
    kept, stored = problem_of(adapter, samples), problem_of(adapter, samples, prefill_bytes=0)
    assert_same_samples(scored(kept), scored(stored), flipped=0)


@pytest.mark.parametrize(
    "options",
    [("red", "green", "blue"), ("red", "red star", "green ring"), ("red star", "red ring")],
)
def test_likelihood_is_that_of_separate_forward_passes(options):
    """Options of one token, of several, and with a common beginning."""
    adapter = tiny_llava()
    samples = samples_of(Likelihood(options), answer=options[0])
    samples = [replace(s, answer=options[i % 2]) for i, s in enumerate(samples)]
    outcomes = scored(problem_of(adapter, samples))
    for schedule, row in zip(SCHEDULES, outcomes, strict=True):
        view = pruned(adapter.model, list(schedule))
        for sample, outcome in zip(samples, row, strict=True):
            totals = []
            for option in options:
                inputs, end, labels = teacher_forced(
                    adapter, [sample.image], [sample.prompt], [option]
                )
                with torch.no_grad():
                    logits = view(**inputs, prompt_end=end).logits[0].log_softmax(-1)
                ids = labels[0, :-1]  # without the end of sequence
                places = int(end[0]) + torch.arange(len(ids))
                totals.append(float(logits[places, ids].sum()))
            assert outcome == (options[np.argmax(totals)] == sample.answer)


def test_options_that_the_tokenizer_cannot_tell_apart_are_refused():
    adapter = tiny_llava()
    samples = [replace(s, answer="xylophone") for s in samples_of(Exact())]
    samples = [replace(s, scoring=Likelihood(("xylophone", "zeppelin"))) for s in samples]
    with pytest.raises(InvalidValueError, match="'zeppelin' has the tokens of 'xylophone'"):
        problem_of(adapter, samples)
    with pytest.raises(InvalidValueError, match="two or more different options, got .'A',."):
        Likelihood(("A",))
    with pytest.raises(InvalidValueError, match="'C' is none of the options A, B"):
        Sample("1", None, "?", "C", "-", Likelihood(("A", "B")))


def test_without_answers_the_dense_model_is_right_and_others_share_its_tokens():
    adapter = tiny_llava()
    exact = problem_of(adapter, samples_of(Exact(), answer=None))
    share = problem_of(adapter, samples_of(TokenShare(), answer=None))
    assert exact.dense_score == share.dense_score == pytest.approx(1.0)
    whole, parts = scored(exact), scored(share)
    assert_same_samples(whole == 1, parts == 1, flipped=0)
    lengths = np.zeros(len(PROMPTS))
    for part in share.evaluator.batches:
        lengths[part.sample.numpy()] = (part.labels >= 0).sum(1).numpy()
    assert np.allclose(parts * lengths, np.rint(parts * lengths))
    assert 0 < parts.mean() < 1
    assert exact.text_only_score < 1


def test_the_gradient_search_needs_no_answers():
    """Distillation: the loss is 0 at the dense schedule and positive below it."""
    adapter = tiny_llava(dtype=torch.float32)
    problem = problem_of(adapter, samples_of(TokenShare(), answer=None, prompts=PROMPTS * 2))
    relaxation = problem.relaxation()
    ratios = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.3, 0.2, 0.1]], requires_grad=True)
    loss = relaxation.loss(ratios, np.array([0, 0]), tau=0.5)
    assert abs(float(loss[0].detach())) < 1e-3 < float(loss[1].detach())
    loss.sum().backward()
    assert bool(ratios.grad.isfinite().all())


def test_a_shown_answer_is_judged_as_its_sample_says():
    adapter = tiny_llava()
    wanted = [Wanted("half", KeepSchedule(SCHEDULES[0]), FastV())]
    for worth in (0.0, 0.6):
        (sample, *_) = samples_of(Generation(lambda text, worth=worth: worth, NEW))
        found = kept_tokens(adapter, Question.of(sample), wanted, new_tokens=NEW)
        assert found.dense_right is found.pruned[0].right is (worth == 0.6)


def test_token_share_of_given_answers_counts_the_end():
    adapter = tiny_llava()
    samples = samples_of(TokenShare(), answer=None)
    said = {
        int(number): labels[:3].tolist()
        for part in problem_of(adapter, samples).evaluator.batches
        for number, labels in zip(part.sample, part.labels, strict=True)
    }
    given = [replace(s, answer=adapter.tokenizer.decode(said[i])) for i, s in enumerate(samples)]
    outcomes = problem_of(adapter, given).dense_outcomes
    # the first tokens as the dense model says them, then an end that it does not say
    ids = adapter.tokenizer([s.answer for s in given], add_special_tokens=False)["input_ids"]
    assert np.allclose(outcomes, [len(row) / (len(row) + 1) for row in ids])
