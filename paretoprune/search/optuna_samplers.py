"""Optuna's samplers as strategies: one base class, and a few lines per sampler.

Optuna's other samplers are left out: `CmaEsSampler` takes one objective; `GridSampler`,
`BruteForceSampler` and `RandomSampler` are `grid` and `random`, which know budget and lattice;
`PartialFixedSampler` chooses nothing itself.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    TPESampler,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.quiet import without_info
from paretoprune.core.space import Categorical, Int, Knob, Value
from paretoprune.core.strategy import SearchContext, SearchStrategy
from paretoprune.errors import InvalidValueError, UnknownNameError
from paretoprune.search.reference_directions import max_divisions

_DIRECTIONS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}


class OptunaStrategy(SearchStrategy):
    """A strategy around an Optuna sampler, which works on a study in memory.

    A subclass defines `sampler`. It is called once per ask, with that ask's seed, so that replayed
    asks and tells lead to the same state: whatever a sampler remembers must be in its trials.
    """

    carries_inactive: ClassVar[bool] = False
    """Whether inactive conditional knobs are suggested too, as genes to inherit."""

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """Build a fresh sampler."""

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem and open the study in memory."""
        super().start(problem, context)
        self._space = problem.space(self.space_name)
        self._open: deque[tuple[Candidate, optuna.Trial]] = deque()
        with without_info("optuna.storages._in_memory"):
            self._study = optuna.create_study(
                directions=[_DIRECTIONS[o.direction] for o in problem.objectives],
                sampler=self.sampler(context.seed_of_ask()),
            )

    def ask(self, n: int) -> list[Candidate]:
        """Propose `n` points; the sampler sees those without an evaluation as running trials."""
        self._study.sampler = self.sampler(self.context.seed_of_ask())
        asked: list[Candidate] = []
        for _ in range(n):
            trial = self._study.ask()
            candidate = self.point(self._suggest(trial))
            self._open.append((candidate, trial))
            asked.append(candidate)
        return asked

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Report values; failed evaluations become failed trials, which samplers pass over."""
        for evaluation in evaluations:
            if not self._open or self._open[0][0].key != evaluation.candidate.key:
                raise InvalidValueError(
                    "tell takes evaluations in the order in which their candidates were asked, got "
                    f"{dict(evaluation.candidate.values)!r}"
                )
            _, trial = self._open.popleft()
            if evaluation.failure is None:
                values = [evaluation.objectives[o.name] for o in self.problem.objectives]
                self._study.tell(trial, values)
            else:
                self._study.tell(trial, state=TrialState.FAIL)

    def know(self, evaluations: Sequence[Evaluation]) -> None:
        """Add evaluated points of this space as finished trials, which count as startup points."""
        for evaluation in evaluations:
            knobs = {k.name: k for k in self._space.knobs if k.name in evaluation.candidate.values}
            self._study.add_trial(
                optuna.create_trial(
                    values=[evaluation.objectives[o.name] for o in self.problem.objectives],
                    params={n: _param(k, evaluation.candidate.values[n]) for n, k in knobs.items()},
                    distributions={name: _distribution(knob) for name, knob in knobs.items()},
                )
            )

    def _suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        chosen: dict[str, Value] = {}
        for knob in self._space.knobs:
            if self.carries_inactive or knob in self._space.active(chosen):
                chosen[knob.name] = _suggest(trial, knob)
        return chosen


class TPE(OptunaStrategy):
    """Tree-structured Parzen estimator (MOTPE, doi:10.1613/jair.1.13188, with many objectives).

    `startup` points are random. Points without an evaluation count as bad ones (constant liar),
    so a batch spreads out. Knobs are modelled one by one when there are several objectives, which
    is Optuna's default.
    """

    def __init__(self, startup: int = 10) -> None:
        if startup < 1:
            raise InvalidValueError(f"TPE needs 1 or more startup points, got {startup}")
        self.startup = startup

    def sampler(self, seed: int) -> BaseSampler:
        """Build a fresh TPE sampler."""
        return TPESampler(seed=seed, n_startup_trials=self.startup, constant_liar=True)


class NSGAII(OptunaStrategy):
    """Optuna's NSGA-II (doi:10.1109/4235.996017).

    The default `population` suits budgets of a hundred evaluations or so (Optuna's own is 50).
    A generation ends when that many trials have *succeeded*: failed ones are replaced, and asks
    made before the last tell still belong to the generation they were asked in. Optuna inherits
    only knobs that every trial has, hence inactive ones are carried along.
    """

    carries_inactive = True

    def __init__(self, population: int = 16) -> None:
        if population < 2:
            raise InvalidValueError(f"NSGA-II needs a population of 2 or more, got {population}")
        self.population = population

    def sampler(self, seed: int) -> BaseSampler:
        """Build a fresh NSGA-II sampler; its generations are in the study."""
        return NSGAIISampler(seed=seed, population_size=self.population)


class NSGAIII(OptunaStrategy):
    """Optuna's NSGA-III (doi:10.1109/TEVC.2013.2281535), for two objectives or more.

    Niches replace NSGA-II's crowding distance: reference directions spread evenly over the
    objectives, as many as the population holds. Generations are NSGA-II's.
    """

    carries_inactive = True
    min_objectives: ClassVar[int] = 2

    def __init__(self, population: int = 16) -> None:
        if population < 2:
            raise InvalidValueError(f"NSGA-III needs a population of 2 or more, got {population}")
        self.population = population

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Bind to a problem whose objectives are no more than the population."""
        self._divisions = max_divisions(max(2, len(problem.objectives)), self.population)
        super().start(problem, context)

    def sampler(self, seed: int) -> BaseSampler:
        """Build a fresh NSGA-III sampler; its generations are in the study."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return NSGAIIISampler(
                seed=seed, population_size=self.population, dividing_parameter=self._divisions
            )


class GP(OptunaStrategy):
    """Gaussian processes, one per objective, and expected hypervolume improvement (Optuna's).

    After `startup` random points. Points without an evaluation are integrated over, so a batch
    spreads out. Kernels are fitted anew in every ask, from nothing, so that a replay finds the
    same. Inactive conditional knobs are suggested, too: the process then models one space, in which
    they make no difference. With one objective it is expected improvement.
    """

    carries_inactive = True

    def __init__(self, startup: int = 10) -> None:
        if startup < 1:
            raise InvalidValueError(f"GP needs 1 or more startup points, got {startup}")
        self.startup = startup

    def sampler(self, seed: int) -> BaseSampler:
        """Build a fresh GP sampler."""
        return GPSampler(seed=seed, n_startup_trials=self.startup, warn_independent_sampling=False)


class QMC(OptunaStrategy):
    """A scrambled low-discrepancy sequence over the unit cube; learns nothing.

    `sequence` is `sobol` or `halton`. All asks of a study go along one sequence from its first
    point on, scrambled by the study's seed; the place is kept in the Optuna study, so neither a
    batch nor a failure nor a replay moves it. Inactive conditional knobs have a coordinate, too.
    """

    carries_inactive = True

    def __init__(self, sequence: str = "sobol") -> None:
        if sequence not in ("sobol", "halton"):
            raise UnknownNameError("sequence", sequence, ("sobol", "halton"))
        self.sequence = sequence

    def sampler(self, seed: int) -> BaseSampler:
        """Build a fresh sampler of this study's one sequence: the ask's own seed plays no part."""
        knobs = {k.name: _distribution(k) for k in self._space.knobs if k.size > 1}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return _WholeSpaceQMC(
                knobs, qmc_type=self.sequence, scramble=True, seed=self.context.seed
            )


class _WholeSpaceQMC(QMCSampler):
    """Knows the space from the start: Optuna's own learns it from a first, random trial."""

    def __init__(self, space: dict[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self._whole = space

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._whole


def _distribution(knob: Knob) -> BaseDistribution:
    """A knob as Optuna's distribution; a stepped real one is the index of its value.

    An index is exact: `suggest_float(name, 0, 1, step=1 / 3)` ends at 0.9999999999999999.
    """
    if isinstance(knob, Categorical):
        return CategoricalDistribution(knob.choices)
    if isinstance(knob, Int):
        return IntDistribution(knob.low, knob.high)
    if knob.step is None:
        return FloatDistribution(knob.low, knob.high)
    return IntDistribution(0, int(knob.size) - 1)


def _param(knob: Knob, value: Value) -> Value:
    """A knob's value as its distribution has it: a stepped real one by index."""
    if isinstance(knob, (Categorical, Int)) or knob.step is None:
        return value
    return round((float(value) - knob.low) / knob.step)


def _suggest(trial: optuna.Trial, knob: Knob) -> Value:
    """Suggest a knob."""
    if isinstance(knob, Categorical):
        return trial.suggest_categorical(knob.name, knob.choices)
    if isinstance(knob, Int):
        return trial.suggest_int(knob.name, knob.low, knob.high)
    if knob.step is None:
        return trial.suggest_float(knob.name, knob.low, knob.high)
    return knob.at(trial.suggest_int(knob.name, 0, int(knob.size) - 1))
