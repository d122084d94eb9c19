import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from paretoprune.comparison import Progress, compare
from paretoprune.problems.analytic import ZDT1
from paretoprune.report.terminal import SearchProgress


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
    ]


def test_a_terminal_has_bars_and_keeps_the_lines():
    console = Console(width=40, file=io.StringIO(), force_terminal=True, highlight=False)
    text = run(console)
    assert "studies" in text
    assert "━" in text
    assert "[1/2] random seed 0" in text
    assert "judging 9 configurations" in text


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
