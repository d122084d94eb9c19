"""`paretoprune show` as a user sees it."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from paretoprune.cli import app
from paretoprune.compression.show import show_schedule
from paretoprune.errors import ParetopruneError
from paretoprune.schedules import ScheduleFile, write_schedule


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        return CliRunner().invoke(app, ["show", *words])

    return call


@pytest.mark.parametrize("model", ["mini-llava", "mini-qwen2.5-vl", "mini-internvl"])
def test_every_mini_model_is_drawn_without_any_file(run, tmp_path, model):
    done = run("--model", model, "--pruner", "fastv", "--pruner", "tome", "--sample", "3")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "kept.png").read_bytes().startswith(b"\x89PNG")
    assert "written to kept.png" in done.output
    assert "tome" in done.output
    assert "known answer" in done.output


def test_a_drawing_is_numbered_where_the_name_is_taken(run, tmp_path):
    for name in ("kept.png", "kept-2.png"):
        assert f"written to {name}" in run("--layers", "0,7").output
        assert (tmp_path / name).exists()


def test_a_picture_of_one_s_own_with_a_schedule_file(run, tmp_path):
    Image.fromarray(np.full((50, 80, 3), 90, np.uint8)).save(tmp_path / "mine.png")
    file = tmp_path / "best.json"
    write_schedule(file, ScheduleFile(pruner="uniform", keep=[1.0] * 4 + [0.125] * 4))
    done = run("--image", "mine.png", "--question", "how many stars ?", "best.json",
               "--out", "a.svg")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "uniform" in done.output
    assert "144 144 144 144 18 18 18 18" in done.output
    assert "(right)" not in done.output  # nothing is known of the answer
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_a_schedule_is_named_by_position_too(run, tmp_path):
    keep = [1.0] * 4 + [0.125] * 4
    write_schedule(tmp_path / "pick.json", ScheduleFile(pruner="uniform", keep=keep))
    for number, schedule in enumerate(("pick.json", "4x1,4x0.125")):
        done = run(schedule, "--out", f"{number}.png")
        assert done.exit_code == 0, done.output
        assert "144 144 144 144 18 18 18 18" in done.output
    for wrong in ("none.json", ""):
        assert isinstance(run(wrong).exception, ParetopruneError)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([""], "schedule '' is no file"),
        (["--task", ""], "unknown task ''"),
        (["--image", "none.png", "--question", "?"], "cannot read picture none.png"),
        (["--image", "text.png", "--question", "?"], "is no picture"),
        (["--image", "good.png"], "needs a question"),
        (["1,1,0.5"], "3 layers, the model has 8"),
        (["keep=0.5,layer=0"], "cannot rank tokens before layer 1"),
        (["--pruner", "fastvv"], "Did you mean 'fastv'"),
        (["--pruner", "dart:pivots=3"], "knob of pruner 'dart'"),
        (["--pruner", "fastv", "--pruner", "fastv"], "named twice"),
        (["--layers", "9"], "layers 0 to 7"),
        (["--layers", "some"], "changes, all or numbers"),
        (["--out", "a.gif"], "must end in"),
        (["--out", "none/a.png"], "no folder"),
        (["--task", "none"], "unknown task"),
        (["--model", "none"], "unknown model"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(run, tmp_path, words, told):
    (tmp_path / "text.png").write_text("hello")
    Image.new("RGB", (20, 20)).save(tmp_path / "good.png")
    done = run(*words)
    assert isinstance(done.exception, ParetopruneError), done.output
    assert told in str(done.exception)
    assert "\n" not in str(done.exception)
    assert {file.name for file in tmp_path.iterdir()} == {"text.png", "good.png"}


def test_all_stands_for_what_the_model_can_do():
    example = show_schedule(ranking=["all"], model="mini-qwen2.5-vl", new_tokens=2)
    names = {one.pruner.partition(":")[0] for one in example.pruned}
    assert {"fastv", "tome", "uniform"} <= names
    assert "fastervlm" not in names  # it has no class token


def test_a_question_of_one_s_own_about_a_sample_has_no_known_answer():
    own = show_schedule(question="how many stars ?", sample=2)
    same = show_schedule(sample=2)
    assert own.answer is None
    assert own.pruned[0].right is None
    assert same.answer is not None
    assert own.pictures == same.pictures
