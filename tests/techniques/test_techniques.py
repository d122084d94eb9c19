"""The technique contract: plans are plain data, and do not depend on the order of techniques."""

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest

pytest.importorskip("hqq", reason="needs paretoprune[quant]")

from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.registry import techniques
from paretoprune.techniques.base import Plan, Target, named_knobs, own_values
from paretoprune.techniques.kv_bits import KvBits
from paretoprune.techniques.tokens import Tokens

NAMES = techniques.names()


@pytest.fixture(scope="module")
def bound(mini):
    found = {name: techniques.build(name) for name in NAMES}
    for technique in found.values():
        technique.bind(Target(mini.adapter.model, mini.adapter, 144))
    return found


def points(technique, count=4):
    rng = np.random.default_rng(0)
    spaces = technique.knobs()
    return [(name, spaces[name].sample(rng)) for name in spaces for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_its_part_of_a_plan_is_json(bound, name):
    technique = bound[name]
    assert technique.name == name
    for space, values in points(technique):
        plan = asdict(technique.apply(Plan(), space, values))
        back = json.loads(json.dumps(plan, allow_nan=False))
        assert Plan(**{**back, "keep": tuple(back["keep"])}) == Plan(**plan)
    assert json.loads(json.dumps(technique.describe())) == technique.describe()


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_only_its_own_part(bound, name):
    technique = bound[name]
    (space, values), *_ = points(technique)
    alone = technique.apply(Plan(), space, values)
    for other in (t for t in bound.values() if t is not technique):
        before = other.smallest(Plan())
        after = technique.apply(before, space, values)
        changed = {key for key, value in asdict(after).items() if value != asdict(before)[key]}
        assert changed <= {k for k, v in asdict(alone).items() if v != asdict(Plan())[k]}


def test_techniques_applied_in_any_order_give_the_same_plan(bound):
    chosen = {name: points(technique)[0] for name, technique in bound.items()}
    plans = []
    for order in itertools.permutations(NAMES):
        plan = Plan()
        for name in order:
            plan = bound[name].apply(plan, *chosen[name])
        plans.append(plan)
    assert all(plan == plans[0] for plan in plans)


@pytest.mark.parametrize("name", NAMES)
def test_knobs_of_several_techniques_are_told_apart_by_its_name(bound, name):
    technique = bound[name]
    space = technique.knobs()[technique.own_space()]
    values = space.sample(np.random.default_rng(1))
    named = {f"{name}.{knob}": value for knob, value in values.items()}
    assert [knob.name for knob in named_knobs(technique)] == [f"{name}.{n}" for n in space.names]
    assert own_values(technique, {**named, "other.knob": 1}) == values


def test_conditions_of_knobs_are_renamed_too(mini):
    tokens = Tokens("fastv,dart")
    tokens.bind(Target(mini.adapter.model, mini.adapter, 144))
    conditions = {knob.name: knob.when for knob in named_knobs(tokens)}
    assert conditions["tokens.dart.visual_pivots"].knob == "tokens.pruner"


def test_what_stays_dense_leaves_the_model_as_it_is(mini, bound):
    model = mini.adapter.model
    for name in ("tokens", "kv_bits"):
        assert bound[name].view(model, bound[name].dense(Plan())) is model


@pytest.mark.parametrize("name", ["tokens", "kv_bits"])
def test_a_language_model_has_no_pictures_to_compress(name, mini):
    with pytest.raises(UnsupportedError, match="compresses vision-language models"):
        techniques.build(name).bind(Target(mini.adapter.model))


def test_bits_that_do_not_exist_are_named():
    with pytest.raises(InvalidValueError, match="one or more of 2, 4, 8, 16, got 5"):
        KvBits((5,))
