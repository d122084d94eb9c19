"""The search of pruner and schedule together: one space, one population, everyone's own price."""

import dataclasses

import numpy as np
import pytest
import torch

from paretoprune.adapters.extras import prefill_for
from paretoprune.comparison.compare import compare
from paretoprune.comparison.results import read_summary, write_results
from paretoprune.compression.configuration import exact_candidate
from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.core.strategy import SearchContext
from paretoprune.core.study import run_study
from paretoprune.errors import InvalidValueError, UnknownNameError, UnsupportedError
from paretoprune.pruning.decoder import Executed, run_population
from paretoprune.pruning.operators import Operators, make_pruner
from paretoprune.pruning.pruners.dart import DART
from paretoprune.pruning.tokens import Trunk
from paretoprune.registry import pruners
from paretoprune.schedules import KeepSchedule, read_schedule
from paretoprune.search.gradient.lagrangian import LagrangianSearch
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.agreement import assert_close, assert_same
from paretoprune.testing.models import question_batch, tiny_llava, tiny_qwen2_5_vl

NAMED = "fastv,divprune,dart,sparsevlm,visionzip"


@pytest.fixture(scope="module")
def joint(mini):
    return Compression(
        mini.adapter,
        mini.samples[:16],
        Tokens(Operators.of(NAMED)),
        heldout_samples=mini.samples[16:32],
    )


def test_the_space_is_the_choice_each_ones_knobs_and_the_kernels(joint):
    space = joint.space("single-step")
    assert space.names == (
        "pruner", "dart.visual_pivots", "dart.text_pivots",
        "sparsevlm.cluster", "sparsevlm.recycled", "sparsevlm.per_cluster",
        "visionzip.contextual", "layer", "keep",
    )  # fmt: skip
    assert [k.name for k in space.active({"pruner": "fastv"})] == ["pruner", "layer", "keep"]
    found = space.validate(
        {"pruner": "visionzip", "visionzip.contextual": 0.5, "layer": 0, "keep": 0.5}
    )
    assert list(found) == ["pruner", "visionzip.contextual", "layer", "keep"]
    # 8 layers, 19 shares; pivots, clusters x shares x sizes, and 33 contextual shares
    assert space.size == (1 + 1 + 64 * 65 + 2 * 11 * 32 + 33) * 8 * 19


def test_what_is_written_with_a_value_is_not_searched():
    both = Operators.of("fastv,dart:visual_pivots=8,text_pivots=2,visionzip")
    assert [p.label for p in both.pruners[:2]] == ["fastv", "dart:visual_pivots=8,text_pivots=2"]
    assert [k.name for k in both.knobs] == ["pruner", "visionzip.contextual"]
    assert Operators.of(["fastv", DART(2, 3)]).knobs[1:] == ()
    assert Operators.of("visionzip").knobs == ()
    (knob,) = Operators.of("visionzip", search_knobs=True).knobs
    assert (knob.name, knob.when) == ("visionzip.contextual", None)
    assert Operators.of("fastv,dart", search_knobs=False).knobs[1:] == ()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("fastv,divprun", "Did you mean 'divprune'"),
        ("dart:visual_pivot=3", "Did you mean 'visual_pivots'"),
        ("dart:visual_pivots=0", r"must be in \[1, 64\], got 0"),
        ("dart:visual_pivots", "written as name=value, got 'visual_pivots'"),
        ("fastv:k=3", "pruner 'fastv' has no knobs, got 'k'"),
        ("fastv,fastv", "'fastv' is named twice"),
        ("", "unknown pruner ''"),
        ("all:visual_pivots=8", "'all' has no knobs, got 'visual_pivots'"),
        ("dart,all:x=1", "'all' has no knobs, got 'x'"),
    ],
)
def test_misspelt_pruners_are_one_sentence(named, message):
    with pytest.raises((InvalidValueError, UnknownNameError), match=message):
        Operators.of(named)


def test_a_schedule_is_fitted_to_the_pruner(joint):
    """FastV needs a layer's attention: where the space starts at 0, its layer 0 stays whole."""
    values = {"layer": 0, "keep": 0.5}
    early = joint.configuration(joint.candidate({"pruner": "fastv", **values}, "single-step"))
    assert early.ratios.tolist() == [1.0] + [0.5] * 7
    later = joint.candidate({"pruner": "fastv", "layer": 1, "keep": 0.5}, "single-step")
    assert joint.identity(later) == early.key
    other = joint.candidate({"pruner": "divprune", **values}, "single-step")
    assert joint.configuration(other).ratios.tolist() == [0.5] * 8
    assert joint.identity(other) != early.key


def test_configurations_that_rank_nothing_are_equal_whatever_their_pruner(joint):
    blind = {"layer": 3, "keep": 0.0}
    dart = {"dart.visual_pivots": 2, "dart.text_pivots": 0}
    ones = [
        joint.candidate({"pruner": "fastv", **blind}, "single-step"),
        joint.candidate({"pruner": "dart", **dart, **blind}, "single-step"),
    ]
    assert joint.identity(ones[0]) == joint.identity(ones[1])
    first, second = joint.evaluate(ones)
    assert_same(first, second)
    assert second.detail["pruner_settings"] == {"visual_pivots": 2, "text_pivots": 0}
    half = [dataclasses.replace(c, values={**c.values, "keep": 0.5}) for c in ones]
    assert joint.identity(half[0]) != joint.identity(half[1])


def test_settings_are_part_of_the_identity(joint):
    values = {"pruner": "visionzip", "layer": 2, "keep": 0.5}
    one, other = (
        joint.candidate({**values, "visionzip.contextual": share}, "single-step")
        for share in (0.25, 0.75)
    )
    assert joint.identity(one) != joint.identity(other)
    assert joint.configuration(one).pruner.settings == {"contextual": 0.25}


@pytest.mark.slow
def test_a_joint_population_equals_one_by_one(joint):
    rng = np.random.default_rng(3)
    candidates = [joint.candidate(joint.space().sample(rng)) for _ in range(9)]
    assert len({c.values["pruner"] for c in candidates}) > 3
    together = joint.evaluate(candidates)
    for candidate, shared in zip(candidates, together, strict=True):
        (alone,) = joint.evaluate([candidate])
        assert_same(alone, shared)


@pytest.mark.slow
def test_a_joint_problem_equals_the_pruners_own(joint):
    """Outcomes and price of a candidate are those of the problem with its pruner alone."""
    schedule = KeepSchedule((1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25))
    for pruner in (*joint.tokens.operators.pruners, make_pruner("dart", {"visual_pivots": 1})):
        alone = Compression(joint.adapter, joint.samples, Tokens(pruner))
        (expected,) = alone.evaluate([exact_candidate(schedule)])
        (found,) = joint.evaluate([exact_candidate(schedule, pruner)])
        assert_same(found, expected)


@torch.no_grad()
@pytest.mark.parametrize("kept", [False, True])
def test_different_pruners_share_dense_layers_and_nothing_else(kept):
    """In float64, with and without kept dense states, candidate by candidate."""
    adapter = tiny_llava()
    every = [make_pruner(name) for name in ("fastv", "sparsevlm", "aim", "uniform", "visionzip")]
    every += [make_pruner("sparsevlm", {"recycled": 1.0}), make_pruner("sparsevlm")]
    needs = frozenset().union(*(p.needs for p in every))
    prefill = prefill_for(adapter, question_batch(adapter), needs=needs)
    rows = np.ones((len(every), 4))
    rows[:, 2:] = 0.4
    rows[3, 3] = 0.0
    meter, trunk = Executed(), Trunk() if kept else None
    for _ in range(1 + kept):
        found = {}
        meter = Executed()
        for leaf in run_population(adapter, prefill, rows, every, executed=meter, trunk=trunk):
            found |= dict.fromkeys(leaf.candidates, (leaf.candidates, leaf.tokens.hidden))
        alone_flops = []
        for number, (pruner, row) in enumerate(zip(every, rows, strict=True)):
            one = Executed()
            (leaf,) = run_population(adapter, prefill, row[None], pruner, executed=one)
            assert_close(leaf.tokens.hidden, found[number][1])
            alone_flops.append(one.flops)
    assert found[1][0] == found[6][0] == [1, 6]
    assert meter.flops < sum(alone_flops) - alone_flops[6]


STRATEGIES = ["random", "tpe", "nsga2", "pymoo-nsga2", "grid", "halving:width=8"]


@pytest.mark.slow
def test_every_strategy_searches_pruner_and_schedule(joint, tmp_path):
    comparison = compare(joint, STRATEGIES, budget=2.5, seeds=(0,))
    for study in comparison.studies:
        chosen = [e.candidate for e in study.evaluations]
        assert len({c.values["pruner"] for c in chosen}) > 1, study.spec.label
        space = joint.space(study.space)
        assert all(space.validate(c.values) == dict(c.values) for c in chosen)
    write_results(tmp_path, comparison.summary)
    summary = read_summary(tmp_path)
    assert summary.front == comparison.summary.front
    header, *lines = (tmp_path / "front.csv").read_text().splitlines()
    assert header.endswith(",pruner,pruner_settings,policy")
    assert len(lines) == len(summary.front)
    on_union = sorted((p for p in summary.front if p.on_union), key=lambda p: p.search["compute"])
    for file, point in zip(sorted((tmp_path / "schedules").iterdir()), on_union, strict=True):
        content = read_schedule(file)
        assert content.pruner == point.pruner
        assert (content.pruner_settings or {}) == point.pruner_settings
        exact = exact_candidate(
            content.schedule, make_pruner(content.pruner, content.pruner_settings)
        )
        (again,) = joint.evaluate([exact])
        assert again.objectives == pytest.approx(point.search)


def test_gradient_strategies_refuse_a_choice(joint):
    with pytest.raises(UnsupportedError, match="not the choice of fastv, divprune, dart"):
        LagrangianSearch().start(joint, SearchContext(seed=0, budget=5.0))
    single = Compression(
        joint.adapter, joint.samples, Tokens(Operators.of("vispruner", search_knobs=True))
    )
    with pytest.raises(UnsupportedError, match="name one pruner"):
        single.relaxation()


def test_the_knobs_of_a_single_pruner_are_searched_on_request(mini):
    problem = Compression(
        mini.adapter, mini.samples[:8], Tokens(Operators.of("vispruner", search_knobs=True))
    )
    assert problem.space().names[0] == "vispruner.important"
    from paretoprune.search.random import RandomSearch

    result = run_study(problem, RandomSearch(), budget=2.0)
    shares = {e.detail["pruner_settings"]["important"] for e in result.evaluations}
    assert len(shares) > 1


def test_all_goes_without_what_a_model_has_not():
    operators, left_out = Operators.of("all").available(tiny_qwen2_5_vl())
    assert set(left_out) == {"fastervlm", "vispruner", "visionzip"}
    assert set(operators.names) | set(left_out) == set(pruners.names())
    with pytest.raises(UnsupportedError, match="has no class token"):
        Operators.of("fastv,fastervlm").available(tiny_qwen2_5_vl())
    problem = load_problem("mini-qwen2.5-vl", pruner="all", search_size=8, heldout_size=0)
    assert any("visionzip is left out" in note for note in problem.notes())


def test_exact_candidates_may_name_extra_pruners(mini):
    guest = make_pruner("visionzip")
    problem = Compression(
        mini.adapter, mini.samples[:8], Tokens(make_pruner("fastv"), extra_pruners=[guest])
    )
    schedule = KeepSchedule((0.5,) * 8)
    (found,) = problem.evaluate([exact_candidate(schedule, guest)])
    assert found.detail["pruner"] == "visionzip"
    assert "pruner" not in problem.space().names
    with pytest.raises(UnknownNameError, match="unknown pruner of this problem 'uniform'"):
        problem.evaluate([exact_candidate(schedule, make_pruner("uniform"))])


def test_vtw_searches_the_layer_and_nothing_else(mini):
    problem = Compression(mini.adapter, mini.samples[:8], Tokens(make_pruner("vtw")))
    assert next(iter(problem.spaces)) == "withdrawal"
    assert problem.space().names == ("layer",)
    comparison = compare(problem, ["grid", "random"], budget=6.0, seeds=(0,))
    kept = {tuple(e.detail["keep"]) for e in comparison.studies[0].evaluations}
    assert kept == {(1.0,) * k + (0.0,) * (8 - k) for k in range(8)}
    early = problem.candidate({"layer": 3, "keep": 0.5}, "single-step")
    assert problem.configuration(early).schedule.ratios == (1.0,) * 3 + (0.0,) * 5
    with pytest.raises(InvalidValueError, match="'vtw' keeps all visual tokens or none"):
        problem.evaluate([exact_candidate(KeepSchedule((1.0, *[0.5] * 7)))])
