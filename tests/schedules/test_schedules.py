"""Keep schedules, kernels and schedule files."""

import json

import numpy as np
import pytest
import torch

from paretoprune.errors import BrokenFileError, InvalidValueError
from paretoprune.schedules import (
    KeepSchedule,
    ScheduleFile,
    keep_counts,
    read_schedule,
    write_schedule,
)
from paretoprune.schedules.kernels import (
    Cosine,
    Exponential,
    FourStep,
    Free,
    Linear,
    MultiStep,
    Sigmoid,
    SingleStep,
    ThreeStep,
    fitting_kernels,
)

LAYERS, LEVELS = 8, 18


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


def test_linear_and_cosine_by_hand():
    """Three drops from layer 2 to layer 4: a third, two thirds, all of the way to 0.4."""
    values = {"start": 4, "end": 2, "keep": 0.4}
    straight = Linear(6, 10).schedule(values).ratios
    assert straight == pytest.approx((1, 1, 0.8, 0.6, 0.4, 0.4))
    gentle = Cosine(6, 100).schedule(values).ratios  # (1 - cos(pi / 3)) / 2 = 1/4
    assert gentle == pytest.approx((1, 1, 1 - 0.6 / 4, 1 - 0.6 * 3 / 4, 0.4, 0.4))


def test_exponential_by_hand():
    """From layer 2 on, what lies above 0.2 halves in every layer: 0.8, 0.4, 0.2, 0.1, ..."""
    ratios = Exponential(6, 10).schedule({"layer": 2, "half_life": 1.0, "keep": 0.2}).ratios
    assert ratios == pytest.approx((1, 1, 0.6, 0.4, 0.3, 0.3))  # 0.25 and 0.25, halves up


def test_the_sigmoid_at_vispcos_slope_is_the_single_step():
    """Width 0.4 is slope 10."""
    one = SingleStep(6, 10).ratios(torch.tensor([3.0, 0.4], dtype=torch.float64))
    other = Sigmoid(6, 10).ratios(torch.tensor([3.0, 0.4, 0.4], dtype=torch.float64))
    assert torch.allclose(one, other)


def test_a_fit_reads_the_pattern_of_a_schedule():
    """PyramidDrop's four stages are three steps; a single step is as close as it can be."""
    pyramid = KeepSchedule((1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125))
    three = ThreeStep(8, 16).fit(pyramid)
    assert three.distance == 0
    assert [three.values[f"layer_{i}"] for i in (1, 2, 3)] == [2, 4, 6]
    assert [three.values[f"keep_{i}"] for i in (1, 2, 3)] == [0.5, 0.25, 0.125]
    one = SingleStep(8, 16).fit(pyramid)
    assert one.values == {"layer": 2, "keep": 5 / 16}  # 0.2917 is the mean; 4.67 of 16 levels
    gaps = np.array([0, 0, 3, 3, -1, -1, -3, -3]) / 16
    assert one.distance == pytest.approx(np.sqrt((gaps**2).mean()))


def test_the_dynamic_programme_finds_what_trying_everything_finds():
    """Against a slow reference: all cuts and levels of a small lattice."""
    rng = np.random.default_rng(0)
    kernel = MultiStep(5, 4)
    points = [kernel.schedule(values) for values in kernel.space.grid()]
    for _ in range(20):
        wanted = KeepSchedule.from_ratios([1.0, *np.sort(rng.random(4))[::-1]])
        errors = [np.sqrt(np.mean(np.subtract(p.ratios, wanted.ratios) ** 2)) for p in points]
        assert kernel.fit(wanted).distance == pytest.approx(min(errors))


def test_kernels_that_do_not_fit_are_left_out_with_the_reason():
    found = fitting_kernels(2, 4, 1)
    assert {"single-step", "free", "sigmoid"} <= set(found.kernels)
    assert set(found.left_out) == {"multi-step", "three-step", "four-step"}
    assert "of 2 steps does not fit: 2 layers" in found.left_out["multi-step"]
    with pytest.raises(InvalidValueError, match="of 4 steps does not fit: 4 layers"):
        FourStep(4, 4)
    with pytest.raises(InvalidValueError, match=r"first pruned layer must be in \[0, 0\], got 1"):
        fitting_kernels(1, 4, 1)


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
        ('{"pruner": "fastv", "keep": [1]}', "format: it must be 'paretoprune-schedule/1'"),
        (
            '{"format": "paretoprune-pick/1", "pruner": "fastv", "keep": [1]}',
            "got 'paretoprune-pick/1'",
        ),
        ('{"format": null, "pruner": "fastv", "keep": [1]}', "format: it must be .*, got None"),
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
