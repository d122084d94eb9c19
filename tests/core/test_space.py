"""Knobs and spaces: what is valid, what is said about what is not, and the unit cube."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretoprune.core.space import Categorical, Condition, Float, Int, Knob, SearchSpace, Values
from paretoprune.errors import InvalidValueError, ParetopruneError, UnknownNameError

SPACE = SearchSpace(
    (
        Categorical("mode", ("single", "double")),
        Float("ratio", 0.0, 1.0, step=0.25),
        Int("layer", 1, 3),
        Int("second", 2, 4, when=Condition("mode", ("double",))),
        Float("late", 0.0, 0.5, step=0.5, when=Condition("second", (3, 4))),
        Float("free", -1.0, 2.0),
    )
)

finite = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))


@st.composite
def floats(draw: st.DrawFn, *, stepped: bool | None = None) -> Float:
    low, width = draw(finite), draw(st.floats(0.01, 1e3))
    high = round(low + width, 6)
    if draw(st.booleans()) if stepped is None else not stepped:
        return Float("x", low, high)
    return Float("x", low, high, step=round((high - low) / draw(st.floats(1.0, 200.0)), 6))


ints = st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 10**9)).map(
    lambda t: Int("x", t[0], t[0] + t[1])
)
categoricals = st.lists(st.text(max_size=5), min_size=1, max_size=9, unique=True).map(
    lambda names: Categorical("x", tuple(names))
)
knobs = floats() | ints | categoricals


def make_float(low: float, high: float, step: float | None = None) -> Float:
    return Float("ratio", low, high, step)


@given(knobs, st.floats(0.0, 1.0))
@settings(deadline=None)
def test_decoded_values_are_valid_and_survive_the_round_trip(knob: Knob, unit: float) -> None:
    value = knob.decode(unit)
    assert knob.check(value) == value
    code = knob.encode(value)
    assert -1e-9 <= code <= 1 + 1e-9
    again = knob.decode(code)
    if isinstance(knob, Float) and knob.step is None:
        assert again == pytest.approx(value, rel=1e-9, abs=1e-9)
    else:
        assert again == value


@given(floats(stepped=True))
@settings(deadline=None)
def test_stepped_values_are_low_plus_whole_steps_below_high(knob: Float) -> None:
    assert knob.step is not None
    values = [float(v) for v in knob.values()]
    assert len(values) == knob.size == len(set(values))
    assert values[0] == knob.low
    assert values[-1] <= knob.high
    assert values[-1] + knob.step > knob.high - 1e-6
    np.testing.assert_allclose(np.diff(values), knob.step, atol=1e-6)
    assert [knob.check(v) for v in values] == values
    assert [knob.decode(knob.encode(v)) for v in values] == values


@given(ints | categoricals, st.integers(0, 8))
@settings(deadline=None)
def test_discrete_bins_are_equally_wide(knob: Int | Categorical, place: int) -> None:
    size = int(knob.size)
    place %= size
    middle = knob.decode((place + 0.5) / size)
    if isinstance(knob, Int):
        assert middle == knob.low + place
    else:
        assert middle == knob.choices[place]


@pytest.mark.parametrize("knob", SPACE.knobs, ids=lambda k: k.name)
def test_decode_clips_to_the_cube(knob: Knob) -> None:
    assert knob.decode(-3.0) == knob.decode(0.0)
    assert knob.decode(7.0) == knob.decode(1.0)


@pytest.mark.parametrize(
    ("step", "values"),
    [
        (0.4, [0.0, 0.4, 0.8]),
        (0.35, [0.0, 0.35, 0.7]),  # 3 steps would pass 1.0, whatever rounding says
        (1 / 3, [0.0, 1 / 3, 2 / 3, 1.0]),
        (0.1, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
    ],
)
def test_stepped_values(step: float, values: list[float]) -> None:
    knob = Float("ratio", 0.0, 1.0, step=step)
    assert knob.values() == pytest.approx(values, abs=1e-11)
    assert knob.check(1.0) == pytest.approx(values[-1], abs=1e-11)


def test_a_step_as_long_as_the_range_allows_for_rounding() -> None:
    assert 0.3 - 0.1 < 0.2
    assert Float("x", 0.1, 0.3, step=0.2).values() == [0.1, 0.3]


def test_checked_values_are_snapped_to_the_lattice() -> None:
    knob = Float("ratio", 0.0, 1.0, step=0.1)
    assert knob.check(0.1 + 0.2) == 0.3
    assert knob.check(1 + 1e-12) == 1.0
    assert knob.check(np.float32(0.3)) == 0.3  # type: ignore[arg-type]
    assert Int("layer", 0, 9).check(np.int64(4)) == 4  # type: ignore[arg-type]
    assert type(Int("layer", 0, 9).check(4.0)) is int


@pytest.mark.parametrize(
    ("low", "high", "step", "message"),
    [
        (1.0, 0.0, None, r"'ratio': low < high must hold, but got \(low=1, high=0\)"),
        (0.0, 0.0, None, r"low < high must hold"),
        (0.0, math.inf, None, r"low < high must hold"),
        (math.nan, 1.0, None, r"low < high must hold"),
        (0.0, 1.0, 0.0, r"step must be in \(0, high - low\], got 0"),
        (0.0, 1.0, 1.5, r"step must be in \(0, high - low\], got 1.5"),
        (0.0, 1.0, math.nan, r"step must be in \(0, high - low\], got nan"),
    ],
)
def test_bad_float_knobs(low: float, high: float, step: float | None, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        make_float(low, high, step)


def test_bad_int_and_categorical_knobs() -> None:
    with pytest.raises(InvalidValueError, match=r"low <= high must hold, but got \(low=2, high=1"):
        Int("layer", 2, 1)
    assert Int("layer", 2, 2).values() == [2]
    with pytest.raises(InvalidValueError, match="one or more distinct choices, got \\(\\)"):
        Categorical("mode", ())
    with pytest.raises(InvalidValueError, match="distinct choices"):
        Categorical("mode", ("a", "a"))


@pytest.mark.parametrize(
    ("knob", "value", "message"),
    [
        (Float("r", 0, 1), "half", "'r' takes a finite number, got 'half'"),
        (Float("r", 0, 1), math.nan, "'r' takes a finite number, got nan"),
        (Float("r", 0, 1), None, "'r' takes a finite number, got None"),
        (Float("r", 0, 1), 1.5, r"'r' must be in \[0, 1\], got 1.5"),
        (Int("k", 1, 8), 2.5, "'k' takes a whole number, got 2.5"),
        (Int("k", 1, 8), "2", "'k' takes a whole number, got '2'"),
        (Int("k", 1, 8), None, "'k' takes a whole number, got None"),
        (Int("k", 1, 8), True, "'k' takes a whole number, got True"),
        (Float("r", 0, 1), True, "'r' takes a finite number, got True"),
        (Int("k", 1, 8), math.inf, "'k' takes a whole number, got inf"),
        (Int("k", 1, 8), 9, r"'k' must be in \[1, 8\], got 9"),
        (Categorical("m", ("left", "right")), "rigth", "Did you mean 'right'"),
        (Categorical("m", ("left", "right")), 3, "known: left, right"),
    ],
)
def test_bad_values_are_named_with_what_is_allowed(
    knob: Knob, value: float | str, message: str
) -> None:
    with pytest.raises(ParetopruneError, match=message):
        knob.check(value)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ((Int("a", 0, 1), Int("a", 0, 1)), "two knobs are named 'a'"),
        (
            (Int("b", 0, 1, when=Condition("a", (1,))), Int("a", 0, 1)),
            "'b' depends on 'a', which does not precede it",
        ),
        ((Int("a", 0, 1, when=Condition("a", (1,))),), "'a' depends on 'a'"),
        (
            (Categorical("m", ("one", "two")), Int("b", 0, 1, when=Condition("m", ("tow",)))),
            "unknown choice of knob 'm' 'tow'.*Did you mean 'two'",
        ),
        ((Int("a", 0, 1), Int("b", 0, 1, when=Condition("a", (2,)))), r"'a' must be in \[0, 1\]"),
    ],
)
def test_bad_spaces(knobs: tuple[Knob, ...], message: str) -> None:
    with pytest.raises(ParetopruneError, match=message):
        SearchSpace(knobs)


def test_validate_orders_snaps_and_drops_inactive_knobs() -> None:
    values = SPACE.validate(
        {"free": 0, "late": 0.5, "second": 2, "layer": 2.0, "ratio": 0.3, "mode": "double"}
    )
    assert list(values.items()) == [
        ("mode", "double"), ("ratio", 0.25), ("layer", 2), ("second", 2), ("free", 0.0),
    ]  # fmt: skip
    single = SPACE.validate({**values, "mode": "single", "late": 0.5})
    assert list(single) == ["mode", "ratio", "layer", "free"]
    assert SPACE.validate(values) == values


def test_validate_names_what_is_missing_or_unknown() -> None:
    values: Values = {"mode": "double", "ratio": 0.5, "layer": 1, "free": 0.0}
    with pytest.raises(InvalidValueError, match="'second' is missing; given: mode, ratio, layer"):
        SPACE.validate(values)
    with pytest.raises(InvalidValueError, match="'mode' is missing; given: none"):
        SPACE.validate({})
    with pytest.raises(UnknownNameError, match="unknown knob 'layr'.*Did you mean 'layer'"):
        SPACE.validate({**values, "layr": 1})


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
@settings(deadline=None)
def test_decoded_points_are_valid_and_survive_the_round_trip(unit: list[float]) -> None:
    values = SPACE.decode(unit)
    assert SPACE.validate(values) == values
    assert list(values) == [k.name for k in SPACE.active(values)]
    code = SPACE.encode(values)
    assert code.shape == (6,) and (code >= 0).all() and (code <= 1).all()
    assert all(x == 0 for x, knob in zip(code, SPACE.knobs, strict=True) if knob.name not in values)
    again = SPACE.decode(code)
    assert again.pop("free") == pytest.approx(values.pop("free"))
    assert again == values


def test_decode_checks_the_length() -> None:
    with pytest.raises(InvalidValueError, match="has 6 knobs, got a point of 2 coordinates"):
        SPACE.decode([0.5, 0.5])


def test_a_knob_below_an_inactive_one_is_inactive() -> None:
    assert [k.name for k in SPACE.active({"mode": "single", "second": 3})] == [
        "mode", "ratio", "layer", "free",
    ]  # fmt: skip
    assert "late" in [k.name for k in SPACE.active({"mode": "double", "second": 3})]
    assert "late" not in [k.name for k in SPACE.active({"mode": "double", "second": 2})]


def test_grid_lists_each_point_once_the_last_knob_fastest() -> None:
    space = SearchSpace(SPACE.knobs[:5])
    points = [tuple(v.items()) for v in space.grid()]
    assert len(points) == len(set(points)) == 5 * 3 * (1 + 1 + 2 * 2)
    assert all(space.validate(dict(p)) == dict(p) for p in points)
    ratios, layers = (0.0, 0.25, 0.5, 0.75, 1.0), (1, 2, 3)
    assert [(dict(p)["ratio"], dict(p)["layer"]) for p in points[:15]] == list(
        itertools.product(ratios, layers)
    )
    assert space.size == len(points)
    assert [space.at(rank) for rank in range(len(points))] == [dict(p) for p in points]


def test_a_knob_without_a_step_has_no_grid() -> None:
    assert SPACE.size == math.inf
    with pytest.raises(InvalidValueError, match="'free' has no step, so it cannot be enumerated"):
        next(SPACE.grid())


def test_sampling_is_reproducible_and_reaches_every_value() -> None:
    draws = [SPACE.sample(np.random.default_rng(7)) for _ in range(2)]
    assert draws[0] == draws[1]
    rng = np.random.default_rng(0)
    many = [SPACE.sample(rng) for _ in range(300)]
    for knob in SPACE.knobs[:5]:
        assert {v[knob.name] for v in many if knob.name in v} == set(knob.values())


def test_names_and_length() -> None:
    assert SPACE.names == ("mode", "ratio", "layer", "second", "late", "free")
    assert len(SPACE) == 6
