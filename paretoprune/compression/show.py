"""Builds the record that `paretoprune show` draws, from names and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paretoprune.adapters.extras import lacking
from paretoprune.compression.kept import Example
from paretoprune.compression.kept_tokens import DEFAULT_NEW_TOKENS, Question, Wanted, kept_tokens
from paretoprune.compression.load import DEFAULT_MODEL
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import Operators, pruner_of
from paretoprune.schedules import KeepSchedule
from paretoprune.schedules.presets import find_presets
from paretoprune.schedules.written import parse_schedule
from paretoprune.tasks.load import load_task, nth_sample
from paretoprune.tasks.picture import read_picture
from paretoprune.zoo.catalogue import default_task
from paretoprune.zoo.load import load_adapter

DEFAULT_SCHEDULE = "keep=0.25,layer=2"
DEFAULT_PRUNER = "fastv"


def show_schedule(
    schedule: str | None = None,
    *,
    presets: Sequence[str] = (),
    ranking: Sequence[str] = (),
    images: Sequence[Path] = (),
    question: str | None = None,
    sample: int = 0,
    model: str = DEFAULT_MODEL,
    task: str | None = None,
    data: str | None = None,
    data_seed: int = 0,
    new_tokens: int = DEFAULT_NEW_TOKENS,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str = "auto",
    trust_remote_code: bool = False,
    per_picture: bool | None = None,
) -> Example:
    """Visual tokens of one question that `schedule` keeps, with each pruner of `ranking`.

    The question is about `images`, or about held-out sample number `sample` of a task, whose own
    question is the default. `schedule` is written as `schedules.written` says; without a `ranking`,
    the pruner of a schedule file is used, else FastV. `presets` are shown in addition, or alone
    unless a `schedule` or a `ranking` is given, each with its own pruner. With `per_picture`, by
    default as the schedule file says, each picture keeps a token where a ratio is above 0. Raises a
    `ParetopruneError` for arguments that do not fit.
    """
    published = find_presets(presets) if presets else []
    rankers = {preset.name: pruner_of(preset) for preset in published}
    written = parse_schedule(DEFAULT_SCHEDULE if schedule is None else schedule)
    alone = bool(published) and schedule is None and not ranking
    named = [Operators.of(name) for name in ranking]  # mistakes show before the model loads
    operators = (
        []
        if alone
        else named
        or [Operators.of(pruner_of(written.content) if written.content else DEFAULT_PRUNER)]
    )
    task = default_task(model) if task is None else task
    asked = _question(images, question, sample, task, data, data_seed)
    adapter = load_adapter(
        model, dtype=dtype, device=device, attn=attn, trust_remote_code=trust_remote_code
    )
    keep = written.schedule(adapter.spec.layers)
    found = [
        pruner
        for each in operators
        for pruner in each.available(adapter)[0].pruners
        if pruner.name not in each.optional or _follows(pruner, keep)
    ]
    for preset in published:
        reason = lacking(adapter, rankers[preset.name].needs)
        if reason is not None:
            raise UnsupportedError(f"preset {preset.name!r} does not fit: {reason}")
    labels = [pruner.label for pruner in found]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise InvalidValueError(f"pruner {twice[0]!r} is named twice")
    wanted = [Wanted(label, keep, pruner) for label, pruner in zip(labels, found, strict=True)]
    layers = adapter.spec.layers
    wanted += [Wanted(p.name, p.schedule(layers), rankers[p.name]) for p in published]
    if per_picture is None:
        per_picture = written.content is not None and written.content.per_picture
    return kept_tokens(
        adapter, asked, wanted, model_name=model, new_tokens=new_tokens, per_picture=per_picture
    )


def _follows(pruner: Pruner, keep: KeepSchedule) -> bool:
    """Whether this pruner can follow the schedule."""
    try:
        pruner.check(np.asarray(keep.ratios))
    except InvalidValueError:
        return False
    return True


def _question(
    images: Sequence[Path],
    question: str | None,
    sample: int,
    task: str,
    data: str | None,
    data_seed: int,
) -> Question:
    if images:
        if not question:
            raise InvalidValueError("a picture of your own needs a question: add --question")
        return Question([read_picture(file) for file in images], question)
    found = Question.of(nth_sample(load_task(task, data), "heldout", sample, seed=data_seed))
    if question is None or question == found.prompt:
        return found
    return Question(found.visual, question, sample=found.sample)
