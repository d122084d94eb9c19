"""Presets beside a front: hand-made points, and that they change nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from paretoprune import compare, load_problem
from paretoprune.comparison.compare import Comparison
from paretoprune.comparison.presets import (
    EvaluatedPreset,
    FrontEntry,
    compare_presets,
    evaluate_presets,
)
from paretoprune.comparison.results import PresetPoint
from paretoprune.compression.problem import Compression
from paretoprune.core.capabilities import Published
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.core.space import Int, SearchSpace
from paretoprune.schedules.presets import find_preset
from paretoprune.zoo.load import DTYPES

OBJECTIVES = (
    Objective("score", "max", "q", reference=0.0, best=1.0),
    Objective("compute", "min", "u", reference=1.0, best=0.0),
)


class ByHand(Problem):
    """Knob 0..9 scores and costs what a table says; 9 fails; held-out samples are given."""

    name = "by-hand"
    spaces = {"x": SearchSpace((Int("x", 0, 9),))}
    objectives = OBJECTIVES
    table = {0: (0.2, 0.1), 1: (0.5, 0.3), 2: (0.8, 0.6), 3: (0.6, 0.4), 4: (0.5, 0.05)}

    def __init__(self, *, heldout: bool = True, split: str = "search") -> None:
        self.split = split
        self._heldout = ByHand(heldout=False, split="heldout") if heldout else None
        self.evaluated: list[int] = []

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        return [self.found(int(c.values["x"])) for c in candidates]

    def found(self, x: int) -> Evaluation:
        self.evaluated.append(x)
        candidate = Candidate("x", {"x": x})
        if x == 9:
            return Evaluation(candidate, {}, cost=1.0, failure="by hand")
        score, compute = self.table[x]
        outcomes = np.zeros(100, dtype=np.float32)
        outcomes[: round(100 * score)] = 1.0
        return Evaluation(
            candidate, {"score": score, "compute": compute}, cost=compute, outcomes=outcomes
        )

    @property
    def heldout(self) -> Problem | None:
        return self._heldout

    def describe(self) -> dict[str, Any]:
        return {"problem": self.name, "dense_score": 1.0, "blind_score": 0.0}

    def published(self) -> list[Published]:
        return [Published(f"p:{x}", f"about {x}", Candidate("x", {"x": x})) for x in (3, 3, 4, 9)]


def found(problem: ByHand, *xs: int) -> list[FrontEntry]:
    held = problem.heldout
    return [
        FrontEntry(n, problem.found(x), held.found(x) if isinstance(held, ByHand) else None)
        for n, x in enumerate(xs)
    ]


def judged(problem: ByHand, x: int, *front: int) -> PresetPoint:
    held = problem.heldout.found(x) if isinstance(problem.heldout, ByHand) else None
    preset = EvaluatedPreset((f"p:{x}",), ("",), problem.found(x), held)
    return compare_presets(problem, [preset], found(problem, *front))[0]


def test_a_preset_is_set_against_what_is_picked_at_no_higher_cost() -> None:
    """Preset 3: 0.6 at 0.4. Of 0.2 at 0.1, 0.5 at 0.3, 0.8 at 0.6 the search split picks 0.5."""
    point = judged(ByHand(), 3, 0, 1, 2)
    assert point.rival == 1
    assert point.gain == pytest.approx(-0.1)
    assert point.gain_low is not None
    assert point.gain_high is not None
    assert -0.2 < point.gain_low < -0.1 < point.gain_high < 0  # paired: ten samples of a hundred
    assert not point.dominated
    assert point.saved == pytest.approx(0.4 - 0.6)  # the one that scores as high costs more


def test_a_dominated_preset() -> None:
    """Preset 1: 0.5 at 0.3, and 0.5 at 0.05 was found."""
    point = judged(ByHand(), 1, 4, 2)
    assert point.dominated
    assert point.gain == 0.0
    assert point.saved == pytest.approx(0.25)


def test_equal_to_a_found_point_is_not_dominated() -> None:
    point = judged(ByHand(), 1, 1)
    assert not point.dominated
    assert (point.gain, point.saved) == (0.0, 0.0)


def test_cheaper_than_all_that_was_found() -> None:
    point = judged(ByHand(), 4, 1, 2)
    assert (point.rival, point.gain, point.gain_low, point.gain_high) == (None, None, None, None)
    assert point.saved == pytest.approx(0.05 - 0.3)
    assert judged(ByHand(), 2, 0, 1).saved is None  # nothing scores as high


def test_without_held_out_data_there_is_no_interval() -> None:
    point = judged(ByHand(heldout=False), 3, 0, 1, 2)
    assert point.gain == pytest.approx(-0.1)
    assert (point.gain_low, point.gain_high, point.heldout) == (None, None, None)


def test_nothing_found() -> None:
    point = judged(ByHand(), 3)
    assert (point.rival, point.gain, point.saved, point.dominated) == (None, None, None, False)


def test_equal_presets_are_evaluated_once_and_failures_left_out() -> None:
    problem = ByHand()
    told: list[tuple[int, int]] = []
    presets = evaluate_presets(problem, lambda done, total: told.append((done, total)))
    assert told == [(0, 3)]
    assert [p.names for p in presets] == [("p:3", "p:3"), ("p:4",)]
    assert problem.evaluated == [3, 4, 9]
    ordered = compare_presets(problem, presets, found(problem, 0))
    assert [p.names[0] for p in ordered] == ["p:4", "p:3"]  # cheapest first


# --- on a model

NAMES = ["fastv", "visionzip:64", "divprune", "pyramiddrop:default", "vtw"]
SIZES = {"search_size": 16, "heldout_size": 16}
EXACT = {**SIZES, "dtype": "float64"}
"""No near-ties: a score is equal or another configuration's."""


@pytest.fixture(scope="module", autouse=True)
def _float64() -> Iterator[None]:
    """Let models of these tests be loaded in float64, which no user's are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DTYPES, "float64", torch.float64)
        yield


@pytest.fixture(scope="module")
def with_presets() -> Comparison:
    problem = load_problem("mini-llava", presets=NAMES, **EXACT)
    return compare(problem, ["random"], budget=3, seeds=[0])


def test_presets_change_no_search_no_cost_and_no_rank(with_presets: Comparison) -> None:
    alone = compare(load_problem("mini-llava", **EXACT), ["random"], budget=3, seeds=[0])
    ours, theirs = with_presets.summary, alone.summary
    timed = {"seconds": 0.0, "executed": 0.0}  # what is shared depends on what is stored
    for field in ("standings", "studies"):
        for one, other in zip(getattr(ours, field), getattr(theirs, field), strict=True):
            update = timed | ({"evaluating": 0.0} if field == "studies" else {})
            assert one.model_copy(update=update) == other.model_copy(update=update)
    assert ours.front == theirs.front
    assert theirs.presets == []


def test_presets_are_evaluated_as_the_same_schedule_alone(with_presets: Comparison) -> None:
    from paretoprune.compression.score import score_schedule
    from paretoprune.pruning.operators import pruner_of

    by_name = {name: p for p in with_presets.summary.presets for name in p.names}
    for name in ("fastv:k=2,r=0.5", "visionzip:64", "pyramiddrop:default", "vtw:k=15"):
        preset = find_preset(name)
        scored = score_schedule(
            preset, pruner=pruner_of(preset), model="mini-llava", size=16, dtype="float64"
        )
        point = by_name[name]
        assert point.heldout is not None
        assert point.heldout["score"] == pytest.approx(scored.evaluation.objectives["score"])
        assert point.heldout["compute"] == pytest.approx(scored.evaluation.objectives["compute"])
        assert point.keep == list(scored.schedule.ratios)
        assert point.pruner == scored.pruner.name
        assert point.pruner_settings == scored.pruner.settings


def test_presets_that_meet_on_a_shallow_model_are_one(with_presets: Comparison) -> None:
    """Layers 2 and 3 of 32 are both layer 1 of 8."""
    names = [p.names for p in with_presets.summary.presets]
    assert ["fastv:k=2,r=0.5", "fastv:k=3,r=0.5"] in names
    assert len(names) == 6


def test_what_a_family_cannot_run_is_left_out_in_one_sentence() -> None:
    problem = load_problem("mini-qwen2.5-vl", presets="all", **SIZES)
    assert isinstance(problem, Compression)
    told = [note for note in problem.notes() if "presets" in note]
    assert len(told) == 1
    assert "visionzip:192, visionzip:128, visionzip:64 are left out" in told[0]
    assert "class token" in told[0]
    assert {p.name.split(":")[0] for p in problem.published()} == {
        "fastv", "pyramiddrop", "sparsevlm", "dart", "divprune", "cdpruner", "vtw"
    }  # fmt: skip
