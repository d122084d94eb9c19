"""Costs other than FLOPs, evaluations on part of the samples, and prefills on disk."""

import dataclasses

import numpy as np
import pytest
import torch

from paretoprune import frontier
from paretoprune.comparison.compare import check, compare
from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.evaluator import Running
from paretoprune.compression.load import load_problem
from paretoprune.compression.objectives import parse_objectives
from paretoprune.compression.problem import Compression
from paretoprune.compression.samples import chosen_samples, stratified_order
from paretoprune.core.problem import Candidate
from paretoprune.cost import kv_bytes
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.schedules import KeepSchedule
from paretoprune.search.specs import StrategySpec, default_strategies
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.agreement import assert_close, assert_same, assert_same_samples


def constant(problem, ratio):
    return exact_candidate(KeepSchedule.constant(ratio, problem.adapter.spec.layers))


def test_objective_names():
    assert parse_objectives("score,compute") == ("score", "compute")
    assert parse_objectives("kv_bytes, score ,compute") == ("score", "kv_bytes", "compute")
    with pytest.raises(UnknownNameError, match="'latency_ms'"):
        parse_objectives("score,latency")
    for wrong in ("score", "compute", "score,compute,compute", ""):
        with pytest.raises(InvalidValueError, match="one or more different costs"):
            parse_objectives(wrong)


def with_costs(mini, *costs):
    return Compression(
        mini.adapter, mini.samples[:16], Tokens(FastV()), objectives=("score", *costs)
    )


def test_bounds_are_the_dense_and_the_blind_value(mini):
    costs = ("kv_bytes", "visual_tokens", "peak_memory_bytes", "compute")
    problem = with_costs(mini, *costs)
    dense, blind = problem.evaluate([constant(problem, 1.0), constant(problem, 0.0)])
    for objective in problem.objectives[1:]:
        assert dense.objectives[objective.name] == objective.reference
        assert blind.objectives[objective.name] == objective.best
    assert dense.objectives["visual_tokens"] == 144
    spec = problem.adapter.spec
    per_token = kv_bytes(spec, np.ones(spec.layers, dtype=np.int64))
    mean = float((problem.evaluator.text_tokens + 144).mean())
    assert dense.objectives["kv_bytes"] == pytest.approx(mean * per_token)
    values = [[e.objectives[o.name] for o in problem.objectives] for e in (dense, blind)]
    assert frontier.hypervolume(frontier.normalise(values, problem.objectives)) == 0.0


def test_peak_memory_holds_at_least_the_cache_and_grows_with_tokens(mini):
    problem = with_costs(mini, "peak_memory_bytes")
    rows = (np.zeros(8), np.array([1, *[0.5] * 7]), np.ones(8))
    peaks = [problem.cost_model.mean("peak_memory_bytes", row) for row in rows]
    assert peaks == sorted(peaks)
    assert peaks[0] < peaks[2]
    spec = problem.adapter.spec
    tokens = problem.cost_model.timer.visual + problem.cost_model.timer.text
    assert peaks[2] > kv_bytes(spec, np.full(8, tokens), bytes_per_value=4)


@pytest.mark.slow
def test_latency_is_predicted_and_the_front_measured(mini):
    problem = with_costs(mini, "latency_ms")
    blind, dense = problem.objectives[1].best, problem.objectives[1].reference
    half = problem.cost_model.mean("latency_ms", np.array([1, *[0.5] * 7]))
    assert 0 < blind < dense
    assert (
        blind
        <= half
        <= dense + 1e-9 + problem.cost_model.timer.model(problem.tokens.pruner).drop_ms
    )
    assert "cross-validated error" in problem.notes()[0]
    found = problem.measure([constant(problem, 1.0), constant(problem, 0.0)])
    assert found.note
    for values in found.values:
        assert values["measured_first_token_ms"] > 0
    assert problem.measure([]) is None
    assert mini.measure([constant(mini, 1.0)]) is None


@pytest.mark.slow
def test_a_policy_on_the_front_does_not_stop_the_measuring_of_schedules(mini):
    """Stacking its rows per sample with a schedule raised after the whole search."""
    problem = with_costs(mini, "latency_ms")
    policy = problem.policy_candidate("autoprune", tokens=0.6)
    found = problem.measure([policy, constant(problem, 1.0), constant(problem, 0.0)])
    if found.values:  # the machine may be too noisy for figures
        assert found.values[0] == {}
        assert all(values["measured_latency_ms"] > 0 for values in found.values[1:])
    assert problem.measure([policy]) is None


def test_gradient_search_differentiates_flops_alone(mini):
    problem = with_costs(mini, "kv_bytes")
    with pytest.raises(UnsupportedError, match="differentiate the cost 'compute' alone"):
        check(problem, [StrategySpec.parse("gradient")], [0], 5.0)
    assert "gradient" not in default_strategies(problem.costs)
    assert "gradient" in default_strategies()


def test_three_objectives_are_compared(mini):
    problem = with_costs(mini, "compute", "kv_bytes")
    summary = compare(problem, ["random", "nsga2"], budget=4.0, seeds=[0]).summary
    assert len(summary.objectives) == 3
    for row in summary.studies:
        assert 0 < row.hypervolume < 1
        costs = frontier.normalise(row.points, problem.objectives)
        assert frontier.hypervolume(costs) == pytest.approx(row.hypervolume)


# --- shares of the samples


def test_prefixes_are_nested_and_stratified():
    samples = load_split("search", 64)
    order = stratified_order(samples)
    assert sorted(order) == list(range(64))
    half, quarter = chosen_samples(order, 0.5), chosen_samples(order, 0.25)
    assert half.sum() == 32
    assert quarter.sum() == 16
    assert not (quarter & ~half).any()
    for chosen, each in ((half, 4), (quarter, 2)):
        counts = {}
        for sample in np.array(samples, dtype=object)[chosen]:
            counts[sample.family] = counts.get(sample.family, 0) + 1
        assert set(counts.values()) == {each}


def test_part_of_the_samples_gives_their_outcomes_at_their_price(mini):
    whole = mini.candidate({"layer": 2, "keep": 0.5}, "single-step")
    part = dataclasses.replace(whole, share=0.25)
    both = mini.evaluate([whole, part])
    chosen = chosen_samples(stratified_order(mini.samples), 0.25)
    assert_same_samples(both[1].outcomes, both[0].outcomes[chosen])
    assert_same_samples(both[1].retained, both[0].retained[chosen])
    assert both[1].cost == pytest.approx(0.25 * both[0].cost, rel=0.02)
    assert both[1].cost == mini.price(part)
    assert both[1].standard_errors["score"] > both[0].standard_errors["score"]
    assert both[0].complete
    assert not both[1].complete
    assert mini.identity(whole) != mini.identity(part)
    assert whole.key != part.key
    assert list(frontier.front_of(both, mini.objectives)) == [0]


def test_dense_scores_one_on_any_share(mini):
    (found,) = mini.evaluate([dataclasses.replace(constant(mini, 1.0), share=0.25)])
    assert found.objectives["score"] == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan")])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(InvalidValueError, match="over 0 and at most 1"):
        Candidate("free", {}, share=share)


# --- prefills on disk


@pytest.mark.slow
def test_prefills_beyond_the_budget_lie_on_disk_and_change_nothing(mini):
    kept = Compression(mini.adapter, mini.samples, Tokens(FastV()), running=Running(batch=16))
    limit = kept.evaluator.batches.memory_bytes // 2
    spilled = Compression(
        mini.adapter, mini.samples, Tokens(FastV()), running=Running(batch=16, prefill_bytes=limit)
    )
    assert 0 < spilled.evaluator.batches.memory_bytes <= limit
    assert (
        spilled.evaluator.batches.disk_bytes + spilled.evaluator.batches.memory_bytes
        == kept.evaluator.batches.memory_bytes
    )
    for one, other in zip(kept.evaluator.batches, spilled.evaluator.batches, strict=True):
        assert_close(one.prefill.hidden, other.prefill.hidden)
        assert torch.equal(one.sample, other.sample)
    candidate = mini.candidate({"layer": 2, "keep": 0.5}, "single-step")
    (here,), (there,) = kept.evaluate([candidate]), spilled.evaluate([candidate])
    assert_same(here, there)


def test_load_problem_takes_objectives():
    with pytest.raises(UnknownNameError, match="objective 'speed'"):
        load_problem(objectives="score,speed")


def test_the_memory_meter_sees_what_lives():
    from paretoprune.cost.memory import _Meter

    x = torch.zeros(1000)
    with torch.inference_mode(), _Meter() as meter:
        y = x + 1  # 4000 bytes stay
        for _ in range(3):
            z = y * 2  # 4000 bytes, and 4000 of the one that it replaces
            z.view(10, 100).add_(1)
        del z
    assert meter.peak == 12000
    assert meter.now == 4000
    del y
    assert meter.now == 0


@pytest.mark.slow
def test_dense_states_are_kept_up_to_a_budget_and_change_nothing(mini):
    without = Compression(
        mini.adapter, mini.samples, Tokens(FastV()), running=Running(dense_bytes=0)
    )
    candidates = [mini.candidate({"layer": n, "keep": 0.5}, "single-step") for n in (2, 5)]
    kept, bare = mini.evaluate(candidates), without.evaluate(candidates)
    for one, other in zip(kept, bare, strict=True):
        assert_same(one, other)
        assert one.metrics["kl_to_dense"] == pytest.approx(other.metrics["kl_to_dense"], rel=0.05)
        assert one.executed < other.executed


@pytest.mark.slow
def test_threads_change_no_outcome_and_are_given_back(mini):
    candidates = [mini.candidate({"layer": n, "keep": 0.25}, "single-step") for n in (1, 4)]
    mini.evaluate(candidates)  # the dense model's rankings are kept from now on
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(mini.evaluate(candidates))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert_same(one, other)
        assert one.executed == pytest.approx(other.executed)
