"""`paretoprune fit`: reads the pattern of a schedule file."""

from typer.testing import CliRunner

from paretoprune.cli import app
from paretoprune.errors import UnknownNameError, UnsupportedError
from paretoprune.schedules import ScheduleFile, write_schedule


def run(*words):
    return CliRunner().invoke(app, ["fit", *map(str, words)])


def test_the_closest_kernel_comes_first_and_says_its_parameters(tmp_path):
    keep = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    write_schedule(tmp_path / "a.json", ScheduleFile(pruner="fastv", keep=keep))
    result = run(tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    first = next(line for line in lines if line and line[0] == "multi-step")
    assert first[1] == "0.000"
    assert " ".join(first[2:]) == "layer_1 2, layer_2 4, keep_1 0.5, keep_2 0.25"
    order = [line[0] for line in lines if line and line[0].endswith(("-step", "free"))]
    assert order.index("multi-step") < order.index("single-step")


def test_mistakes_are_one_sentence(tmp_path):
    write_schedule(tmp_path / "a.json", ScheduleFile(pruner="fastv", keep=[1.0, 0.5]))
    assert isinstance(run(tmp_path / "a.json", "--kernel", "multi-stp").exception, UnknownNameError)
    missing = run(tmp_path / "a.json", "--kernel", "multi-step").exception
    assert isinstance(missing, UnsupportedError)
    assert "2 layers" in str(missing)
    result = run(tmp_path / "a.json")
    assert "left out: a multi-step kernel of 2 steps does not fit" in " ".join(
        result.output.split()
    )
