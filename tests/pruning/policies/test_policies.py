"""The policy contract, policies of one's own, their files, and how a split evaluates them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from paretoprune.compression.configuration import exact_candidate, policy_candidate
from paretoprune.compression.evaluator import Running
from paretoprune.compression.problem import Compression
from paretoprune.core.problem import Candidate
from paretoprune.errors import BrokenFileError, InvalidValueError, ParetopruneError
from paretoprune.pruning.decoder import Executed, run_population
from paretoprune.pruning.policies.base import Policy
from paretoprune.pruning.policies.files import read_policy, write_policy
from paretoprune.pruning.policies.static import Static
from paretoprune.pruning.pruners.divprune import DivPrune
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.registry import Entry, policies
from paretoprune.schedules import KeepSchedule, ScheduleFile, write_schedule
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.agreement import assert_close, assert_same
from paretoprune.testing.models import question_batch, tiny_llava
from paretoprune.testing.policies import PolicyContract


class ByDetail(Policy):
    """One step, to a share that grows with how much the visual tokens differ; one product made."""

    name = "by-detail"

    def __init__(self, layers, levels=8, budget=0.5, step=2, layer=0):
        self._layers, self.levels, self.budget, self.step = layers, levels, budget, step
        self.layer = layer

    @property
    def layers(self):
        return self._layers

    @property
    def settings(self):
        return {
            "layers": self._layers, "levels": self.levels, "budget": self.budget,
            "step": self.step, "layer": self.layer,
        }  # fmt: skip

    def ratios(self, context):
        there = context.present[..., None]
        states = torch.where(there, context.states, 0.0)
        states = states - states.sum(1, keepdim=True) / there.sum(1, keepdim=True)
        states = torch.where(there, states, 0.0)
        gram = (states.flatten(1)[:, None] @ states.flatten(1)[:, :, None])[:, 0, 0]
        unlike = (gram / there.sum((1, 2))).sqrt()
        share = self.budget * (0.5 + (unlike * 10 % 1))
        rows = torch.ones(len(share), self._layers, dtype=share.dtype)
        rows[:, self.step :] = share[:, None].clamp(max=1.0)
        return rows

    def flops(self, spec, tokens, visual, asked):
        return 2.0 * spec.hidden * np.asarray(visual, dtype=np.float64)


@pytest.fixture(autouse=True)
def _registered():
    if "by-detail" not in policies.names():
        policies.register(Entry("by-detail", f"{__name__}:ByDetail", "a test's"))
    yield
    policies._entries.pop("by-detail", None)


class TestStatic(PolicyContract):
    def make(self, spec):
        return Static([1.0, 0.75] + [0.25] * (spec.layers - 2))


class TestFromThePrefill(PolicyContract):
    def make(self, spec):
        return ByDetail(spec.layers)


class TestAfterALayer(PolicyContract):
    def make(self, spec):
        return ByDetail(spec.layers, step=3, layer=2)


class TestWithAnotherPruner(PolicyContract):
    def make(self, spec):
        return ByDetail(spec.layers)

    def pruner(self):
        return DivPrune()


class Pretending(ByDetail):
    """Says that it is adaptive, and gives everyone the same."""

    name = "pretending"

    def __init__(self, keep):
        super().__init__(len(keep))
        self.keep = keep

    def ratios(self, context):
        return torch.tensor([self.keep]).expand(len(context.hidden), -1)

    def flops(self, spec, tokens, visual, asked):
        return np.zeros(np.shape(tokens))


@pytest.fixture(scope="module")
def small(mini):
    return Compression(mini.adapter, mini.samples[:24], Tokens(FastV()), running=Running(batch=16))


KEEP = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]


def test_a_static_policy_equals_its_schedule_sample_by_sample(small):
    schedule = KeepSchedule.from_ratios(KEEP)
    candidates = [
        exact_candidate(schedule),
        policy_candidate(Static(schedule)),
        policy_candidate(Pretending(KEEP)),
    ]
    one, static, adaptive = small.evaluate(candidates)
    for other in (static, adaptive):
        # a policy counts its compute sample by sample, and gives it an error
        assert_same(replace(one, standard_errors=other.standard_errors), other)
        assert one.objectives["compute"] == pytest.approx(other.objectives["compute"], rel=1e-12)
        assert one.cost == pytest.approx(other.cost, rel=1e-12)
    assert small.identity(candidates[0]) == small.identity(candidates[1])


def test_policies_share_work_and_find_what_they_find_alone(small):
    layers = small.adapter.spec.layers
    candidates = [
        policy_candidate(ByDetail(layers, 18, 0.4)),
        policy_candidate(ByDetail(layers, 18, 0.4, step=3)),
        exact_candidate(KeepSchedule.from_ratios(KEEP)),
        Candidate("policy", {}, policy=ByDetail(layers, 18, 0.3, layer=2), share=0.5),
    ]
    together = small.evaluate(candidates)
    for candidate, shared in zip(candidates, together, strict=True):
        (alone,) = small.evaluate([candidate])
        assert_same(alone, shared)
    assert sum(e.executed for e in together) < sum(e.cost for e in together)
    rows = small.configuration(candidates[0]).ratios
    assert len(np.unique(rows, axis=0)) > 2


def test_costs_are_means_over_samples_and_count_the_policy(small):
    policy = ByDetail(small.adapter.spec.layers, 18, 0.4)
    (found,) = small.evaluate([policy_candidate(policy)])
    rows = small.configuration(found.candidate).ratios
    each = np.array([small.cost_model.flops(row)[i] for i, row in enumerate(rows)])
    each += 2.0 * small.adapter.spec.hidden * small.evaluator.visual_tokens
    span = small.cost_model.dense_flops - small.cost_model.text_only_flops
    u = (each - small.cost_model.text_only_flops) / span
    assert found.objectives["compute"] == pytest.approx(u.mean())
    assert found.metrics["compute_spread"] == pytest.approx(u.std())
    assert found.standard_errors["compute"] == pytest.approx(u.std() / np.sqrt(len(u)))
    assert found.metrics["compute_lowest"] == pytest.approx(u.min())
    assert found.metrics["budget"] == 0.4
    assert found.cost == pytest.approx(each.mean() / small.cost_model.dense_flops)
    kept = rows * small.evaluator.visual_tokens[:, None]
    assert found.metrics["visual_tokens"] == pytest.approx(kept.mean())
    assert found.detail["policy"] == policy.key


@torch.no_grad()
def test_samples_that_nobody_wants_are_not_run():
    adapter = tiny_llava()
    prefill = adapter.prefill(question_batch(adapter, 4))
    rows = np.array([[1, 0.5, 0.5, 0.5], [1, 0.5, 0.25, 0.25]])
    wanted = np.array([[True, False, False, True], [False, True, False, True]])
    whole, part = Executed(), Executed()
    everyone = list(run_population(adapter, prefill, rows, FastV(), executed=whole))
    some = list(run_population(adapter, prefill, rows, FastV(), executed=part, wanted=wanted))
    assert part.flops < 0.7 * whole.flops
    assert [leaf.rows.tolist() for leaf in some] == [[0, 3], [1, 3]]
    for leaf, full in zip(some, everyone, strict=True):
        ends = prefill.prompt_end[leaf.rows][:, None]
        expected = full.tokens.at(prefill.prompt_end[:, None])[leaf.rows]
        assert_close(leaf.tokens.at(ends), expected)


def test_ratios_that_are_no_schedules_are_refused(small):
    layers = small.adapter.spec.layers

    class Wrong(ByDetail):
        def ratios(self, context):
            return self.wrong.expand(len(context.hidden), -1)

    def refusal(row, **options):
        policy = Wrong(layers, **options)
        policy.wrong = torch.tensor([row])
        with pytest.raises(InvalidValueError) as caught:
            small.evaluate([policy_candidate(policy)])
        return str(caught.value)

    assert "shape" in refusal([1.0, 0.5])
    assert "outside 0..1" in refusal([1.0] * (layers - 1) + [1.5])
    assert "outside 0..1" in refusal([1.0] * (layers - 1) + [float("nan")])
    assert "rise by 0.5" in refusal([0.5] + [1.0] * (layers - 1))
    assert "decides before layer 3" in refusal([0.5] * layers, layer=3)
    with pytest.raises(InvalidValueError, match="is for 3 decoder layers"):
        small.evaluate([policy_candidate(ByDetail(3))])


def test_a_schedule_file_is_a_static_policy(tmp_path):
    write_schedule(tmp_path / "s.json", ScheduleFile(pruner="fastv", keep=KEEP))
    found = read_policy(tmp_path / "s.json")
    assert found.policy.schedule.ratios == tuple(KEEP)
    assert found.about.pruner == "fastv"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "0" * 16}, "were changed"),
        ({"policy": "by-detial"}, "by-detail"),
        ({"settings": {"layers": 8, "size": 3}}, "do not fit"),
        ({"tensors": "0123456789abcdef.safetensors"}, "cannot read"),
        ({"tensors": "../../etc/passwd"}, "tensors"),
    ],
)
def test_a_broken_policy_file_is_named(tmp_path, change, message):
    file = tmp_path / "p.json"
    write_policy(file, ByDetail(8), pruner="fastv")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ParetopruneError, match=message) as caught:
        read_policy(file)
    assert "\n" not in str(caught.value)


def test_a_value_of_ten_thousand_letters_is_cut_in_the_sentence(tmp_path):
    file = tmp_path / "policy.json"
    write_policy(file, Static([1.0, 0.5]), pruner="fastv")
    content = json.loads(file.read_text())
    content["settings"]["keep"][0] = "a" * 10_000
    file.write_text(json.dumps(content))
    with pytest.raises(BrokenFileError, match="keep ratio of layer 0 must be in") as refused:
        read_policy(file)
    assert len(str(refused.value)) < 1000


def test_a_file_that_is_neither_is_named(tmp_path):
    with pytest.raises(BrokenFileError, match="cannot read"):
        read_policy(tmp_path / "missing.json")
