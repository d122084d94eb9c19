"""The benchmark of pruning operators, small."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from paretoprune.compression.load import load_problem
from paretoprune.errors import UnknownNameError
from paretoprune.experiments.bench import operators
from paretoprune.registry import pruners


def test_an_unknown_model_is_refused_before_the_first_is_measured(monkeypatch):
    monkeypatch.setattr(operators, "measure", lambda *_: pytest.fail("it ran"))
    with pytest.raises(UnknownNameError, match="unknown model.*'foo'"):
        operators.run(Console(file=io.StringIO()), model="mini-llava,foo", heldout_size=8)


def test_the_nearest_schedule_is_the_nearest():
    problem = load_problem("mini-llava", pruner="tome", search_size=8, heldout_size=0)
    schedule, compute = operators.nearest(problem, 0, 0.5)
    every = [problem.cost_model.relative_compute(np.full(8, keep / 144)) for keep in range(1, 144)]
    assert abs(compute - 0.5) == min(abs(u - 0.5) for u in every)
    assert problem.cost_model.relative_compute(np.asarray(schedule.ratios)) == compute


@pytest.mark.slow
def test_small_run_and_its_file(tmp_path):
    out = tmp_path / "operators.json"
    names = ["fastv", "fastervlm", "uniform"]
    result = operators.run(
        Console(quiet=True), model="mini-llava", heldout_size=16, out=out, names=names
    )
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))
    figures = result["models"]["mini-llava"]["figures"]
    assert {(f["pruner"], f["layer"]) for f in figures} == {
        ("fastv", 1), ("fastv", 2), ("fastervlm", 0), ("fastervlm", 2), ("uniform", 0),
        ("uniform", 2),
    }  # fmt: skip
    for f in figures:
        assert f["reached"] == (abs(f["compute"] - f["target"]) < 0.05)
        assert len(f["families"]) == 8
    first = figures[0]
    problem = load_problem("mini-llava", search_size=16, heldout_size=0, split="heldout")
    ratios = np.full(8, first["keep"])
    ratios[: first["layer"]] = 1.0
    assert problem.cost_model.relative_compute(ratios) == pytest.approx(first["compute"])


@pytest.mark.slow
def test_every_registered_pruner_runs():
    """VTW, which keeps all tokens or none, stopped the whole benchmark after minutes."""
    result = operators.run(Console(quiet=True), model="mini-llava", heldout_size=8)
    figures = result["models"]["mini-llava"]["figures"]
    assert {f["pruner"] for f in figures} == set(pruners.usable())
    withdrawn = [f for f in figures if f["pruner"] == "vtw"]
    assert [f["keep"] for f in withdrawn] == [0.0] * 3
    assert [f["layer"] for f in withdrawn] == sorted(f["layer"] for f in withdrawn)
    assert all(f["reached"] for f in withdrawn)


def test_what_a_family_lacks_is_left_out_with_the_reason():
    result = operators.run(
        Console(quiet=True), model="mini-qwen2.5-vl", heldout_size=8, names=["visionzip"]
    )
    found = result["models"]["mini-qwen2.5-vl"]
    assert found["figures"] == []
    assert "has no class token" in found["left_out"]["visionzip"]
