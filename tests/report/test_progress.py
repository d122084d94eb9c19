import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from paretoprune.comparison.compare import Progress, compare
from paretoprune.compression.analytic import ZDT1
from paretoprune.report.progress import SearchProgress, phase


def reports():
    for done, label in enumerate(["random", "tpe"]):
        for ask in range(1, 4):
            yield Progress("search", label, 0, done, 2, 4.0 * ask, 12.0, 0.1 * ask, 8 * ask)
    yield Progress("heldout", "held-out data", 0, 0, 9, 0.0, 12.0, 0.0, 0)


def run(console):
    with SearchProgress(console) as progress:
        for report in reports():
            progress(report)
    return console.file.getvalue()


def test_without_a_terminal_there_is_one_line_per_study():
    text = run(Console(width=80, file=io.StringIO(), highlight=False))
    assert text.splitlines() == [
        "[1/2] random seed 0: hypervolume 0.300, 24 evaluations, cost 12",
        "[2/2] tpe seed 0: hypervolume 0.300, 24 evaluations, cost 12",
        "held-out evaluation ...",
    ]


def test_a_terminal_has_bars_and_keeps_the_lines():
    console = Console(width=40, file=io.StringIO(), force_terminal=True, highlight=False)
    text = run(console)
    assert "searching" in text
    assert "━" in text
    assert "[1/2] random seed 0" in text
    assert "evaluating 9 configurations" in text


@pytest.mark.parametrize("width", [40, 80])
def test_the_time_that_is_left_is_shown(width):
    """Half of the budget took 40 s: 40 s are left, and 2 min with a second study as long."""
    clock = [0.0]
    console = Console(
        width=width, file=io.StringIO(), force_terminal=True, get_time=lambda: clock[0]
    )
    progress = SearchProgress(console)
    for clock[0], spent in ((0.0, 0.0), (20.0, 3.0), (40.0, 6.0)):
        progress(Progress("search", "random", 0, 0, 2, spent, 12.0, 0.1, 8))
    console.print(progress._bars)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).splitlines()
    assert [line.split()[-1] for line in lines] == ["0:02:00", "0:00:40"]
    assert all(cell_len(line) <= width for line in lines)


def test_a_phase_is_a_bar_on_a_terminal_and_a_line_elsewhere():
    terminal = Console(width=80, file=io.StringIO(), force_terminal=True, highlight=False)
    plain = Console(width=80, file=io.StringIO(), highlight=False)
    for console in (terminal, plain):
        with phase(console, "relaxation gap") as observe:
            observe(0, 4)
            observe(1, 4)
    text = terminal.file.getvalue()
    assert "relaxation gap" in text and "25%" in text and "left" in text
    assert plain.file.getvalue() == "relaxation gap ...\n"


def test_no_colour_where_it_is_unwanted(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = run(Console(width=40, file=io.StringIO(), force_terminal=True, highlight=False))
    assert "\x1b[3" not in text.replace("\x1b[3m", "")  # no foreground colour


def fail(progress):
    with progress:
        progress(next(reports()))
        raise ZeroDivisionError


def test_an_error_inside_is_passed_on_and_stops_the_bars():
    progress = SearchProgress(Console(width=80, file=io.StringIO(), force_terminal=True))
    with pytest.raises(ZeroDivisionError):
        fail(progress)
    assert not progress._live.is_started


def test_it_observes_a_real_comparison():
    console = Console(width=80, file=io.StringIO(), highlight=False)
    with SearchProgress(console) as progress:
        found = compare(ZDT1(), ["random", "nsga2"], budget=16, observe=progress).summary
    lines = console.file.getvalue().splitlines()
    assert len(lines) == len(found.studies) == 4
    for line, study in zip(lines, found.studies, strict=True):
        assert f"{study.label} seed {study.seed}: hypervolume {study.hypervolume:.3f}" in line
        assert cell_len(line) <= 80
