"""Builds problems from names, as the command line and the quick start do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from paretoprune.adapters.base import Adapter
from paretoprune.compression.costs import DEFAULT_OBJECTIVES, parse_objectives
from paretoprune.compression.prefill_store import DEFAULT_BYTES
from paretoprune.compression.presets import runnable
from paretoprune.compression.remote import WORKER, Remote, recipe_of
from paretoprune.compression.token_pruning import TokenPruning
from paretoprune.compression.workers import Placement
from paretoprune.core.options import whole_number
from paretoprune.errors import InvalidValueError
from paretoprune.pruning.base import Pruner
from paretoprune.pruning.operators import Named, Operators
from paretoprune.pruning.parallel import own_device
from paretoprune.schedules.presets import find_presets
from paretoprune.tasks.base import Measured, Sample
from paretoprune.tasks.load import load_task, reads_data, samples_there
from paretoprune.zoo.catalogue import default_task
from paretoprune.zoo.load import load_adapter

DEFAULT_MODEL = "mini-llava"
DEFAULT_SEARCH_SIZE = 128
DEFAULT_HELDOUT_SIZE = 192
MIN_SAMPLES = 2
"""Of one, there is no standard error."""
FEW_SAMPLES = 50
"""Of fewer, the standard error of a mean outcome may be more than 0.07."""


def load_problem(
    model: str = DEFAULT_MODEL,
    *,
    task: str | None = None,
    data: str | None = None,
    pruner: Named = "fastv",
    search_knobs: bool | None = None,
    guests: Sequence[Pruner] = (),
    presets: str | Sequence[str] = (),
    search_size: int | None = None,
    default_size: int = DEFAULT_SEARCH_SIZE,
    heldout_size: int | None = None,
    data_seed: int = 0,
    levels: int | None = None,
    batch: int = 64,
    split: str = "search",
    objectives: str | Sequence[str] = DEFAULT_OBJECTIVES,
    prefill_bytes: int = DEFAULT_BYTES,
    executor: Placement | None = None,
    per_picture: bool = False,
    check: Callable[[Adapter], None] | None = None,
    **loading: Any,
) -> TokenPruning:
    """Token pruning on a model and a task by name; `pruner` is a name or a pruner, or several.

    With several pruners (`"fastv,divprune,dart"`, a list, or `"all"`) the search chooses the pruner
    too, and the knobs of each, which `search_knobs` turns off, or on for a single one. A knob that
    is written with its value stays: `"dart:visual_pivots=8"`. `guests` are pruners that exact
    candidates may name. `presets` are names of published configurations to set beside a front
    (`"all"`, `"fastv"`, `"fastv:k=2,r=0.5"`); those that the model cannot run are left out.

    `task` defaults to the one that an embedded mini-model was trained on, else MiniVQA; `data` is
    where a task that reads any finds it: a file, a folder, or a hub name `owner/name`.

    `search_size` and `heldout_size` are samples of the two splits (default: `default_size` and 192,
    or what the data have; no held-out part with 0; `split` names another split to draw the first
    from, for scoring only); `levels` is the number of steps of the keep-ratio lattice (default:
    multiples of 8 tokens); `objectives` are `score` and one or more costs of `problems.costs`, such
    as `"score,latency_ms"`; `prefill_bytes` is the memory for prefills, beyond which they lie on
    disk; `executor` says which workers evaluate instead of this process, such as
    `executors.RayPlacement(workers=4)`; with `per_picture` every picture of a prompt keeps at least
    one visual token in each layer whose ratio is above 0; `check` is called with the adapter before
    anything is computed, and may raise; `loading` goes to `load_adapter` (dtype, device, attn,
    trust_remote_code).
    """
    parse_objectives(objectives)  # mistakes show before the model loads
    for name, value, least in (
        ("search_size", search_size, 0), ("heldout_size", heldout_size, 0),
        ("data_seed", data_seed, 0), ("batch", batch, 1), ("prefill_bytes", prefill_bytes, 0),
        ("levels", levels, 1),
    ):  # fmt: skip
        if value is not None:
            whole_number(name, value, least)
    if search_size is not None and search_size < MIN_SAMPLES:
        raise InvalidValueError(
            f"the {split} split needs at least {MIN_SAMPLES} samples, got {search_size}"
        )
    if heldout_size and heldout_size < MIN_SAMPLES:
        raise InvalidValueError(
            f"the held-out split needs at least {MIN_SAMPLES} samples (or 0 for none), got "
            f"{heldout_size}"
        )
    task = default_task(model) if task is None else task
    load_split = load_task(task, data)
    if search_size is None:
        search_size = samples_there(load_split, split, default_size)
    if heldout_size is None:
        heldout_size = samples_there(load_split, "heldout", DEFAULT_HELDOUT_SIZE)
    wanted = Operators.of(pruner, search_knobs=search_knobs)
    if "device" in loading:
        loading["device"] = own_device(str(loading["device"]))
    named = find_presets(presets) if isinstance(presets, str) or presets else []
    adapter = load_adapter(model, **loading)
    if check is not None:
        check(adapter)
    adapter.model.requires_grad_(False)  # gradients go to keep ratios: nothing is kept for weights
    operators, left_out = wanted.available(adapter)
    remote = None
    if executor is not None:
        sizes = {split: search_size, "heldout": heldout_size}
        recipe = recipe_of(model, task, data, data_seed, sizes, loading)
        remote = Remote(executor.crew(WORKER, recipe))
    beside, without = runnable(adapter, named)
    samples = load_split(split, search_size, seed=data_seed)
    heldout = load_split("heldout", heldout_size, seed=data_seed) if heldout_size else None
    for name, part in ((split, samples), ("heldout", heldout)):
        if part is not None and len(part) < MIN_SAMPLES:
            raise InvalidValueError(
                f"the {name} part of task {task!r} has {len(part)} "
                f"sample(s); at least {MIN_SAMPLES} are needed in each: add pictures or questions"
            )
    return TokenPruning(
        adapter,
        samples,
        operators,
        guests=guests,
        presets=beside,
        task=load_split if isinstance(load_split, Measured) else None,
        remarks=[
            *(f"{name} is left out: {reason}." for name, reason in left_out.items()),
            *without,
            *(_little(samples, heldout) if reads_data(load_split) else ()),
        ],
        heldout_samples=heldout,
        levels=levels,
        batch=batch,
        model_name=model,
        objectives=parse_objectives(objectives),
        prefill_bytes=prefill_bytes,
        executor=remote,
        split=split,
        per_picture=per_picture,
    )


def _little(samples: Sequence[Sample], heldout: Sequence[Sample] | None) -> list[str]:
    """How little few samples say: an outcome in 0..1 deviates from its mean by a half at most."""
    least = len(samples) if heldout is None else min(len(samples), len(heldout))
    if least >= FEW_SAMPLES:
        return []
    sizes = f"{len(samples)} search samples"
    sizes += "" if heldout is None else f" and {len(heldout)} held-out samples"
    return [
        f"{sizes} say little: the standard error of a mean outcome of {least} is up to "
        f"{0.5 / math.sqrt(least):.2f}."
    ]
