"""The simulated fleet, in small: its counts are those of the study, its plan is met."""

import io

import pytest
from rich.console import Console

from paretoprune.errors import UnknownNameError
from paretoprune.experiments.bench import fleet


@pytest.mark.slow
def test_counts_and_plan():
    console = Console(file=io.StringIO(), width=140)
    figures = fleet.run(console, workers=4, model_ms=0.5, samples=256, asks=4)
    assert [run["strategy"] for run in figures["runs"]] == ["random", "nsga2"]
    for run in figures["runs"]:
        assert (run["asks"], run["evaluations"], run["deaths"]) == (4, 32, 1)
        assert run["received_bytes"] >= 2 * 4 * 256  # score and divergence of every sample
        assert run["received_bytes"] < 3 * 2 * 4 * 256
        # a message per worker and ask, and those that the dead one had to be sent again
        assert run["messages_per_s"] * run["seconds"] * 4 / 2 <= 4 * 4 + 4
        # an ask lasts at least as long as its share of the model's time
        assert run["seconds"] >= 0.5e-3 * 256 * 8 / 4 * 0.8
        assert 0 < run["busy"] <= 1.05
    assert "model busy" in console.file.getvalue()


def test_an_unknown_strategy_is_refused_before_anything_runs(monkeypatch):
    """It was found out with workers waiting, and the program did not end."""
    monkeypatch.setattr(fleet, "_simulate", lambda *_: pytest.fail("it ran"))
    with pytest.raises(UnknownNameError, match="unknown strategy 'foo'"):
        fleet.run(Console(file=io.StringIO()), workers=2, strategy=["random", "foo"])


def test_the_slowest_of_many_is_later_than_the_mean():
    one, many = fleet._slowest(100.0, 1), fleet._slowest(100.0, 100) * 100
    assert one == pytest.approx(100.0, rel=0.02)
    assert 1.08 * one < many < 1.25 * one


def test_where_the_driver_takes_as_long_as_the_model():
    # 100 s / 200 workers and 0.25 s * 200 / 100 are both half a second
    assert fleet._half_busy(driver=0.25, workers=100, alone=100.0) == 200
