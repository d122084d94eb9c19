"""Weight bits, KV-cache bits and tokens: alone, together, and of language models."""

import numpy as np
import pytest
import torch

pytest.importorskip("hqq", reason="needs paretoprune[quant]")

from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.core.problem import Candidate
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnknownNameError,
    UnsupportedError,
)
from paretoprune.techniques.base import Target
from paretoprune.techniques.kv_bits import KvBits
from paretoprune.techniques.tokens import Tokens
from paretoprune.techniques.weight_bits import WeightBits
from paretoprune.testing.agreement import assert_same, assert_same_samples
from paretoprune.testing.problems import ProblemContract
from paretoprune.zoo.catalogue import checkpoint_directory


@pytest.fixture(scope="module")
def tokens():
    return load_problem(search_size=8, heldout_size=8)


ALL = ("tokens", "weight_bits", "kv_bits")


def compressed(tokens, *techniques, **options):
    """Another problem on the samples of one."""
    return Compression(
        tokens.adapter, tokens.samples, techniques, heldout_samples=tokens.heldout.samples,
        model_name="mini-llava", **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def weights(tokens):
    """The technique, bound here so that problems share its packed layers."""
    technique = WeightBits()
    technique.bind(Target(tokens.adapter.model, tokens.adapter))
    return technique


@pytest.fixture(scope="module")
def quantised(tokens, weights):
    return compressed(tokens, weights)


@pytest.fixture(scope="module")
def joint(tokens, weights):
    return compressed(tokens, Tokens(), weights, KvBits())


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """A causal model of random weights with a real tokenizer, and a text."""
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint_directory("mini-llava"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=256, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    words = [tokenizer.convert_ids_to_tokens(i) for i in range(10, 40)]
    rng = np.random.default_rng(0)
    (folder / "text.txt").write_text(" ".join(rng.choice(words, 6000)))
    return folder


class TestQuantisation(ProblemContract):
    points = 1
    budget = 2

    @pytest.fixture(autouse=True)
    def _given(self, tokens, weights):
        self.tokens, self.weights = tokens, weights

    def make(self):
        return compressed(self.tokens, self.weights)


class TestJoint(ProblemContract):
    points = 1
    budget = 2

    @pytest.fixture(autouse=True)
    def _given(self, tokens, weights):
        self.tokens, self.weights = tokens, weights

    def make(self):
        return compressed(self.tokens, Tokens(), self.weights, KvBits())


# --- weights


def test_sixteen_bits_are_the_dense_model(tokens, quantised):
    (found,) = quantised.evaluate([quantised.candidate({"all": "16"}, "uniform")])
    assert_same_samples(found.outcomes, tokens.dense_outcomes)
    assert found.objectives["score"] == pytest.approx(1.0)
    assert found.metrics["kl_to_dense"] < 1e-6
    weights = quantised.objectives[1]
    assert found.objectives["weight_bytes"] == weights.reference


def test_fewer_bits_take_fewer_bytes_and_move_further(quantised):
    chosen = [quantised.candidate({"all": b}, "uniform") for b in ("3", "4", "8", "16")]
    found = quantised.evaluate(chosen)
    sizes = [e.objectives["weight_bytes"] for e in found]
    assert sizes == sorted(sizes)
    assert sizes[0] == quantised.objectives[1].best
    away = [e.metrics["kl_to_dense"] for e in found]
    assert away == sorted(away, reverse=True)
    assert [e.metrics["mean_bits"] for e in found] == [3, 4, 8, 16]


def test_spaces_meet_where_they_agree(quantised):
    everywhere = [
        quantised.candidate(dict.fromkeys(quantised.space(name).names, "4"), name)
        for name in quantised.spaces
    ]
    assert len({quantised.identity(c) for c in everywhere}) == 1
    found = quantised.evaluate(everywhere)
    (alone,) = quantised.evaluate(everywhere[:1])
    assert sum(e.executed for e in found) == pytest.approx(alone.executed)
    assert len({e.objectives["score"] for e in found}) == 1


def test_the_model_is_not_changed(tokens, quantised):
    before = {n: p.clone() for n, p in tokens.adapter.model.named_parameters()}
    quantised.evaluate([quantised.candidate({"all": "3"}, "uniform")])
    for name, parameter in tokens.adapter.model.named_parameters():
        assert torch.equal(parameter, before[name])
    (again,) = tokens.evaluate([tokens.candidate({"layer": 2, "keep": 1.0}, "single-step")])
    assert_same_samples(again.outcomes, tokens.dense_outcomes)


@pytest.mark.slow
def test_latency_is_predicted_and_measured(tokens, quantised):
    timed = compressed(tokens, WeightBits((4, 16)), objectives="score,weight_bytes,latency_ms")
    assert [o.name for o in timed.objectives] == ["score", "weight_bytes", "latency_ms"]
    chosen = [timed.candidate({"all": b}, "uniform") for b in ("4", "16")]
    found = timed.evaluate(chosen)
    assert all(e.objectives["latency_ms"] > 0 for e in found)
    assert timed.objectives[2].reference == found[1].objectives["latency_ms"]
    measured = timed.measure(chosen)
    assert "atencies" in measured.note
    for values in measured.values:
        assert values["measured_latency_ms"] > 0
    assert timed.heldout.cost_model.weights_timer is timed.cost_model.weights_timer
    assert quantised.measure(chosen) is None


def test_bits_and_objectives_are_checked(tokens):
    with pytest.raises(InvalidValueError, match="bits of weights are one or more of 3, 4, 8, 16"):
        WeightBits((5,))
    with pytest.raises(InvalidValueError, match="got none"):
        WeightBits(())
    with pytest.raises(InvalidValueError, match="'compute' is 1 for every candidate"):
        compressed(tokens, WeightBits(), objectives="score,compute")
    with pytest.raises(InvalidValueError, match="objectives are 'score' and"):
        compressed(tokens, WeightBits(), objectives="score")
    with pytest.raises(UnsupportedError, match="latency is predicted where"):
        compressed(tokens, Tokens(), WeightBits(), objectives="score,latency_ms")
    with pytest.raises(UnsupportedError, match="peak memory is measured where"):
        compressed(tokens, WeightBits(), objectives="score,peak_memory_bytes")


# --- language models


def test_a_language_model_is_quantised_too(language_model):
    problem = load_problem(
        str(language_model), task=str(language_model / "text.txt"), compress="weight_bits",
        search_size=8, heldout_size=8,
    )  # fmt: skip
    told = problem.describe()
    assert told["family"] == "llama"
    assert told["samples"] == 8
    assert "vision" not in problem.space("blocks").names
    found = problem.evaluate(
        [problem.candidate({"all": b}, "uniform") for b in ("3", "4", "8", "16")]
    )
    scores = [e.objectives["score"] for e in found]
    assert scores == sorted(scores)
    assert scores[0] < 0.9 < scores[3]
    assert all(e.outcomes.shape == (8,) for e in found)
    assert found[3].metrics["perplexity"] == pytest.approx(told["dense_perplexity"], rel=0.01)
    heldout = problem.heldout
    assert heldout.describe()["text_sha256"] != told["text_sha256"]
    (other,) = heldout.evaluate([found[0].candidate])
    assert other.objectives["weight_bytes"] == found[0].objectives["weight_bytes"]


def test_agreement_is_counted_token_by_token(language_model):
    problem = load_problem(
        str(language_model), task=str(language_model / "text.txt"), compress="weight_bits",
        search_size=8, heldout_size=0,
    )  # fmt: skip
    (found,) = problem.evaluate([problem.candidate({"all": "3"}, "uniform")])
    quantiser = problem.technique.quantiser
    view = quantiser.view(dict.fromkeys(quantiser.parts.paths, 3))
    for row, outcome in zip(problem.windows, found.outcomes, strict=True):
        with torch.no_grad():
            dense = problem.model(row[None]).logits[0, :-1].argmax(-1)
            said = view(row[None]).logits[0, :-1].argmax(-1)
        assert outcome == pytest.approx(float((dense == said).float().mean()))


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("minivqa", "is a language model: give --task a text file"),
        ("none.txt", "cannot read text none.txt"),
    ],
)
def test_language_models_want_text(language_model, task, told):
    with pytest.raises(ParetopruneError, match=told):
        load_problem(str(language_model), task=task, compress="weight_bits")


def test_short_texts_are_refused(language_model, tmp_path):
    (tmp_path / "short.txt").write_text("left of")
    with pytest.raises(InvalidValueError, match="at least 2048 are needed"):
        load_problem(str(language_model), task=str(tmp_path / "short.txt"), compress="weight_bits")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BrokenFileError, match="not UTF-8 text"):
        load_problem(str(language_model), task=str(tmp_path / "bytes.txt"), compress="weight_bits")


# --- joint


def test_the_separate_spaces_are_parts_of_the_joint_one(tokens, quantised, joint):
    rng = np.random.default_rng(0)
    schedule, weights = joint.space("tokens").sample(rng), joint.space("weights").sample(rng)
    dense = {"layer_1": 1, "layer_2": 1, "keep_1": 1.0, "keep_2": 1.0}
    dense = {f"tokens.{name}": value for name, value in dense.items()}
    sixteen = dict.fromkeys(joint.space("weights").names, "16")
    assert set(dense) == set(joint.space("tokens").names)
    pairs = [
        (joint.candidate(schedule, "tokens"), {**schedule, **sixteen, "kv_bits.bits": "16"}),
        (joint.candidate(weights, "weights"), {**dense, **weights, "kv_bits.bits": "16"}),
        (
            joint.candidate({"kv_bits.bits": "4"}, "cache"),
            {**dense, **sixteen, "kv_bits.bits": "4"},
        ),
    ]
    for alone, values in pairs:
        whole = joint.candidate(values, "joint")
        assert joint.identity(alone) == joint.identity(whole)
        one, other = joint.evaluate([alone, whole])
        assert_same(one, other)
    # and they are what the problems of their own say
    own, _ = joint.evaluate([pairs[1][0], pairs[0][0]])
    blocks = {name.removeprefix("weight_bits."): value for name, value in weights.items()}
    (quantisation,) = quantised.evaluate([quantised.candidate(blocks, "blocks")])
    assert_same_samples(own.outcomes, quantisation.outcomes)
    assert own.metrics["weight_bytes"] == quantisation.objectives["weight_bytes"]


def test_memory_is_weights_and_cache(tokens, joint):
    rng = np.random.default_rng(1)
    chosen = [joint.candidate(joint.space("joint").sample(rng), "joint") for _ in range(4)]
    for e in joint.evaluate(chosen):
        total = e.metrics["weight_bytes"] + joint.cost_model.sequences * e.metrics["kv_bytes"]
        assert e.objectives["memory_bytes"] == pytest.approx(total)
    (plain,) = joint.evaluate([joint.candidate({"kv_bits.bits": "16"}, "cache")])
    dense = tokens.cost_model.mean("kv_bytes", np.ones(tokens.adapter.spec.layers))
    assert plain.metrics["kv_bytes"] == pytest.approx(dense)
    assert plain.objectives["memory_bytes"] == pytest.approx(joint.objectives[1].reference)
    assert plain.objectives["score"] == pytest.approx(1.0)


def test_cache_bits_change_what_the_model_computes(joint):
    chosen = [joint.candidate({"kv_bits.bits": b}, "cache") for b in ("2", "4", "8", "16")]
    found = joint.evaluate(chosen)
    away = [e.metrics["kl_to_dense"] for e in found]
    assert away == sorted(away, reverse=True)
    assert away[0] > 10 * away[2] > 0
    held = [e.metrics["kv_bytes"] for e in found]
    assert held == sorted(held)


def test_prices_are_those_of_token_pruning(tokens, joint):
    schedule = joint.space("tokens").sample(np.random.default_rng(2))
    alone = joint.candidate(schedule, "tokens")
    assert joint.price(alone) == pytest.approx(
        tokens.price(tokens.candidate({n.removeprefix("tokens."): v for n, v in schedule.items()}))
    )
    assert joint.price(joint.candidate({"kv_bits.bits": "4"}, "cache")) == pytest.approx(1.0)


def test_policies_are_refused(quantised, joint):
    for problem in (quantised, joint):
        name = next(iter(problem.spaces))
        values = problem.space().sample(np.random.default_rng(0))
        with pytest.raises(UnsupportedError, match="points, not policies"):
            problem.evaluate([Candidate(name, values, policy=object())])


def test_joint_options_are_checked(tokens):
    with pytest.raises(InvalidValueError, match="sequences in the cache must be .* got 0"):
        compressed(tokens, Tokens(), KvBits(), sequences=0)
    with pytest.raises(UnknownNameError, match="space of technique 'weight_bits' 'block'"):
        compressed(tokens, Tokens(), WeightBits(searched="block"))
    with pytest.raises(InvalidValueError, match="bits of keys and values"):
        KvBits((3,))
    with pytest.raises(UnknownNameError, match="unknown objective 'scores'"):
        load_problem(compress=ALL, objectives="scores,memory_bytes")
    with pytest.raises(InvalidValueError, match="technique 'kv_bits' is named twice"):
        compressed(tokens, KvBits(), KvBits())
    with pytest.raises(UnknownNameError, match="unknown technique 'weights'"):
        load_problem(compress="tokens,weights")


def test_two_techniques_leave_the_third_as_it_is(tokens):
    both = compressed(tokens, Tokens(), KvBits())
    assert list(both.spaces) == ["joint", "tokens", "cache"]
    values = tokens.space().sample(np.random.default_rng(3))
    named = {f"tokens.{name}": value for name, value in values.items()}
    (found,) = both.evaluate([both.candidate(named, "tokens")])
    (alone,) = tokens.evaluate([tokens.candidate(values)])
    assert_same_samples(found.outcomes, alone.outcomes)
    assert both.cost_model.weight_bytes(both.configuration(found.candidate)) == sum(
        p.nbytes for p in tokens.adapter.model.parameters()
    ) + sum(b.nbytes for b in tokens.adapter.model.buffers())


def test_gradient_strategies_want_tokens_alone(joint):
    with pytest.raises(UnsupportedError, match="'tokens' alone, not tokens, weight_bits, kv_bits"):
        joint.relaxation()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mini-qwen2.5-vl", "mini-internvl"])
def test_other_families_are_quantised_too(model):
    problem = load_problem(model, compress=ALL, search_size=8, heldout_size=0)
    low = {
        **problem.space("tokens").sample(np.random.default_rng(0)),
        **dict.fromkeys(problem.space("weights").names, "4"),
        "kv_bits.bits": "4",
    }
    found = problem.evaluate(
        [problem.candidate(low, "joint"), problem.candidate({"kv_bits.bits": "16"}, "cache")]
    )
    assert found[0].objectives["memory_bytes"] < 0.5 * found[1].objectives["memory_bytes"]
    assert found[1].objectives["score"] == pytest.approx(1.0)
