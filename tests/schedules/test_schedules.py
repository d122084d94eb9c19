"""Keep schedules, kernels and schedule files."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.registry import kernels
from paretoprune.schedules import (
    KeepSchedule,
    ScheduleFile,
    keep_counts,
    read_schedule,
    write_schedule,
)
from paretoprune.schedules.kernels import Free, MultiStep, SingleStep

LAYERS, LEVELS = 8, 18
ALL = [kernels.load(name)(LAYERS, LEVELS) for name in kernels.names()]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
@pytest.mark.parametrize("kernel", ALL, ids=lambda k: k.name)
def test_every_point_of_a_kernel_space_is_a_valid_schedule_on_the_lattice(kernel, seed):
    values = kernel.space.sample(np.random.default_rng(seed))
    schedule = kernel.schedule(kernel.space.validate(values))
    assert schedule.layers == LAYERS
    assert schedule.ratios[0] == 1.0  # nothing is dropped before the first layer it may act on
    assert schedule.rounded(LEVELS) == schedule


@pytest.mark.parametrize("kernel", ALL, ids=lambda k: k.name)
def test_the_smooth_form_rounds_to_the_exact_steps(kernel):
    rng = np.random.default_rng(0)
    for _ in range(30):
        values = kernel.space.sample(rng)
        exact = np.array(kernel.schedule(values).ratios)
        parameters = torch.tensor([float(values[name]) for name in kernel.space.names])
        smooth = kernel.ratios(parameters.double())
        # a step of slope 10 is within sigmoid(-5) of its ends half a layer away
        assert np.allclose(smooth.numpy(), exact, atol=2 * 0.0067 + 1e-6)


def test_the_single_step_kernel_is_vispcos():
    """r_l = 1 + (r - 1) sigmoid(10 (l - k)) with k = 2.5, r = 0.4, at l = 2 and l = 3."""
    ratios = SingleStep(6, 10).ratios(torch.tensor([3.0, 0.4], dtype=torch.float64))
    below, above = 1 / (1 + np.exp(5)), 1 / (1 + np.exp(-5))
    assert ratios[2].item() == pytest.approx(1 - 0.6 * below)
    assert ratios[3].item() == pytest.approx(1 - 0.6 * above)


def test_multi_step_with_one_step_is_single_step():
    one, many = SingleStep(LAYERS, LEVELS), MultiStep(LAYERS, LEVELS, steps=1)
    assert one.schedule({"layer": 3, "keep": 0.5}) == many.schedule({"layer_1": 3, "keep_1": 0.5})


def test_multi_step_does_not_care_about_the_order_of_its_knobs():
    kernel = MultiStep(LAYERS, LEVELS)
    a = kernel.schedule({"layer_1": 5, "layer_2": 2, "keep_1": 1 / 9, "keep_2": 0.5})
    b = kernel.schedule({"layer_1": 2, "layer_2": 5, "keep_1": 0.5, "keep_2": 1 / 9})
    assert a == b
    assert a.ratios == (1, 1, 0.5, 0.5, 0.5, 2 / 18, 2 / 18, 2 / 18)


def test_free_takes_the_running_minimum():
    values = dict(zip(Free(4, 10).space.names, (0.5, 0.8, 0.2), strict=True))
    assert Free(4, 10).schedule(values).ratios == (1.0, 0.5, 0.5, 0.2)


def test_each_sample_keeps_its_own_share():
    counts = keep_counts(np.array([1.0, 0.5, 0.25]), np.array([10, 7]))
    assert counts.tolist() == [[10, 7], [5, 4], [3, 2]]


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ((), "at least one layer"),
        ((1.0, 1.2), r"layer 1 must be in \[0, 1\], got 1.2"),
        ((1.0, float("nan")), "layer 1 must be in"),
        ((1.0, 0.2, 0.5), "layer 2 has 0.5 after 0.2"),
    ],
)
def test_invalid_schedules_are_named(ratios, message):
    with pytest.raises(InvalidValueError, match=message):
        KeepSchedule(ratios)


def test_schedule_files_round_trip(tmp_path):
    file = tmp_path / "a.json"
    content = ScheduleFile(pruner="fastv", keep=[1.0, 0.5], model="mini-llava", score=0.5)
    write_schedule(file, content)
    assert read_schedule(file) == content
    assert read_schedule(file).schedule == KeepSchedule((1.0, 0.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Invalid JSON"),
        ("[]", "should be an object"),
        ('{"pruner": "fastv"}', "keep: Field required"),
        ('{"pruner": "fastv", "keep": [0.2, 0.5]}', "must not rise"),
        ('{"pruner": "fastv", "keep": [1, "x"]}', "keep.1: Input should be a valid number"),
        ('{"pruner": "fastv", "keep": [NaN]}', "must be in"),
        ('{"pruner": "fastv", "keep": [1], "extra": 1}', "extra: Extra inputs"),
        ('{"format": "other", "pruner": "fastv", "keep": [1]}', "paretoprune-schedule/1"),
    ],
)
def test_broken_schedule_files_are_one_sentence(tmp_path, text, message):
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(BrokenFileError, match=message) as error:
        read_schedule(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_schedule_file_is_one_sentence(tmp_path):
    with pytest.raises(BrokenFileError, match="cannot read schedule file .*nowhere.json: No such"):
        read_schedule(tmp_path / "nowhere.json")


def test_written_schedules_are_plain_json(tmp_path):
    write_schedule(tmp_path / "a.json", ScheduleFile(pruner="fastv", keep=[1.0]))
    assert json.loads((tmp_path / "a.json").read_text())["keep"] == [1.0]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]
