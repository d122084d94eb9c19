"""Searches and exhaustive grids, each run once and kept on disk: an interruption loses one run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import Field

from paretoprune import frontier
from paretoprune.comparison.compare import compare
from paretoprune.comparison.gap import gap_point
from paretoprune.comparison.ranking import Study, heldout_areas
from paretoprune.comparison.reference import reference_front
from paretoprune.compression.load import load_problem
from paretoprune.compression.problem import Compression
from paretoprune.core.problem import Evaluation, default_space
from paretoprune.core.study import StudyResult
from paretoprune.errors import InvalidValueError
from paretoprune.files import StoredModel, read_stored, write_stored
from paretoprune.search.gradient.options import LagrangianOptions
from paretoprune.search.specs import StrategySpec

SCALE_NAME = "scale.json"
RUNS = "runs"


class Scale(StoredModel):
    """Models, pruners, kernels and seeds, and the size of every search.

    `budget` is in dense-pass equivalents; `grid` names the exhaustive reference. Pruners and
    kernels beyond the first are searched on the first model alone.
    """

    name: Literal["full", "quick"]
    models: tuple[str, ...]
    pruners: tuple[str, ...]
    kernels: tuple[str, ...]
    seeds: tuple[int, ...]
    rivals: tuple[str, ...]
    search_size: int
    heldout_size: int
    budget: float
    grid: str


MODELS = ("mini-llava", "mini-qwen2.5-vl", "mini-internvl")
FULL = Scale(
    name="full",
    models=MODELS,
    pruners=("fastv", "pyramiddrop", "fitprune", "fastervlm", "divprune", "random"),
    kernels=("single-step", "multi-step", "three-step", "linear", "cosine", "sigmoid", "free"),
    seeds=(0, 1, 2, 3, 4),
    rivals=("random", "tpe", "nsga2"),
    search_size=256,
    heldout_size=512,
    budget=20.0,
    grid="grid:medium",
)
QUICK = Scale(
    name="quick",
    models=MODELS[:1],
    pruners=("fastv", "random"),
    kernels=("single-step", "multi-step", "free"),
    seeds=(0, 1),
    rivals=("random",),
    search_size=48,
    heldout_size=96,
    budget=8.0,
    grid="grid:coarse",
)


class Point(StoredModel):
    """One configuration of a front: keep ratios, score q and compute u on both splits.

    `parts` is the held-out accuracy per question family; `soft_*` what a gradient search believed
    before rounding (None for others).
    """

    keep: list[float]
    score: float
    compute: float
    heldout_score: float
    heldout_compute: float
    parts: dict[str, float]
    soft_score: float | None = None
    soft_compute: float | None = None


class CachedRun(StoredModel):
    """One front: of a search with one seed, or of a whole grid.

    `area` is what each held-out sample contributes to the held-out front area; `hypervolume` is on
    the search split; `cost` in dense-pass equivalents; `families` holds, of the first grid, the
    front that each question family alone would choose on the search split.
    """

    model: str
    pruner: str
    strategy: str
    seed: int
    points: list[Point]
    area: list[float]
    hypervolume: float
    cost: float
    families: dict[str, list[Point]] = Field(default={})

    @property
    def costs(self) -> NDArray[np.float64]:
        """The front on the search split, `[points, 2]`: 1 - score and compute, clipped to 0..1."""
        rows = [[1.0 - p.score, p.compute] for p in self.points]
        return np.clip(np.asarray(rows, dtype=np.float64), 0.0, 1.0)


class CachedRuns:
    """All runs of one reproduction, in `folder`.

    Raises `InvalidValueError` where the folder holds a reproduction of another scale, and
    `BrokenFileError` where a file cannot be read or written.
    """

    def __init__(
        self, folder: Path, scale: Scale, observe: Callable[[str], None] | None = None
    ) -> None:
        self.folder, self.scale = folder, scale
        self._observe = observe or (lambda _: None)
        self._problem = lru_cache(maxsize=1)(self._load)
        _check_scale(folder, scale)

    def search(self, strategy: str, seed: int, *, model: str = "", pruner: str = "") -> CachedRun:
        """The front of one study; by default on the scale's first model and pruner."""
        model, pruner = model or self.scale.models[0], pruner or self.scale.pruners[0]
        if strategy == f"gradient:kernel={LagrangianOptions.kernel}":
            strategy = "gradient"  # its default: the same search
        name = f"{strategy} seed={seed} {pruner} {model}"
        return self._once(name, lambda: self._search(model, pruner, strategy, seed))

    def searches(self, strategy: str, *, model: str = "", pruner: str = "") -> list[CachedRun]:
        """The same with every seed of the scale."""
        return [self.search(strategy, s, model=model, pruner=pruner) for s in self.scale.seeds]

    def grid(self, *, model: str = "", pruner: str = "") -> CachedRun:
        """The front of the scale's exhaustive grid."""
        model, pruner = model or self.scale.models[0], pruner or self.scale.pruners[0]
        name = f"{self.scale.grid} {pruner} {model}"
        return self._once(name, lambda: self._grid(model, pruner))

    def score(self, points: list[Point], *, model: str, pruner: str = "") -> list[Point]:
        """Schedules that were found elsewhere, scored on both splits of a model."""
        pruner = pruner or self.scale.pruners[0]
        keeps = [p.keep for p in points]
        digest = hashlib.sha256(json.dumps(keeps).encode()).hexdigest()[:12]

        def run() -> CachedRun:
            from paretoprune.compression.configuration import exact_candidate
            from paretoprune.schedules import KeepSchedule

            problem = self._problem(model, pruner)
            evaluations = problem.evaluate([exact_candidate(KeepSchedule(tuple(k))) for k in keeps])
            study = _study(problem, "transferred", evaluations, list(range(len(evaluations))))
            return _run_of(problem, study, model, pruner, "transferred", 0)

        return self._once(f"transferred {digest} {pruner} {model}", run).points

    def _once(self, name: str, run: Callable[[], CachedRun]) -> CachedRun:
        safe = "".join(c if c.isalnum() or c in "-=." else "_" for c in name)
        file = self.folder / RUNS / f"{safe}.json"
        if file.exists():
            return read_stored(file, "run of a reproduction", CachedRun)
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.parent / f".{safe}.lock"):  # another shard may be at it: wait, then read
            if file.exists():
                return read_stored(file, "run of a reproduction", CachedRun)
            self._observe(name)
            made = run()
            write_stored(file, made, indent=None)
        return made

    def _load(self, model: str, pruner: str) -> Compression:
        return load_problem(
            model, pruner=pruner,
            search_size=self.scale.search_size, heldout_size=self.scale.heldout_size,
        )  # fmt: skip

    def _search(self, model: str, pruner: str, strategy: str, seed: int) -> CachedRun:
        problem = self._problem(model, pruner)
        found = compare(problem, [strategy], budget=self.scale.budget, seeds=[seed])
        if found.summary.interrupted:
            raise KeyboardInterrupt  # half of a search is not kept
        (study,) = found.studies
        return _run_of(problem, study, model, pruner, strategy, seed)

    def _grid(self, model: str, pruner: str) -> CachedRun:
        problem = self._problem(model, pruner)
        reference = reference_front(problem, self.scale.grid)
        evaluations = reference.evaluations
        study = _study(problem, "grid", evaluations, reference.front)
        run = _run_of(problem, study, model, pruner, self.scale.grid, 0)
        if (model, pruner) != (self.scale.models[0], self.scale.pruners[0]):
            return run  # families are asked of the first of each alone
        fronts = _family_fronts(problem, evaluations)
        union = sorted({place for front in fronts.values() for place in front})
        # evaluated at once, so that they share prefixes
        study = _study(problem, "grid", evaluations, union)
        points = dict(zip(union, _points_as_listed(problem, study), strict=True))
        families = {
            family: _by_cost([points[place] for place in front]) for family, front in fronts.items()
        }
        return run.model_copy(update={"families": families})


def _check_scale(folder: Path, scale: Scale) -> None:
    file = folder / SCALE_NAME
    if not file.exists():
        write_stored(file, scale)
        return
    stored = read_stored(file, "scale of a reproduction", Scale)
    differing = [
        f"{name} {getattr(stored, name)!r} instead of {getattr(scale, name)!r}"
        for name in Scale.model_fields
        if getattr(stored, name) != getattr(scale, name)
    ]
    if differing:
        raise InvalidValueError(
            f"{folder} holds a reproduction of another scale ({'; '.join(differing)}); name "
            "another folder"
        )


def _study(
    problem: Compression, name: str, evaluations: list[Evaluation], front: list[int]
) -> Study:
    """Configurations that no search chose, judged like a study."""
    assert problem.heldout is not None
    strategy = StrategySpec.parse("grid" if name == "grid" else "random")
    heldout = problem.heldout.evaluate([evaluations[i].candidate for i in front])
    result = StudyResult(0, evaluations=evaluations, spent=sum(e.cost for e in evaluations))
    return Study(strategy, default_space(problem), result, front=front, heldout=heldout)


def _family_fronts(problem: Compression, evaluations: list[Evaluation]) -> dict[str, list[int]]:
    """By question family, the configurations that its samples alone do not find dominated."""
    found: dict[str, list[int]] = {}
    scores = [dict(problem.parts(e.outcomes)) for e in evaluations if e.outcomes is not None]
    compute = np.array([e.objectives["compute"] for e in evaluations])
    for family in scores[0]:
        costs = np.stack([1.0 - np.array([s[family] for s in scores]), compute], axis=1)
        order = frontier.nondominated(costs)
        found[family] = [int(i) for i in order]
    return found


def _run_of(
    problem: Compression, study: Study, model: str, pruner: str, strategy: str, seed: int
) -> CachedRun:
    area = heldout_areas(problem, study)
    assert area is not None
    points = _points(problem, study)
    made = CachedRun(
        model=model, pruner=pruner, strategy=strategy, seed=seed, points=points,
        area=area.tolist(), hypervolume=0.0, cost=study.result.spent,
    )  # fmt: skip
    return made.model_copy(update={"hypervolume": frontier.hypervolume(made.costs)})


def _points(problem: Compression, study: Study) -> list[Point]:
    return _by_cost(_points_as_listed(problem, study))


def _by_cost(points: list[Point]) -> list[Point]:
    return sorted(points, key=lambda p: p.compute)


def _points_as_listed(problem: Compression, study: Study) -> list[Point]:
    assert problem.heldout is not None
    assert study.heldout is not None
    points = []
    for place, held in zip(study.front, study.heldout, strict=True):
        evaluation = study.evaluations[place]
        assert held.outcomes is not None
        soft = None
        if "keep" in (evaluation.candidate.relaxed or {}):
            soft = gap_point(problem, evaluation, place).soft
        points.append(
            Point(
                keep=list(evaluation.detail["keep"]),
                score=evaluation.objectives["score"],
                compute=evaluation.objectives["compute"],
                heldout_score=held.objectives["score"],
                heldout_compute=held.objectives["compute"],
                parts=dict(problem.heldout.parts(held.outcomes)),
                soft_score=None if soft is None else soft.score,
                soft_compute=None if soft is None else soft.compute,
            )
        )
    return points
