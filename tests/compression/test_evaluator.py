"""Known outcomes: the same evaluations, charged alike, and nothing run twice."""

from dataclasses import replace

import numpy as np
import pytest

from paretoprune.compression.evaluator import KnownOutcomes
from paretoprune.compression.problem import Compression
from paretoprune.errors import BrokenFileError
from paretoprune.pruning.pruners.fastv import FastV
from paretoprune.techniques.tokens import Tokens
from paretoprune.testing.agreement import assert_same


@pytest.fixture(scope="module")
def problem(mini):
    return Compression(mini.adapter, mini.samples[:16], Tokens(FastV()))


def assert_all_same(found, plain):
    for one, other in zip(found, plain, strict=True):
        assert_same(one, other)
        assert one.detail == other.detail
        assert one.metrics == pytest.approx(other.metrics, rel=0.05, abs=1e-4)


def test_a_known_schedule_is_charged_and_not_run(problem, tmp_path):
    points = [
        problem.candidate({"layer": layer, "keep": 0.5}, space="single-step") for layer in (1, 3, 4)
    ]
    part = [replace(point, share=0.5) for point in points[:1]]
    plain = problem.evaluate(points) + problem.evaluate(part)
    problem.evaluator.known = KnownOutcomes()
    first = problem.evaluate(points[:2])
    assert len(problem.evaluator.known) == 2
    assert all(e.executed > 0 for e in first)
    again = problem.evaluate(points[:2]) + problem.evaluate(part)
    assert [e.executed for e in again] == [0.0] * 3
    assert_all_same(again, (*plain[:2], plain[3]))
    mixed = problem.evaluate(points)
    assert_all_same(mixed, plain[:3])
    problem.evaluator.known.save(tmp_path / "known.npz")
    problem.evaluator.known = KnownOutcomes()
    problem.evaluator.known.load(tmp_path / "known.npz", 16)
    assert_all_same(problem.evaluate(points), plain[:3])
    problem.evaluator.known = None


def test_a_part_of_the_samples_is_not_remembered_as_all(problem):
    problem.evaluator.known = KnownOutcomes()
    point = problem.candidate({"layer": 2, "keep": 0.5}, space="single-step")
    problem.evaluate([replace(point, share=0.5)])
    assert len(problem.evaluator.known) == 0
    problem.evaluator.known = None


def test_other_files_are_refused(tmp_path):
    known = KnownOutcomes()
    (tmp_path / "a.npz").write_bytes(b"nonsense")
    with pytest.raises(BrokenFileError, match="cannot read outcomes from"):
        known.load(tmp_path / "a.npz", 3)
    known.keep("x", (np.ones(3, np.float32), np.ones(3, np.float32), np.zeros(3, np.int64)))
    known.save(tmp_path / "b.npz")
    with pytest.raises(BrokenFileError, match="not of 4 samples"):
        KnownOutcomes().load(tmp_path / "b.npz", 4)
