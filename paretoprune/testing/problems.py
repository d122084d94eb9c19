"""The contract suite of problems."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from paretoprune.comparison.compare import compare
from paretoprune.core.capabilities import relative_outcomes
from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.errors import ParetopruneError
from paretoprune.testing import pytest
from paretoprune.testing.agreement import assert_same


class ProblemContract(ABC):
    """Subclass it, and define `make`: a fresh problem, always the same one."""

    points = 4
    """Random candidates per space that the suite evaluates."""
    budget = 12.0
    """Search cost of the comparison that the suite runs, in the problem's own units."""

    @abstractmethod
    def make(self) -> Problem:
        """The problem under test, small enough to evaluate some twenty candidates in seconds."""

    @pytest.fixture
    def problem(self) -> Problem:
        """The problem, made once per test."""
        return self.make()

    def candidates(self, problem: Problem, seed: int = 0) -> list[Candidate]:
        """`points` random candidates of each space."""
        rng = np.random.default_rng(seed)
        return [
            problem.candidate(space.sample(rng), name)
            for name, space in problem.spaces.items()
            for _ in range(self.points)
        ]

    def test_it_has_a_name_spaces_and_objectives(self, problem: Problem) -> None:
        """A name, one or more spaces, two or more objectives of different names."""
        assert problem.name
        assert problem.spaces
        names = [o.name for o in problem.objectives]
        assert len(set(names)) == len(names) >= 2

    def test_its_description_is_json(self, problem: Problem) -> None:
        """A description survives JSON, and a fresh problem gives the same."""
        description = problem.describe()
        assert json.loads(json.dumps(description, allow_nan=False)) == description
        assert description == self.make().describe()
        assert description["problem"] == problem.name

    def test_evaluations_are_of_the_candidates_in_order(self, problem: Problem) -> None:
        """One evaluation per candidate, in order, with every objective or a failure."""
        chosen = self.candidates(problem)
        evaluations = problem.evaluate(chosen)
        assert [e.candidate for e in evaluations] == chosen
        assert problem.evaluate([]) == []
        for evaluation in evaluations:
            if evaluation.failure is None:
                assert list(evaluation.objectives) == [o.name for o in problem.objectives]
                assert set(evaluation.standard_errors) <= set(evaluation.objectives)
                assert all(e >= 0 for e in evaluation.standard_errors.values())
            assert evaluation.seconds >= 0

    def test_the_price_is_known_before_and_charged(self, problem: Problem) -> None:
        """`price` is positive, and equals the cost of an evaluation."""
        for candidate in self.candidates(problem):
            price = problem.price(candidate)
            assert math.isfinite(price)
            assert price > 0
            (evaluation,) = problem.evaluate([candidate])
            assert evaluation.cost == pytest.approx(price)

    def test_evaluating_together_equals_one_by_one(self, problem: Problem) -> None:
        """Sharing work within a batch changes nothing."""
        chosen = self.candidates(problem)
        for evaluation in problem.evaluate([*chosen, chosen[0]]):
            (alone,) = problem.evaluate([evaluation.candidate])
            self.check_same(evaluation, alone)

    def test_a_fresh_problem_finds_the_same(self, problem: Problem) -> None:
        """Evaluations repeat."""
        chosen = self.candidates(problem, seed=1)
        for one, other in zip(problem.evaluate(chosen), self.make().evaluate(chosen), strict=True):
            self.check_same(one, other)

    def check_same(self, one: Evaluation, other: Evaluation) -> None:
        """Whether two evaluations of a candidate found the same; override for measured figures."""
        assert_same(one, other)

    def test_equal_identities_find_the_same(self, problem: Problem) -> None:
        """Candidates of one identity are the same configuration."""
        chosen = self.candidates(problem)
        first: dict[str, Evaluation] = {}
        for evaluation in problem.evaluate([*chosen, *chosen]):
            known = first.setdefault(problem.identity(evaluation.candidate), evaluation)
            self.check_same(known, evaluation)

    def test_points_outside_the_space_are_errors(self, problem: Problem) -> None:
        """Unknown knobs, missing ones and unknown spaces are user errors."""
        inside = self.candidates(problem)[0]
        for values in ({**inside.values, "no such knob": 1.0}, {}):
            with pytest.raises(ParetopruneError):
                problem.evaluate([replace(inside, values=values)])
        with pytest.raises(ParetopruneError):
            problem.evaluate([replace(inside, space="no such space")])

    def test_heldout_data_are_the_same_problem(self, problem: Problem) -> None:
        """Held-out data share spaces and objectives, and describe themselves apart."""
        heldout = problem.heldout
        if heldout is None:
            return
        assert heldout.spaces == problem.spaces
        assert [o.name for o in heldout.objectives] == [o.name for o in problem.objectives]
        assert heldout.describe() != problem.describe()
        chosen = self.candidates(problem)
        assert len(heldout.evaluate(chosen)) == len(chosen)

    def test_outcomes_average_to_the_maximised_objective(self, problem: Problem) -> None:
        """So that the held-out front area is of the objective."""
        for evaluation in problem.evaluate(self.candidates(problem)):
            if evaluation.outcomes is None:
                continue
            (quality,) = (o for o in problem.objectives if o.direction == "max")
            scale = quality.best - quality.reference
            relative = (evaluation.objectives[quality.name] - quality.reference) / scale
            mean = relative_outcomes(problem, evaluation.outcomes).mean()
            assert mean == pytest.approx(relative, abs=1e-5)

    def test_strategies_can_search_it(self, problem: Problem) -> None:
        """A comparison of two strategies ends with a front."""
        comparison = compare(problem, ["random", "nsga2"], budget=self.budget, seeds=[0])
        assert [row.evaluations > 0 for row in comparison.summary.studies] == [True, True]
        assert comparison.summary.front
