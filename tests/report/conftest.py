"""Summaries as a comparison writes them, made by hand: numbers are plausible, not measured."""

from itertools import combinations

import numpy as np
import pytest

from paretoprune.comparison.results import (
    FrontPoint,
    ObjectiveInfo,
    PairRow,
    Standing,
    StudyRow,
    Summary,
)

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
ENDING = "</script><script>alert(2)</script>"
HOSTILE = (SCRIPT, IMAGE, ENDING)
LAYERS = 8
LABELS = ("random", "grid:space=single-step", "pymoo-nsga2")

SCORE = ObjectiveInfo(
    name="score", direction="max", unit="relative score q", reference=0.0, best=1.0
)
COMPUTE = ObjectiveInfo(
    name="compute", direction="min", unit="relative compute u", reference=1.0, best=0.0
)
FAMILIES = (
    "hypervolume", "igd_plus", "epsilon", "hausdorff", "front_size", "evaluations", "cost",
    "executed", "seconds",
)  # fmt: skip


def schedule(rng, layers):
    """A non-increasing keep schedule on a lattice of 18 levels, first layer dense."""
    levels = np.sort(rng.integers(0, 19, size=layers))[::-1] / 18
    return [1.0, *levels[1:].tolist()]


def front_of(rng, label, seed, *, space, size, quality, heldout, layers, knobs):
    keeps = sorted((schedule(rng, layers) for _ in range(size)), key=np.mean)
    points = []
    for trial, keep in enumerate(keeps):
        compute = float(np.mean(keep))
        score = 1 - (1 - quality) * np.exp(-2.5 * compute) - 0.02 * rng.random()
        score = max(score - (1 - compute) ** 4, points[-1].search["score"] + 0.003 if points else 0)
        held = score - abs(rng.normal(0.012, 0.015))
        points.append(
            FrontPoint(
                label=label, seed=seed, trial=trial, space=space, knobs=knobs, keep=keep,
                search={"score": score, "compute": compute},
                search_error={"score": 0.021, "compute": 0.0},
                heldout={"score": held, "compute": compute} if heldout else None,
                heldout_error={"score": 0.015, "compute": 0.0} if heldout else {},
                metrics={"accuracy": 0.9 * score}, on_union=False,
                parts={"counting": 0.8 * score, "<b>digit</b>": 0.9 * score},
            )
        )  # fmt: skip
    return points


def on_union(point, front):
    def beats(other):
        better = [
            other.search["score"] - point.search["score"],
            point.search["compute"] - other.search["compute"],
        ]
        return min(better) >= 0 and max(better) > 0

    return not any(beats(other) for other in front)


def build(
    labels=LABELS, seeds=(0, 1), *, heldout=True, layers=LAYERS, size=9, problem=None, knobs=None
):
    """A whole summary; the first label is ranked first, the second is not separated from it."""
    rng = np.random.default_rng(0)
    studies, front, standings = [], [], []
    for rank, label in enumerate(labels, start=1):
        space = "single-step" if "single" in label else "multi-step"
        mine = seeds[:1] if label.startswith("grid") else seeds
        quality = 0.75 - 0.12 * rank
        for seed in mine:
            points = front_of(
                rng, label, seed, space=space, size=size + rank + seed, quality=quality,
                heldout=heldout, layers=layers, knobs=knobs or {"layer_1": 2, "keep_1": 0.125},
            )  # fmt: skip
            front += points
            cost = np.linspace(1.3, 15.9, 12)
            reached = (0.62 - 0.03 * rank + 0.01 * seed) * (1 - np.exp(-0.4 * cost))
            studies.append(
                StudyRow(
                    label=label, strategy=label.split(":")[0], space=space, seed=seed,
                    evaluations=60 + seed, failures=0, cost=15.9, executed=7.25, seconds=81.4,
                    evaluating=80.2, stopped="budget", front_size=len(points),
                    hypervolume=float(reached[-1]), igd_plus=0.01 * rank, epsilon=0.03 * rank,
                    hausdorff=0.02 * rank, heldout_area=0.7 - 0.03 * rank if heldout else None,
                    points=[list(p.search.values()) for p in points],
                    curve=list(zip(cost.tolist(), reached.tolist(), strict=True)),
                )
            )  # fmt: skip
        rows = [s for s in studies if s.label == label]
        standings.append(
            Standing(
                rank=rank, label=label, strategy=rows[0].strategy, space=space, seeds=list(mine),
                heldout_area=0.7123 - 0.03 * rank if heldout else None,
                area_low=0.6901 - 0.03 * rank if heldout else None,
                area_high=0.7313 - 0.03 * rank if heldout else None,
                separated=None if rank == 1 or not heldout else rank > 2,
                **{name: float(np.mean([getattr(r, name) for r in rows])) for name in FAMILIES},
            )
        )  # fmt: skip
    pairs = [
        PairRow(
            first=one, second=other, difference=0.03, low=0.01 - 0.02 * place, high=0.05,
            p_value=0.0004, adjusted=0.0012 if place == 0 else 0.08, effect_size=0.4,
            separated=place == 0,
        )
        for place, (one, other) in enumerate(combinations(labels, 2))
        if heldout
    ]  # fmt: skip
    described = problem or {
        "problem": "compression", "model": "mini-llava", "pruner": "fastv", "layers": layers,
        "samples": 256,
        "dense_parts": {"counting": 0.9, "<b>digit</b>": 1.0},
        "dense_score": 0.912, "blind_score": 0.313, "dense_gflops": 0.41,
    }  # fmt: skip
    return Summary(
        created="2026-01-02T03:04:05+00:00",
        versions={"paretoprune": "0.1.0", "numpy": "2.4.6"},
        settings={"budget": 16.0, "seeds": list(seeds), "batch": 8, "task": "minivqa"},
        problem=described,
        heldout_problem=described | {"samples": 512} if heldout else None,
        objectives=[SCORE, COMPUTE],
        standings=standings,
        studies=studies,
        pairs=pairs,
        front=[p.model_copy(update={"on_union": on_union(p, front)}) for p in front],
    )


@pytest.fixture
def summary():
    return build()


@pytest.fixture
def without_heldout():
    return build(heldout=False)


@pytest.fixture
def hostile():
    """Markup in every place that a stranger's file can put it."""
    problem = {
        "problem": SCRIPT,
        "model": ENDING,
        "pruner": IMAGE,
        IMAGE: SCRIPT,
        "dense_gflops": 1,
    }
    made = build(labels=HOSTILE, problem=problem, knobs={IMAGE: SCRIPT, SCRIPT: 0.5})
    objectives = [
        SCORE.model_copy(update={"unit": IMAGE}),
        COMPUTE.model_copy(update={"unit": ENDING}),
    ]
    return made.model_copy(
        update={
            "objectives": objectives,
            "settings": {SCRIPT: [IMAGE], "budget": 3},
            "versions": {"paretoprune": ENDING},
            "created": IMAGE,
            "front": [
                p.model_copy(update={"keep": None if p.seed else p.keep}) for p in made.front
            ],
        }
    )


@pytest.fixture
def empty():
    return build(labels=()).model_copy(update={"interrupted": True})


@pytest.fixture
def three_objectives(without_heldout):
    """A problem with a third objective, and no keep schedules."""
    memory = ObjectiveInfo(name="kv", direction="min", unit="MB", reference=9.0, best=0.0)
    front = [
        p.model_copy(update={"search": p.search | {"kv": 9 * p.search["compute"]}, "keep": None})
        for p in without_heldout.front
    ]
    return without_heldout.model_copy(
        update={"objectives": [*without_heldout.objectives, memory], "front": front}
    )
