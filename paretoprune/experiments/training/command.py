"""`paretoprune train`: a progress bar, the log, and held-out accuracies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from paretoprune.errors import UnknownNameError
from paretoprune.experiments.training.train import LESSONS, Recipe, train
from paretoprune.files import write_json
from paretoprune.zoo.catalogue import ACCURACIES, WEIGHTS

LOG = "training_log.jsonl"


def train_and_report(
    console: Console,
    name: str,
    *,
    out: Path | None,
    steps: int | None,
    seed: int,
    heldout_size: int,
) -> dict[str, Any]:
    """Train mini-model `name`; write weights, log and held-out accuracies; return the latter.

    Ctrl-C stops it; the same command goes on from the last checkpoint.
    """
    if name not in LESSONS:
        raise UnknownNameError("mini-model", name, LESSONS)
    folder = out or WEIGHTS / name
    folder.mkdir(parents=True, exist_ok=True)
    lesson = LESSONS[name]
    recipe = Recipe(steps=steps or lesson.steps, seed=seed)
    with Progress(
        TextColumn("training {task.fields[name]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        bar = progress.add_task("train", total=recipe.steps, name=name, loss=float("nan"))

        def on_step(step: int, loss: float) -> None:
            progress.update(bar, completed=step, loss=loss)

        def on_report(figures: dict[str, Any]) -> None:
            with (folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(figures) + "\n")

        train(name, recipe, folder, on_report, on_step)
    accuracies = measure(folder, heldout_size, lesson.task)
    write_json(folder / ACCURACIES, accuracies)
    console.print(
        f"{name}: held-out exact match {accuracies['overall']:.3f} on {heldout_size} samples"
    )
    for family, value in accuracies["families"].items():
        console.print(f"  {family:10} {value:.3f}")
    console.print(
        f"  text-only (no visual token) {accuracies['blind']:.3f}; pictures swapped "
        f"{accuracies['swapped']:.3f}, by majority answers {accuracies['majority']:.3f}"
    )
    console.print(f"written to {folder}")
    return accuracies


def measure(folder: Path, size: int, task: str = "minivqa") -> dict[str, Any]:
    """Held-out accuracies of a checkpoint directory: dense, per family, and the controls.

    `swapped` gives every question the picture of another sample; `majority` is the best constant
    answer per family on the same samples; `dropped_after_first` keeps visual tokens in layer 0
    only.
    """
    from collections import Counter
    from dataclasses import replace

    import numpy as np

    from paretoprune.compression.configuration import exact_candidate
    from paretoprune.compression.problem import Compression
    from paretoprune.compression.samples import family_scores
    from paretoprune.pruning.pruners.fastv import FastV
    from paretoprune.registry import tasks
    from paretoprune.schedules import KeepSchedule
    from paretoprune.tasks.base import size_of
    from paretoprune.techniques.tokens import Tokens
    from paretoprune.zoo.load import load_adapter

    adapter = load_adapter(str(folder))
    samples = tasks.load(task)("heldout", size)
    problem = Compression(adapter, samples, Tokens(FastV()))
    layers = adapter.spec.layers
    first_only = KeepSchedule((1.0, *[0.0] * (layers - 1)))
    (dropped,) = problem.evaluate([exact_candidate(first_only)])
    # a near sample that asks the same kind of question of a picture of the same size lends its own
    turn = len({s.family for s in samples}) * len({size_of(s.image) for s in samples})
    borrowed = [
        replace(sample, image=samples[(i + turn) % size].image) for i, sample in enumerate(samples)
    ]
    swapped = Compression(adapter, borrowed, Tokens(FastV()), allow_no_tradeoff=True)
    answers: dict[str, Counter[str]] = {}
    for sample in samples:
        answers.setdefault(sample.family, Counter())[sample.answer] += 1
    majority = sum(c.most_common(1)[0][1] for c in answers.values()) / size
    return {
        "task": task,
        "samples": size,
        "overall": round(problem.dense_score, 4),
        "families": {
            k: round(v, 4) for k, v in family_scores(samples, problem.dense_outcomes).items()
        },
        "blind": round(problem.text_only_score, 4),
        "dropped_after_first": round(float(np.mean(dropped.outcomes)), 4)
        if dropped.outcomes is not None
        else None,
        "swapped": round(swapped.dense_score, 4),
        "swapped_families": {
            k: round(v, 4) for k, v in family_scores(borrowed, swapped.dense_outcomes).items()
        },
        "majority": round(majority, 4),
    }
