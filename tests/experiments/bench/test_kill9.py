"""The kill benchmark, in small: real processes, killed."""

import io

import pytest
from rich.console import Console

from paretoprune.experiments.bench import kill9


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "pymoo-nsga2"])
def test_nothing_is_lost_or_doubled(strategy):
    console = Console(file=io.StringIO(), width=100)
    figures = kill9.run(console, kills=3, strategy=[strategy])
    assert figures["kills"] == 3
    assert (figures["lost"], figures["doubled"], figures["differences"]) == (0, 0, 0)
    assert "differences to the undisturbed log: none" in console.file.getvalue()


@pytest.mark.slow
def test_nothing_is_lost_in_a_database(database):
    figures = kill9.run(Console(file=io.StringIO()), kills=3, strategy=["random"], storage=database)
    assert (figures["storage"], figures["kills"]) == ("postgresql", 3)
    assert (figures["lost"], figures["doubled"], figures["differences"]) == (0, 0, 0)


def test_a_difference_is_counted(monkeypatch):
    """The comparison sees a log that is not the undisturbed one's."""
    play = kill9._play

    def cheating(name, folder, storage=None):
        kill9.BUDGET = 32.0 if folder.name == "whole" else 24.0
        play(name, folder, storage)

    monkeypatch.setattr(kill9, "_play", cheating)
    figures = kill9.run(Console(file=io.StringIO()), kills=1, strategy=["random"])
    assert figures["differences"] > 0
