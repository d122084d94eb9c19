"""The contract suite of search strategies: subclass `StrategyContract` as `TestX`."""

from __future__ import annotations

import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paretoprune.comparison.log import StudyLog, differences, projection
from paretoprune.core.problem import Candidate, Evaluation, Problem, costs_matrix
from paretoprune.core.space import SearchSpace, Value
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.core.study import StudyResult, run_study
from paretoprune.errors import UnsupportedError
from paretoprune.testing import pytest
from paretoprune.testing.toys import CONDITIONAL as CONDITIONAL
from paretoprune.testing.toys import CONTINUOUS as CONTINUOUS
from paretoprune.testing.toys import MIXED as MIXED
from paretoprune.testing.toys import STEPPED as STEPPED
from paretoprune.testing.toys import Flaky as Flaky
from paretoprune.testing.toys import Killed as Killed
from paretoprune.testing.toys import Mortal as Mortal
from paretoprune.testing.toys import Toy as Toy
from paretoprune.testing.toys import drive as drive
from paretoprune.testing.toys import rounds as rounds


class StrategyContract(ABC):
    """Contract of every strategy. Subclass it as `TestX` and define `make`.

    A strategy that searches one space only, a gradient strategy among them, also defines `problem`,
    one that has this space. A strategy with limits says so in the flags; `asks` and `n` set the
    length of the runs.
    """

    handles_continuous: bool = True
    """Whether it takes real knobs without a step."""
    handles_conditional: bool = True
    """Whether it takes conditional knobs."""
    asks: int = 8
    """Asks of one run: enough to get past random starting points."""
    n: int = 4
    """Candidates per ask."""
    patience: int = 50
    """Asks within which there must be at least one candidate."""
    budget_of_resumed: float | None = None
    """Budget of the study that is killed and resumed; None for one per candidate asked."""

    @abstractmethod
    def make(self) -> SearchStrategy:
        """Build a fresh, unstarted strategy, small enough to test."""

    def problem(self) -> Problem:
        """Build the problem of most tests; it must be the same at each call."""
        if self._particular:
            raise NotImplementedError(
                "the test of a strategy that searches one space only must define problem()"
            )
        knobs = MIXED.knobs if self.handles_conditional else STEPPED.knobs
        if not self.handles_continuous:
            knobs = tuple(k for k in knobs if k.size != float("inf"))
        return Toy(SearchSpace(knobs))

    def test_asks_valid_candidates_and_no_more_than_n(self) -> None:
        """Candidates belong to the searched space and lie on its lattice."""
        for n in (1, self.n):
            problem, strategy = self.problem(), self.make()
            for evaluations in rounds(strategy, problem, seed=0, asks=self.asks, n=n):
                assert len(evaluations) <= n
                for evaluation in evaluations:
                    _check(problem, strategy.space_name, evaluation.candidate)

    def test_searches_the_space_that_the_context_names(self) -> None:
        """A space other than the default one can be asked for, or is refused at the start."""
        strategy = self.make()
        if self._particular:
            problem = self.problem()
            own = strategy.own_spaces(problem)
            for name in problem.spaces:
                if own is not None and name not in own:
                    context = SearchContext(seed=0, budget=1000.0, space=name)
                    with pytest.raises(UnsupportedError, match="only"):
                        strategy.start(problem, context)
            return
        problem = self._black_box(STEPPED)
        evaluations = drive(strategy, problem, seed=0, asks=self.asks, n=self.n, space="small")
        assert evaluations
        for evaluation in evaluations:
            _check(problem, "small", evaluation.candidate)

    def test_same_seed_same_asks(self) -> None:
        """Two instances agree, whatever else draws from the global generators meanwhile."""
        self._agree(self.problem, self.problem)

    def test_same_seed_same_asks_after_failures(self) -> None:
        """They agree where evaluations fail, too."""
        self._agree(lambda: Flaky(self.problem()), lambda: Flaky(self.problem()))

    def _agree(self, one_problem: Callable[[], Problem], other: Callable[[], Problem]) -> None:
        first = rounds(self.make(), one_problem(), seed=3, asks=self.asks, n=self.n)
        second = rounds(self.make(), other(), seed=3, asks=self.asks, n=self.n)
        for one in first:
            random.seed(len(one))
            np.random.seed(len(one))
            assert _points(one) == _points(next(second, []))
        assert next(second, None) is None

    def test_different_seeds_differ(self) -> None:
        """The seed matters where it should, and only there."""
        runs = [
            drive(self.make(), self.problem(), seed=seed, asks=self.asks, n=self.n)
            for seed in (0, 1)
        ]
        assert (_points(runs[0]) != _points(runs[1])) == self.make().depends_on_seed

    def test_leaves_global_generators_alone(self) -> None:
        """The states of `random`, numpy's and torch's global generators stay as they were."""
        before = _global_states()
        drive(self.make(), self.problem(), seed=0, asks=self.asks, n=self.n)
        after = _global_states()
        changed = [name for name in before if before[name] != after[name]]
        assert not changed, f"the strategy drew from or seeded the global generators of {changed}"

    def test_tell_leaves_the_list_alone(self) -> None:
        """The caller's list is not changed, and not needed after the call."""
        strategy, problem = self.make(), self.problem()
        context = SearchContext(seed=0, budget=1000.0)
        strategy.start(problem, context)
        for _ in range(self.asks):
            if strategy.finished:
                break
            context.asks += 1
            evaluations = problem.evaluate(strategy.ask(self.n))
            argument = list(evaluations)
            strategy.tell(argument)
            assert len(argument) == len(evaluations)
            assert all(a is b for a, b in zip(argument, evaluations, strict=True))
            argument.clear()

    def test_one_that_says_it_learns_nothing_needs_no_answers(self) -> None:
        """Its asks are the same before any tell: workers may start on them."""
        if self.make().learns:
            pytest.skip("learns from evaluations")
        asked: list[list[str]] = []
        for tells in (True, False):
            problem, strategy = self.problem(), self.make()
            context = SearchContext(seed=3, budget=1e6)
            strategy.start(problem, context)
            asked.append([])
            for _ in range(self.asks):
                if strategy.finished:
                    break
                context.asks += 1
                found = strategy.ask(self.n)
                asked[-1] += [candidate.key for candidate in found]
                if tells:
                    strategy.tell(problem.evaluate(found))
        assert asked[0]
        assert asked[0] == asked[1]

    @pytest.mark.parametrize("period", [1, 2])
    def test_goes_on_after_failures(self, period: int) -> None:
        """Failed evaluations, even all of them, do not stop it or count as found."""
        problem = Flaky(self.problem(), period)
        batches = list(rounds(self.make(), problem, seed=0, asks=self.asks, n=self.n))
        assert sum(map(bool, batches)) >= 2, "it stopped asking once evaluations failed"

    def test_handles_stepped_knobs(self) -> None:
        """Int and stepped real knobs."""
        self._check_space(STEPPED)

    def test_handles_continuous_knobs(self) -> None:
        """Real knobs without a step."""
        if not self.handles_continuous:
            pytest.skip("handles no real knobs without a step")
        self._check_space(CONTINUOUS)

    def test_handles_conditional_knobs(self) -> None:
        """Categorical knobs, and knobs that only some of their values switch on."""
        if not self.handles_conditional:
            pytest.skip("handles no conditional knobs")
        self._check_space(CONDITIONAL)

    @pytest.mark.parametrize("count", [1, 3])
    def test_handles_or_refuses_other_numbers_of_objectives(self, count: int) -> None:
        """One and three objectives work, or `start` refuses those beyond its limits."""
        strategy = self.make()
        problem = Toy(STEPPED, objectives=count)
        most = strategy.max_objectives
        if count < strategy.min_objectives or (most is not None and most < count):
            with pytest.raises(UnsupportedError, match="objectives"):
                strategy.start(problem, SearchContext(seed=0, budget=1000.0))
            return
        if self._particular:
            pytest.skip("the toy problem has no space for it")
        assert drive(strategy, problem, seed=0, asks=self.asks, n=self.n)

    def test_refuses_a_black_box_if_it_needs_more(self) -> None:
        """A strategy that needs gradients or a space of its own says so before it spends."""
        strategy = self.make()
        if not self._particular:
            pytest.skip("searches any problem")
        context = SearchContext(seed=0, budget=1000.0)
        with pytest.raises(UnsupportedError) as caught:
            strategy.start(Toy(STEPPED), context)
        assert "\n" not in str(caught.value)
        assert context.spent == 0

    def test_asks_something_in_the_end(self) -> None:
        """An ask may come back empty, but not for ever."""
        for batch in rounds(self.make(), self.problem(), seed=0, asks=self.patience, n=self.n):
            if batch:
                return
        pytest.fail(f"no candidate within {self.patience} asks")

    def test_finds_a_front(self) -> None:
        """Some point beats the reference values: hypervolume is above zero."""
        problem = self.problem()
        found = drive(self.make(), problem, seed=0, asks=self.asks, n=self.n)
        costs = costs_matrix([e for e in found if e.failure is None], problem.objectives)
        worst = [o.reference * (-1 if o.direction == "max" else 1) for o in problem.objectives]
        assert (costs < np.array(worst)).all(axis=1).any()

    def test_stays_within_the_budget(self) -> None:
        """Work of its own is charged to the context, which says when it is too much."""
        strategy, problem = self.make(), self.problem()
        list(rounds(strategy, problem, seed=0, asks=self.asks, n=self.n, budget=5.0))
        assert strategy.context.spent <= 5.0 + 1e-6

    def test_a_killed_study_resumes_as_if_left_alone(self, tmp_path: Path) -> None:
        """Killed before, in and after every ask, it ends with the log of an undisturbed study."""
        problem = Mortal(self.problem())
        settings = {"seed": 5, "budget": self.budget_of_resumed or float(self.n * self.asks)}

        def play(name: str, asks: int | None = None) -> StudyResult:
            """Run a study, or go on with it, and die after some asks."""
            done = 0

            def observe(_: StudyResult) -> None:
                nonlocal done
                done += 1
                if done == asks:
                    raise Killed

            return run_study(
                problem, self.make(), seed=5, budget=settings["budget"], batch=self.n,
                observe=observe, recorder=log.study(name, problem, settings, resume=True),
            )  # fmt: skip

        with StudyLog(tmp_path) as log:
            whole = play("left alone")
            assert problem.evaluated == len(whole.evaluations) > 0
            kills = 0
            for life in range(1000):
                # in the next evaluation, then some asks later, every time more
                problem.lives = 0 if life % 2 == 0 else None
                try:
                    resumed = play("killed", asks=life + 1)
                    break
                except Killed:
                    kills += 1
            again = play("killed")
        assert kills >= 2
        found = projection(tmp_path)
        assert not differences(found["left alone"], found["killed"])
        assert problem.evaluated == 2 * len(whole.evaluations), "an evaluation was repeated"
        for one in (resumed, again):
            assert _points(one.evaluations) == _points(whole.evaluations)
            assert one.spent_at == whole.spent_at
            assert (one.spent, one.stopped) == (whole.spent, whole.stopped)

    def test_replay_continues_identically(self) -> None:
        """A fresh instance, fed the recorded tells, asks the same again and then the same next."""
        played = list(rounds(self.make(), self.problem(), seed=5, asks=self.asks, n=self.n))
        strategy, problem = self.make(), self.problem()
        context = SearchContext(seed=5, budget=1000.0)
        strategy.start(problem, context)
        for number, evaluations in enumerate(played):
            context.asks += 1
            assert _values(strategy.ask(self.n)) == _points(evaluations), f"ask {number} differs"
            for evaluation in evaluations:
                context.charge(problem.price(evaluation.candidate))
            strategy.tell(evaluations)

    @property
    def _particular(self) -> bool:
        """Whether it searches one space only, which the toy problem lacks."""
        strategy = self.make()
        return strategy.requires_gradient or strategy.only_space is not None

    def _black_box(self, space: SearchSpace) -> Problem:
        if self._particular:
            pytest.skip("the toy problem has no space for it")
        return Toy(space)

    def _check_space(self, space: SearchSpace) -> None:
        problem = self._black_box(space)
        evaluations = drive(self.make(), problem, seed=0, asks=self.asks, n=self.n)
        assert evaluations
        for evaluation in evaluations:
            _check(problem, "toy", evaluation.candidate)


def _check(problem: Problem, space: str, candidate: Candidate) -> None:
    if candidate.policy is None:  # a policy is no point of a space
        assert candidate.space == space
        assert dict(candidate.values) == problem.space(space).validate(candidate.values)


def _values(candidates: Sequence[Candidate]) -> list[tuple[str, dict[str, Value]]]:
    """Return values to compare between instances: policies by the name of their content."""
    return [
        (c.space, dict(c.values) | ({} if c.policy is None else {"policy": c.policy.key}))
        for c in candidates
    ]


def _points(evaluations: Sequence[Evaluation]) -> list[tuple[str, dict[str, Value]]]:
    return _values([e.candidate for e in evaluations])


def _global_states() -> dict[str, Any]:
    _, keys, *rest = np.random.get_state()
    states: dict[str, Any] = {"random": random.getstate(), "numpy": (list(keys), rest)}
    torch = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = torch.get_rng_state().tolist()
    return states
