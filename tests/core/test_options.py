"""Options as users write them: what a strategy does not take is named, with what it takes."""

from dataclasses import dataclass

import pytest

from paretoprune.core.options import check_options, defaults_of
from paretoprune.errors import InvalidValueError, ParetopruneError, UnknownNameError
from paretoprune.pruning.operators import Operators
from paretoprune.registry import strategies
from paretoprune.search.specs import StrategySpec
from paretoprune.tasks.load import load_task


def build(text):
    return StrategySpec.parse(text).build()


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("gradient:grid_pointz=3", "grid_points"), ("nsga2:popul=3", "population"),
     ("hybrid:grid_pointz=3", "grid_points"), ("hybrid:poulation=3", "population"),
     ("adaptive:cluster=3", "clusters")],
)  # fmt: skip
def test_a_misspelt_option_is_answered_with_the_nearest(text, nearest):
    with pytest.raises(UnknownNameError) as caught:
        build(text)
    said = str(caught.value)
    assert said.startswith(f"unknown option of strategy '{text.split(':')[0]}': ")
    assert "known: " in said and f"Did you mean {nearest!r}?" in said


@pytest.mark.parametrize(
    "text", ["random:spce=free", "grid:spac=free", "tpe:startup=3,spacee=free"]
)
def test_a_misspelt_space_is_answered_with_space(text):
    """`random:spce=free` was said to take no options at all, although it takes a space."""
    with pytest.raises(UnknownNameError, match="unknown option.*Did you mean 'space'"):
        build(text)


READERS = {
    "strategy": StrategySpec.parse,
    "pruner": Operators.of,
    "task": lambda text: load_task(text, "nowhere"),
}
"""Everything that reads `name:option=value,...`."""


@pytest.mark.parametrize(
    ("kind", "text", "twice"),
    [
        ("strategy", "tpe:startup=5,startup=5", "startup"),
        ("strategy", "grid:space=single-step,space=free", "space"),
        ("strategy", "nsga2:population=8, population=9", "population"),
        ("pruner", "dart:visual_pivots=4,visual_pivots=8", "visual_pivots"),
        ("pruner", "fastv,dart:visual_pivots=4,text_pivots=2,visual_pivots=8", "visual_pivots"),
        ("task", "mme:scoring=generation,scoring=likelihood", "scoring"),
    ],
)
def test_an_option_that_is_given_twice_is_refused_by_every_reader(kind, text, twice):
    """`dart:visual_pivots=4,visual_pivots=8` took the last."""
    with pytest.raises(InvalidValueError, match=f"option '{twice}' is given twice"):
        READERS[kind](text)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("rest", [":", ":=", ":a", ":a=", ":=1", ":a=1,", ":,a=1"])
def test_a_malformed_option_is_refused_by_every_reader(kind, rest):
    name = {"strategy": "tpe", "pruner": "dart", "task": "mme"}[kind]
    with pytest.raises(ParetopruneError):
        READERS[kind](name + rest)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("text", ["", " ", ":a=1", ","])
def test_an_empty_name_stands_for_nothing(kind, text):
    with pytest.raises(UnknownNameError):
        READERS[kind](text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "gradient:grid_points=few",
            "option grid_points of strategy 'gradient' must be a number, got 'few'",
        ),
        (
            "gradient:grid_points=2.5",
            "option grid_points of strategy 'gradient' must be a whole number, got",
        ),
        ("gradient:sigma=true", "option sigma of strategy 'gradient' must be a number, got True"),
        ("tpe:startup=1.5", "option startup of strategy 'tpe' must be a whole number, got 1.5"),
    ],
)
def test_numbers_are_numbers(text, said):
    with pytest.raises(InvalidValueError, match=said):
        build(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gradient:batch=0", "option batch must be 1 or more, got 0"),
        ("gradient:max_step=0", "option max_step must be positive, got 0"),
        ("gradient:sigma=inf", "option sigma must be finite, got inf"),
        ("gradient:inner_steps=0", "option inner_steps must be 1 or more, got 0"),
        ("adaptive:base_rate=nan", "option base_rate must be positive, got nan"),
        ("adaptive:final_share=1", "option final_share must be between 0 and 1, got 1"),
        ("vispco:sigma=nan", "option sigma must be positive, got nan"),
        ("vispco:final_share=0", "option final_share must be between 0 and 1, got 0"),
    ],
)
def test_a_number_out_of_range_is_answered_with_what_is_allowed(text, said):
    with pytest.raises(InvalidValueError, match=f"^{said}$"):
        build(text)


def test_whole_numbers_are_taken_for_real_ones():
    assert build("gradient:sigma=3,grid_points=4").options.sigma == 3


def test_every_strategy_says_what_it_takes_and_is_built_from_it():
    for name in strategies.names():
        defaults = defaults_of(strategies.load(name))
        assert defaults is not None, name
        options = tuple((key, value) for key, value in defaults.items() if value is not None)
        StrategySpec(name, None, options).build()


def test_a_constructor_that_takes_anything_is_asked():
    def anything(**options):
        return options

    check_options("it", {"a": 1}, anything)

    @dataclass
    class Options:
        a: int = 1

    anything.options_class = Options
    with pytest.raises(UnknownNameError, match="unknown option of it: 'b'; known: a"):
        check_options("it", {"b": 1}, anything)


@pytest.mark.parametrize("name", ["fitprune", "p-sigmoid", "autoprune"])
@pytest.mark.parametrize(
    ("text", "targets"), [("0.2/0.5", (0.2, 0.5)), ("0.25", (0.25,)), ("1", (0.5,))]
)
def test_targets_are_a_number_of_them_or_the_targets(name, text, targets):
    """`targets=0.2/0.5` was refused as no number, because the default is one."""
    assert build(f"{name}:targets={text}").targets == targets


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("fitprune:targets=few", "takes one or more numbers, written as 0.1/0.2, got 'few'"),
        ("fitprune:targets=true", "must be a number, got True"),
        ("fitprune:targets=0.2/1.5", "takes shares from 0 to 1, got 1.5"),
        ("fitprune:samples=0.2/0.5", "must be a number, got '0.2/0.5'"),
        ("p-sigmoid:startup=0.5", "must be a whole number, got 0.5"),
    ],
)
def test_other_texts_are_still_refused(text, allowed):
    with pytest.raises(InvalidValueError) as caught:
        build(text)
    assert allowed in str(caught.value)


def test_annotations_that_only_a_type_checker_can_read_are_skipped():
    def anything(count: "Nowhere" = 3):  # noqa: F821
        pass

    check_options("it", {"count": 4}, anything)
    with pytest.raises(InvalidValueError, match="must be a number"):
        check_options("it", {"count": "few"}, anything)
