"""The command line as a user sees it."""

import json
import re
import subprocess
import sys

import pytest
import typer
from commands import run_command

from paretoprune.cli import app
from paretoprune.comparison.configuration import StudyFile
from paretoprune.compression import load
from paretoprune.compression.score import score_schedule
from paretoprune.errors import InvalidValueError
from paretoprune.schedules import KeepSchedule, ScheduleFile, write_schedule

SMALL = ["--search-size", "16", "--heldout-size", "16", "--budget", "2", "--seeds", "1"]


def process(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "paretoprune", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
    )


run = run_command  # where a process of its own is not the point


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    done = process("compare", "-s", "random", "-s", "grid:space=single-step", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "paretoprune-results", done


def test_compare_writes_everything_and_says_where(results):
    folder, done = results
    names = {p.name for p in folder.iterdir()}
    assert {"report.html", "front.png", "front.csv", "schedules", "study.db"} <= names
    assert "paretoprune-results" in done.stdout
    assert "random" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_second_run_does_not_touch_the_first(results):
    folder, _ = results
    before = (folder / "comparison.json").read_bytes()
    done = run("search", "random", *SMALL[:-2], cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert (folder / "comparison.json").read_bytes() == before
    assert (folder.parent / "paretoprune-results-2" / "report.html").exists()


def test_report_is_drawn_again_from_the_folder(results):
    folder, _ = results
    (folder / "report.html").unlink()
    done = run("report", str(folder))
    assert done.returncode == 0, done.stderr
    assert (folder / "report.html").exists()


def test_evaluate_scores_a_written_schedule(results):
    folder, _ = results
    schedule = sorted((folder / "schedules").glob("*.json"))[-1]
    done = run("evaluate", str(schedule), "--size", "16")
    assert done.returncode == 0, done.stderr
    assert re.search(r"compute", done.stdout)
    assert json.loads(schedule.read_text())["keep"][0] == 1.0


def test_list_names_everything():
    done = run("list")
    for name in ("random", "grid", "tpe", "nsga2", "pymoo-nsga2", "gradient", "fastv", "llava"):
        assert name in done.stdout
    assert process("list", "pruner").stdout.startswith("pruner:")


def test_help_works_for_every_command():
    for command in typer.main.get_command(app).commands:
        done = run(command, "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "-s", "nsga"], "unknown strategy 'nsga'"),
        (["compare", "--budget", "-1"], "--budget must be more than 0"),
        (["compare", "--budget", "abc"], "Invalid value for '--budget'"),
        (["compare", "--model", "mini-lava", *SMALL], "Did you mean 'mini-llava'"),
        (["compare", "--model", "./no/such/dir", *SMALL], "./no/such/dir does not exist"),
        (["compare", "--pruner", "fastw", *SMALL], "Did you mean 'fastv'"),
        (["compare", "--task", "minivqs", *SMALL], "Did you mean 'minivqa'"),
        (["compare", "--problem", "zdt9"], "Did you mean 'zdt1'"),
        (["compare", "--search-size", "1"], "search-size"),
        (["compare", "--dtype", "float31", *SMALL], "Did you mean 'float32'"),
        (["evaluate", "missing.json"], "cannot read schedule file missing.json"),
        (["evaluate", "--preset", "fastv:k=2,r=0.5", "--pruner", ""], "unknown pruner ''"),
        (["compare", "-s", "random:spce=free"], "Did you mean 'space'"),
        (["compare", "-s", "tpe:startup=3,startup=4"], "'startup' is given twice"),
        (["compare", "--pruner", "dart:visual_pivots=4,visual_pivots=8"], "is given twice"),
        (["report", "nowhere"], "not a results folder"),
        (["list", "prunner"], "Did you mean 'pruner'"),
        (["bench", "kernel"], "Did you mean 'kernels'"),
        (["train", "mini-lava"], "Did you mean 'mini-llava'"),
        (["compare", "-s", "gradient", "--problem", "zdt1"], "black box"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, message, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stderr).split())
    assert message in said
    assert "Traceback" not in done.stderr


def test_a_refused_command_leaves_no_folder_behind(tmp_path):
    run("compare", "--model", "mini-lava", *SMALL, cwd=tmp_path)
    run("compare", "-s", "nsga", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_folder_is_not_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    done = run("compare", "--out", "mine", *SMALL, cwd=tmp_path)
    assert done.returncode == 2
    assert "mine exists and is not an empty folder" in done.stderr
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_schedule_for_another_depth_is_refused(tmp_path):
    file = tmp_path / "four.json"
    write_schedule(file, ScheduleFile(pruner="fastv", keep=[1.0, 1.0, 0.5, 0.5]))
    done = run("evaluate", str(file), "--size", "8")
    assert done.returncode == 2
    assert "the schedule has 4 layers, model 'mini-llava' has 8" in done.stderr


@pytest.mark.parametrize(
    ("keep", "pruner", "told"),
    [
        ([1.0, 1.0, 0.5, 0.5], "fastv", "the schedule has 4 layers, model 'mini-llava' has 8"),
        ([1.0] * 9, "fastv", "the schedule has 9 layers, model 'mini-llava' has 8"),
        ([0.5] * 8, "fastv", "pruner 'fastv' cannot rank tokens before layer 1"),
        ([1.0] * 4 + [0.5] * 4, "vtw", "pruner 'vtw' keeps all visual tokens or none"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused_before_a_sample_is_scored(
    keep, pruner, told, monkeypatch
):
    """512 samples were scored first."""
    monkeypatch.setattr(load, "load_task", lambda *_: pytest.fail)  # would draw the samples
    with pytest.raises(InvalidValueError, match=told):
        score_schedule(KeepSchedule.from_ratios(keep), pruner=pruner, model="mini-llava")


def test_analytic_problems_run_from_the_command_line(tmp_path):
    done = run(
        "compare", "--problem", "zdt1", "-s", "random", "-s", "nsga2", "--budget", "40",
        "--out", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").exists()


def flags():
    root = typer.main.get_command(app)
    return {p.name: p for p in root.commands["compare"].params}


NOT_SETTINGS = {"config", "resume", "help"}


def test_every_flag_of_compare_is_a_setting_with_the_same_default():
    found = {name: p for name, p in flags().items() if name not in NOT_SETTINGS}
    assert list(found) == list(StudyFile.model_fields)
    for name, flag in found.items():
        assert f"--{name.replace('_', '-')}" in flag.opts
        default = getattr(StudyFile(), name)
        if flag.default is None or flag.default == []:
            assert default in (None, ()), name
        else:
            assert (tuple(flag.default) if isinstance(default, tuple) else flag.default) == default


@pytest.mark.parametrize(
    "arguments",
    [
        ["report"], ["pick"], ["rerun"], ["rank", "other"], ["show"],
        ["check-model"], ["init"], ["compare", "--resume"], ["data"],
    ],
)  # fmt: skip
def test_a_name_too_long_for_the_machine_is_one_sentence(arguments, tmp_path):
    done = run(*arguments, "F" * 5000, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("paretoprune: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_resume_names_no_value_that_was_never_given(tmp_path):
    problem = ["--problem", "zdt1", "-s", "random", "--seeds", "1"]
    assert run("compare", *problem, "--budget", "2", "--out", "out", cwd=tmp_path).returncode == 0
    done = run("compare", "--resume", "out", "--search-size", "128", cwd=tmp_path)
    assert done.returncode == 2
    assert "--search-size 128: it was started without --search-size" in done.stderr


def test_ctrl_c_between_two_searches_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("paretoprune.comparison.compare.run_study", interrupted)
    done = run("compare", "--problem", "zdt1", "-s", "random", "--budget", "2", cwd=tmp_path)
    assert done.returncode == 130
    assert "Go on with: paretoprune compare --resume paretoprune-results" in done.stdout
