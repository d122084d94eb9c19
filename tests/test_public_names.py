"""Every public name, given what it cannot take, says so in one sentence."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from paretoprune import (
    Candidate,
    Categorical,
    Compression,
    Evaluation,
    Float,
    FunctionProblem,
    Int,
    KeepSchedule,
    Objective,
    SearchContext,
    SearchSpace,
    StrategySpec,
    Tokens,
    compare,
    load,
    load_adapter,
    load_problem,
    pruned,
    read_schedule,
    run_study,
)
from paretoprune.compression.analytic import ZDT1
from paretoprune.errors import ParetopruneError
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.search.random import RandomSearch

POINT = Candidate("a", {})
KNOBS = [Int("n", 1, 9)]
OBJECTIVES = [
    Objective("q", "max", reference=0.0, best=1.0),
    Objective("c", "min", reference=10.0, best=0.0),
]


def function(n):
    return {"q": n / 9, "c": n}


def declared(made=function, knobs=KNOBS, objectives=OBJECTIVES, **options):
    return FunctionProblem(made, knobs=knobs, objectives=objectives, **options)


def objective(name="a", direction="max", reference=0, best=1):
    return Objective(name, direction, reference=reference, best=best)


def evaluation(objectives, candidate=POINT, cost=1.0, **options):
    return Evaluation(candidate, objectives, cost=cost, **options)


def study(problem, strategy, budget=3.0, **options):
    return run_study(problem, strategy, budget=budget, **options)


def compared(problem, strategies=("random",), budget=3.0, **options):
    return compare(problem, strategies, budget=budget, **options)


def context(seed=0, budget=1.0):
    return SearchContext(seed=seed, budget=budget)


def charged(cost):
    return context().charge(cost)


def validated(values):
    return SearchSpace((Int("n", 1, 2),)).validate(values)


CALLS = [
    *((compared, problem, {}) for problem in (None, function, ZDT1, "zdt1")),
    *((compared, ZDT1(), {"budget": b}) for b in ("3", None, 0, -1, math.inf, math.nan, True)),
    *((compared, ZDT1(), {"batch": b}) for b in (0, "8", 1.5, None)),
    *((compared, ZDT1(), {"log": log}) for log in ("results", Path("results"))),
    (compared, ZDT1(), {"reference": "grid:fine"}),
    *((study, ZDT1(), {"strategy": s}) for s in (RandomSearch, "random", None)),
    (study, None, {"strategy": RandomSearch()}),
    *((study, ZDT1(), {"strategy": RandomSearch(), **o})
      for o in ({"seed": "1"}, {"seed": -1}, {"space": "none"}, {"space": 3}, {"patience": "x"},
                {"patience": 0}, {"max_first_failures": 0}, {"batch": 0}, {"budget": "3"})),
    *((context, seed, {}) for seed in ("0", None, 1.5, True, -1)),
    *((charged, cost, {}) for cost in (-1, math.nan, math.inf, "1", None)),
    *((Float, "a", {"low": low, "high": 1}) for low in ("0", None, math.nan, True)),
    *((Float, "a", {"low": 0, "high": 1, "step": s}) for s in ("0.1", math.nan, 0, 2, True)),
    *((Int, "a", {"low": low, "high": 2}) for low in (0.5, "1", None, False)),
    *((kind, name, {"low": 0, "high": 1}) for kind in (Int, Float) for name in (None, 3, "")),
    (Int, "a", {"low": 0, "high": 1, "when": "b"}),
    *((Categorical, "a", {"choices": c}) for c in ("abc", None, (1, 2), (), ("x", "x"), 3)),
    *((SearchSpace, knobs, {}) for knobs in (Int("a", 1, 2), "abc", None, {"a": 1}, [3])),
    *((validated, values, {})
      for values in (None, [1], "n", {"n": "1"}, {"n": [1]}, {"n": None}, {})),
    (objective, "a", {"direction": 1}),
    (objective, None, {}),
    *((objective, "a", {"best": best}) for best in ("1", None, math.inf, True)),
    *((Candidate, "a", {"values": values}) for values in (None, [1], "n")),
    *((Candidate, "a", {"values": {}, "share": share}) for share in ("1", None, 0, 2, math.nan)),
    *((evaluation, values, {})
      for values in (None, [1], {}, {"q": "1"}, {"q": [1]}, {"q": None}, {"q": math.nan})),
    (evaluation, {"q": 1}, {"candidate": {"n": 1}}),
    *((evaluation, {"q": 1}, {"cost": cost}) for cost in ("1", None)),
    *((evaluation, {"q": 1}, {"outcomes": o}) for o in ([1, 2], 0.5, np.ones((2, 2)))),
    *((declared, made, {}) for made in (None, 3, max, lambda m: {}, dict)),
    *((declared, function, {"knobs": k}) for k in (None, "n", {"n": (1, 9)}, [], ["n"], 3)),
    *((declared, function, {"objectives": o}) for o in (None, {"q": "max"}, "q", [], 3)),
    (declared, function, {"split": "test"}),
    *((KeepSchedule, ratios, {}) for ratios in ("abc", None, (), ("1", "0.5"), 0.5, (True,))),
    *((KeepSchedule.from_ratios, ratios, {})
      for ratios in (None, "1,0.5", ["1", "0.5"], 0.5, [[1, 0.5]], {0: 1.0}, [None], [math.nan])),
    *((KeepSchedule.constant, 0.5, {"layers": layers}) for layers in ("8", 0, None, 1.5)),
    (KeepSchedule.constant, "0.5", {"layers": 8}),
    *((KeepSchedule((0.5,)).rounded, levels, {}) for levels in ("3", 0, None, 1.5)),
    *((KeepSchedule((0.5,)).counts, visual, {}) for visual in ("3", -5, None, 1.5)),
    *((read_schedule, file, {}) for file in (None, 3, "none.json", Path("none.json"), ["a"])),
    *((StrategySpec.of, strategy, {}) for strategy in (3, None, dict, ["random"], lambda: None)),
    *((StrategySpec.parse, text, {}) for text in (None, 3, "", ":", "random:")),
    *((kind, model, {}) for kind in (load, load_adapter, load_problem)
      for model in (None, 3, "", " ", "none", torch.nn.Linear(1, 1), Path("none/at/all"))),
    *((load_problem, "mini-llava", options)
      for options in (
          {"task": 3}, {"task": ""}, {"search_size": "16"}, {"search_size": 16.5},
          {"search_size": 1}, {"heldout_size": 1}, {"data_seed": "0"}, {"data_seed": -1},
          {"levels": "3"}, {"levels": 0}, {"batch": 0}, {"batch": "3"}, {"pruner": 3},
          {"pruner": None}, {"pruner": ""}, {"pruner": []}, {"pruner": FastV}, {"pruner": [3]},
          {"objectives": 3}, {"objectives": [1, 2]}, {"presets": 3}, {"compress": 3},
          {"compress": ""}, {"compress": "none"}, {"compress": "tokens,tokens"},
          {"presets": ""}, {"prefill_bytes": "x"}, {"dtype": None}, {"device": 3},
      )),
    *((Compression, adapter, {"samples": [], "techniques": "fastv"}) for adapter in (None, "mini")),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_what_a_public_name_cannot_take_is_one_sentence(number):
    call, first, options = CALLS[number]
    with pytest.raises(ParetopruneError) as caught:
        call(first, **options)
    assert str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "schedule",
    [None, 0.5, "", "none.json", ["1"] * 8, [[1.0] * 8], {"keep": [1.0] * 8}, [], [math.nan] * 8,
     [0.5] * 3],
)  # fmt: skip
def test_what_is_no_schedule_is_one_sentence(mini, schedule):
    with pytest.raises(ParetopruneError):
        pruned(mini.adapter.model, schedule)


@pytest.mark.parametrize(
    "pruner",
    ["", " ", ",", [], 3, FastV, "fastw", "dart:visual_pivots=4,visual_pivots=8", "fastv,dart"],
)
def test_what_is_no_pruner_is_one_sentence(mini, pruner):
    """`pruner=""` meant fastv, and an option given twice its last value."""
    with pytest.raises(ParetopruneError):
        pruned(mini.adapter.model, [1.0] * 4 + [0.5] * 4, pruner=pruner)


def test_what_is_no_model_is_one_sentence(mini):
    for model in (None, "mini-llava", mini.adapter, torch.nn.Linear(1, 1)):
        with pytest.raises(ParetopruneError, match="a transformers model is pruned"):
            pruned(model, [1.0] * 8)


def test_samples_are_samples(mini):
    for samples in (None, [], ["a"], 3):
        with pytest.raises(ParetopruneError):
            Compression(mini.adapter, samples, Tokens("fastv"))
