"""Schedules in use: files beside checkpoints, `load`, exports."""

import json
import shutil

import pytest
import torch
import yaml
from transformers import PI0Config
from typer.testing import CliRunner

import paretoprune
from paretoprune.cli import app
from paretoprune.deploy.lightcompress import lightcompress
from paretoprune.deploy.views import SCHEDULE_FILE_NAME, as_file, save_with_checkpoint
from paretoprune.errors import (
    BrokenFileError,
    InvalidValueError,
    ParetopruneError,
    UnsupportedError,
)
from paretoprune.schedules import KeepSchedule, ScheduleFile, write_schedule
from paretoprune.tasks.minivqa.dataset import load_split
from paretoprune.zoo.catalogue import checkpoint_directory

KEEP = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
runner = CliRunner()


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint_directory("mini-llava"), folder)
    return folder


@pytest.fixture
def schedule_file(tmp_path):
    file = tmp_path / "best.json"
    write_schedule(file, ScheduleFile(pruner="fastv", keep=KEEP))
    return file


def test_a_schedule_beside_a_checkpoint_is_picked_up(checkpoint, schedule_file):
    samples = load_split("search", 8)
    pictures, prompts = [s.image for s in samples], [s.prompt for s in samples]
    dense = paretoprune.load(str(checkpoint))
    assert dense.schedule is None
    assert save_with_checkpoint(checkpoint, schedule_file) == checkpoint / SCHEDULE_FILE_NAME
    found = paretoprune.load(str(checkpoint))
    assert found.schedule.keep == KEEP
    with torch.no_grad():
        out = found.model.generate(
            **found.inputs(pictures[:1], prompts[:1]), max_new_tokens=2,
            return_dict_in_generate=True,
        )  # fmt: skip
    held = out.past_key_values.held
    assert held[0] - held[2] == 72
    assert held[2] - held[4] == 36
    answers = found.answer(pictures, prompts, max_new_tokens=5)
    right = sum(a == s.answer for a, s in zip(answers, samples, strict=True))
    assert right >= 4  # half of the compute, most of the answers
    assert dense.answer(pictures, prompts, max_new_tokens=5) != [""] * 8


def test_every_form_of_a_schedule_is_taken(schedule_file):
    model = paretoprune.load("mini-llava").model
    forms = [schedule_file, str(schedule_file), KEEP, KeepSchedule(tuple(KEEP))]
    forms.append(as_file(schedule_file))
    for form in forms:
        view = paretoprune.pruned(model, form)
        assert view.pruning.policy.schedule.ratios == tuple(KEEP)
        assert view.pruning.pruner.name == "fastv"


def test_saving_where_it_does_not_fit_is_refused(checkpoint, tmp_path):
    with pytest.raises(InvalidValueError, match="has 2 layers, the checkpoint in"):
        save_with_checkpoint(checkpoint, [1.0, 0.5])
    with pytest.raises(BrokenFileError, match="does not exist"):
        save_with_checkpoint(tmp_path / "nothing", KEEP)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BrokenFileError, match="holds no checkpoint"):
        save_with_checkpoint(empty, KEEP)
    with pytest.raises(ParetopruneError, match="unknown pruner 'fast'"):
        save_with_checkpoint(checkpoint, KEEP, pruner="fast")
    assert not (checkpoint / SCHEDULE_FILE_NAME).exists()


def test_a_broken_schedule_beside_a_checkpoint_is_one_sentence(checkpoint):
    (checkpoint / SCHEDULE_FILE_NAME).write_text(
        '{"format": "paretoprune-schedule/1", "keep": [2]}'
    )
    with pytest.raises(BrokenFileError, match="paretoprune.json"):
        paretoprune.load(str(checkpoint))


def test_lightcompress_fastv_is_one_drop():
    text = lightcompress(ScheduleFile(pruner="fastv", keep=[1.0, 1.0, 1.0, *[2 / 9] * 5]))
    assert yaml.safe_load(text) == {
        "sparse": {
            "method": "TokenReduction",
            "special": {"method": "FastV", "pruning_loc": 3, "rate": 0.777778},
        }
    }


def test_lightcompress_pyramiddrop_stages():
    keep = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    found = yaml.safe_load(lightcompress(ScheduleFile(pruner="pyramiddrop", keep=keep)))
    assert found["sparse"]["special"] == {
        "method": "PyramidDrop",
        "layer_list": [2, 4, 6],
        "image_token_ratio_list": [0.5, 0.25, 0.125],
    }


@pytest.mark.parametrize(
    ("pruner", "keep", "reason"),
    [
        ("fastv", KEEP, "drops tokens once, this schedule drops 2 times"),
        ("fastv", [1.0] * 8, "drops 0 times"),
        ("fastv", [1.0, 0.0], "keeps 0% of them from layer 1 on"),
        ("random", [1.0, 0.5], "no form of pruner 'random'"),
        ("pyramiddrop", [1.0, 1.0], "nothing to export"),
        ("pyramiddrop", [1.0, 0.5, 0.0], "keeps none from layer 2 on"),
    ],
)
def test_what_lightcompress_cannot_say_is_refused(pruner, keep, reason):
    with pytest.raises(UnsupportedError, match=reason):
        lightcompress(ScheduleFile(pruner=pruner, keep=keep))


def test_the_export_command(checkpoint, schedule_file, tmp_path):
    done = runner.invoke(
        app, ["export", str(schedule_file), "--to", "checkpoint", "--out", str(checkpoint)]
    )
    assert done.exit_code == 0
    assert json.loads((checkpoint / SCHEDULE_FILE_NAME).read_text())["keep"] == KEEP
    single = tmp_path / "single.json"
    write_schedule(single, ScheduleFile(pruner="fastv", keep=[1.0, 0.5]))
    out = tmp_path / "token_reduction.yml"
    arguments = ["export", str(single), "--to", "lightcompress", "--out", str(out)]
    assert runner.invoke(app, arguments).exit_code == 0
    assert yaml.safe_load(out.read_text())["sparse"]["special"]["rate"] == 0.5
    again = runner.invoke(app, arguments)
    assert isinstance(again.exception, InvalidValueError)
    wrong = runner.invoke(app, ["export", str(single), "--to", "onnx", "--out", "x"])
    assert "checkpoint, lightcompress" in str(wrong.exception)


def test_check_model_prints_the_verdict():
    done = runner.invoke(app, ["check-model", "mini-llava"])
    assert done.exit_code == 0
    for part in (
        "Verified",
        "keep-all",
        "pruned, half dropped",
        "FLOPs",
        "8 layers, hidden 96",
        "space multi-step",
    ):
        assert part in done.output


def test_a_configuration_without_a_number_of_layers_is_one_sentence(tmp_path):
    PI0Config().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedError, match="'pi0' does not say num_hidden_layers"):
        save_with_checkpoint(tmp_path, KEEP)
