"""What follows a search: the ranking is shown before it, and Ctrl-C loses none of what there is."""

import shlex

import pytest
from typer.main import get_command

from paretoprune.cli import app
from paretoprune.comparison import gap
from paretoprune.comparison.gradients import read_gradients
from paretoprune.comparison.results import read_summary
from paretoprune.comparison.sweep import is_finished

TOY = ["--problem", "paretoprune.testing.relaxations:ToyPruning"]
SEARCH = [
    "compare",
    *TOY,
    "-s",
    "gradient:max_final_evaluations=4",
    "--budget",
    "20",
    "--seeds",
    "1",
]


def run(*arguments):
    """Exit code of a command in this process, whose output `capsys` has."""
    code = get_command(app).main([*SEARCH, *arguments], standalone_mode=False)
    return code or 0


@pytest.fixture
def points(monkeypatch):
    """What is called before each configuration is measured, with its number."""
    watched = []
    measure = gap.gap_point

    def counted(*arguments):
        counted.number += 1
        for watch in watched:
            watch(counted.number)
        return measure(*arguments)

    counted.number = 0
    monkeypatch.setattr(gap, "gap_point", counted)
    return watched


def stop(number):
    """Press Ctrl-C while the second configuration is measured."""
    if number == 2:
        raise KeyboardInterrupt


def test_the_ranking_is_on_the_screen_before_the_gap_is_measured(points, capsys, tmp_path):
    seen = []
    points.append(lambda number: seen.append(capsys.readouterr().out))
    assert run("--out", str(tmp_path / "r")) == 0
    assert "Ranking" in seen[0] and "gradient" in seen[0].partition("Ranking")[2]
    assert (tmp_path / "r/comparison.json").exists()
    after = "".join(seen[1:]) + capsys.readouterr().out
    assert "Ranking" not in after and "report.html" in after


def test_ctrl_c_while_the_gap_is_measured_keeps_what_was_measured(points, capsys, tmp_path):
    folder = tmp_path / "r"
    points.append(stop)
    assert run("--out", str(folder)) == 130
    said = capsys.readouterr().out
    assert "Interrupted: the ranking is complete" in said
    assert not read_summary(folder).interrupted
    assert (folder / "report.html").exists() and (folder / "ranking.md").exists()
    found = read_gradients(folder)
    assert found.interrupted and len(found.studies[0].points) == 1
    assert not is_finished(folder)  # of several comparisons, this one is gone on with

    points.clear()
    advice = shlex.split(" ".join(said.partition("Go on with: paretoprune ")[2].split()))
    assert not get_command(app).main(advice, standalone_mode=False)
    again = read_gradients(folder)
    assert not again.interrupted and len(again.studies[0].points) > 1
    assert again.studies[0].points[0] == found.studies[0].points[0]
    assert is_finished(folder)


@pytest.mark.slow
def test_ctrl_c_while_examples_are_run_keeps_the_gap(monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("paretoprune.comparison.examples.examples_of", interrupted)
    assert run("--out", str(tmp_path / "r")) == 130
    found = read_gradients(tmp_path / "r")
    assert found.studies[0].points and not found.interrupted
    assert (tmp_path / "r/gap.png").exists() and (tmp_path / "r/report.html").exists()


def test_ctrl_c_while_the_report_is_written_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("paretoprune.report.write_report", interrupted)
    assert run("--out", str(tmp_path / "r")) == 130
    said = capsys.readouterr().out
    assert "Go on with: paretoprune compare --resume" in said
    assert "comparison.json" in said and "report.html" not in said  # it was not written


def test_without_a_terminal_each_phase_is_one_line(capsys, tmp_path):
    run("--out", str(tmp_path / "r"))
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\r" not in said
    lines = said.splitlines()
    assert [lines.count(f"{name} ...") for name in ("relaxation gap", "examples", "report")] == [
        1, 1, 1
    ]  # fmt: skip
