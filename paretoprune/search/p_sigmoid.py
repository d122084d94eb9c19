"""P-Sigmoid (arXiv 2412.00556): a sigmoid over layers, scaled to a budget and tuned within it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, GPSampler
from optuna.trial import Trial, TrialState

from paretoprune.core.problem import Candidate, Evaluation, Problem
from paretoprune.core.quiet import without_info
from paretoprune.core.strategy import SearchContext
from paretoprune.errors import InvalidValueError
from paretoprune.search.per_layer import Numbers, PerLayerStrategy, targets_of

MAX_SLOPE = 50.0
"""Largest slope per depth: in eight layers, a step between two of them."""
MAX_REPEATS = 8
"""Proposals that only repeat known schedules, after which a target is done."""


class PSigmoid(PerLayerStrategy):
    """Per compute target, Bayesian optimisation of a curve's centre and slope.

    Layer x, 0 at the first that may drop tokens and 1 at the last, keeps
    min(1, c sigmoid(-slope (x - centre))) of its tokens (Scenario II of the paper: the curve's
    shape is searched, its height given by the budget). The height c is the largest whose rounded
    schedule costs at most the target, so that only the score is left to optimise: a Gaussian
    process with expected improvement (Optuna's `GPSampler`) after `startup` random shapes, a study
    per target.

    `targets` is a number of evenly spaced ones, or the targets themselves. They take turns, one
    evaluation each. A shape that rounds to a schedule which has been evaluated learns from that,
    free of charge. Needs exactly one objective to raise; failed evaluations are passed over.
    """

    def __init__(self, targets: int | Numbers = 6, startup: int = 3) -> None:
        if startup < 1:
            raise InvalidValueError(f"P-Sigmoid needs 1 or more startup points, got {startup}")
        self.targets = targets_of(targets)
        self.startup = startup

    def start(self, problem: Problem, context: SearchContext) -> None:
        """Open a study in memory for each target."""
        super().start(problem, context)
        self._objective = self.quality()
        self.needs_prices()
        self.needs_budget(0.0)
        with without_info("optuna.storages._in_memory"):
            self._studies = [
                optuna.create_study(direction="maximize", sampler=self._sampler(i))
                for i in range(len(self.targets))
            ]
        self._exhausted: set[int] = set()
        self._turn = 0
        self._known: dict[str, float | None] = {}
        self._open: dict[str, list[tuple[int, Trial]]] = {}

    def ask(self, n: int) -> list[Candidate]:
        """The next shape of up to `n` targets, whose turn it is."""
        asked: list[Candidate] = []
        for _ in range(len(self.targets)):
            target = self._turn % len(self.targets)
            if target not in self._exhausted:
                candidate = self._propose(target)
                if candidate is not None:
                    asked.append(candidate)
            self._turn += 1
            if len(asked) == n:
                break
        return asked

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Tell the studies that wait for these schedules."""
        for evaluation in evaluations:
            identity = self.problem.identity(evaluation.candidate)
            failed = evaluation.failure is not None
            score = None if failed else evaluation.objectives[self._objective.name]
            self._known[identity] = score
            for target, trial in self._open.pop(identity, []):
                self._learn(target, trial, score)

    @property
    def finished(self) -> bool:
        """Whether no target has a new schedule to try."""
        return len(self._exhausted) == len(self.targets)

    def curve(self, centre: float, slope: float, target: float) -> Candidate:
        """The highest curve of this shape whose rounded schedule costs at most `target`."""
        depth = np.linspace(0.0, 1.0, len(self.knobs))
        shape: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, slope * (depth - centre)))
        dense = 1.0 / float(shape.min())  # at this height every layer keeps all
        return self.at_target(
            lambda height: self.schedule(height * shape), fits=0.0, exceeds=dense, target=target
        )

    def _propose(self, target: int) -> Candidate | None:
        """A schedule that is new; None where `MAX_REPEATS` shapes rounded to known ones."""
        study = self._studies[target]
        study.sampler = self._sampler(target)
        for _ in range(MAX_REPEATS):
            trial = study.ask()
            centre = trial.suggest_float("centre", 0.0, 1.0)
            slope = trial.suggest_float("slope", 1.0, MAX_SLOPE, log=True)
            candidate = self.curve(centre, slope, self.targets[target])
            identity = self.problem.identity(candidate)
            if identity in self._known:
                self._learn(target, trial, self._known[identity])
            elif identity in self._open:
                self._open[identity].append((target, trial))
            else:
                self._open[identity] = [(target, trial)]
                return candidate
        if not any(target == waiting for trials in self._open.values() for waiting, _ in trials):
            self._exhausted.add(target)
        return None

    def _learn(self, target: int, trial: Trial, score: float | None) -> None:
        if score is None:
            self._studies[target].tell(trial, state=TrialState.FAIL)
        else:
            self._studies[target].tell(trial, score)

    def _sampler(self, target: int) -> BaseSampler:
        """A fresh sampler for this ask: its state is in its study."""
        seed = (self.context.seed_of_ask() + target) % 2**31
        return GPSampler(seed=seed, n_startup_trials=self.startup)
