"""Builds compression problems from names, as the command line and the quick start do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from paretoprune.adapters.base import Adapter
from paretoprune.adapters.extras import lacking
from paretoprune.compression.evaluator import Running
from paretoprune.compression.objectives import parse_objectives
from paretoprune.compression.prefill_store import DEFAULT_BYTES
from paretoprune.compression.problem import DEFAULT_SEQUENCES, Compression
from paretoprune.compression.remote import WORKER, Remote, worker_config_of
from paretoprune.compression.text import load_text, takes_pictures
from paretoprune.compression.workers import Placement
from paretoprune.core.options import listed, whole_number
from paretoprune.errors import InvalidValueError, UnsupportedError
from paretoprune.pruning.operators import Named, Operators, pruner_of
from paretoprune.pruning.parallel import own_device
from paretoprune.registry import techniques
from paretoprune.schedules.presets import Preset, find_presets
from paretoprune.tasks.base import Measured, Sample
from paretoprune.tasks.load import load_task, reads_data, samples_there
from paretoprune.techniques.tokens import Tokens
from paretoprune.techniques.weight_bits import WeightBits
from paretoprune.zoo.catalogue import default_task
from paretoprune.zoo.load import load_adapter

DEFAULT_MODEL = "mini-llava"
TOKENS = (Tokens.name,)
DEFAULT_SEARCH_SIZE = 128
DEFAULT_HELDOUT_SIZE = 192
MIN_SAMPLES = 2
"""One sample has no standard error."""
MIN_RELIABLE_SAMPLES = 50
"""With fewer, the standard error of a mean outcome may be more than 0.07."""


def load_problem(
    model: str = DEFAULT_MODEL,
    *,
    task: str | None = None,
    compress: str | Sequence[str] = TOKENS,
    data: str | None = None,
    pruner: Named = "fastv",
    search_knobs: bool | None = None,
    presets: str | Sequence[str] = (),
    search_size: int | None = None,
    default_size: int = DEFAULT_SEARCH_SIZE,
    heldout_size: int | None = None,
    data_seed: int = 0,
    levels: int | None = None,
    batch: int = 64,
    split: str = "search",
    objectives: str | Sequence[str] | None = None,
    sequences: int = DEFAULT_SEQUENCES,
    prefill_bytes: int = DEFAULT_BYTES,
    executor: Placement | None = None,
    per_picture: bool = False,
    check: Callable[[Adapter], None] | None = None,
    **loading: Any,
) -> Compression:
    """A model compressed on a task, by name; `compress` names the techniques: `"tokens"`, a list.

    `pruner` is a name or a pruner, or several: with several (`"fastv,divprune,dart"`, a list, or
    `"all"`) the search chooses the pruner too, and the knobs of each, which `search_knobs` turns
    off, or on for a single one. A knob that is written with its value stays:
    `"dart:visual_pivots=8"`. `presets` are names of published configurations to compare a front
    with (`"all"`, `"fastv"`, `"fastv:k=2,r=0.5"`); those that the model cannot run are left out.

    `task` defaults to the one that an embedded mini-model was trained on, else MiniVQA; `data` is
    where a task that reads any finds it: a file, a folder, or a hub name `owner/name`. With
    `weight_bits` alone, `model` may be a language model and `task` a text file: the problem is then
    a `compression.text.TextQuantisation`.

    `search_size` and `heldout_size` are samples of the two splits (default: `default_size` and 192,
    or what the data have; no held-out part with 0; `split` names another split to draw the first
    from, for scoring only); `levels` is the number of steps of the keep-ratio lattice (default:
    multiples of 8 tokens); `objectives` are `score` and one or more costs of
    `compression.objectives`, such as `"score,latency_ms"`; `sequences` is how many share the memory
    that `memory_bytes` counts; `prefill_bytes` is the memory for prefills, beyond which they lie on
    disk; `executor` says which workers evaluate instead of this process, such as
    `RayPlacement(workers=4)`; with `per_picture` every picture of a prompt keeps at least one
    visual token in each layer whose ratio is above 0; `check` is called with the adapter before
    anything is computed, and may raise; `loading` goes to `load_adapter` (dtype, device, attn,
    trust_remote_code).
    """
    if objectives is not None:
        parse_objectives(objectives)  # mistakes show before the model loads
    for name, value, minimum in (
        ("search_size", search_size, 0), ("heldout_size", heldout_size, 0),
        ("data_seed", data_seed, 0), ("batch", batch, 1), ("prefill_bytes", prefill_bytes, 0),
        ("levels", levels, 1),
    ):  # fmt: skip
        if value is not None:
            whole_number(name, value, minimum)
    _check_sizes(split, search_size, heldout_size)
    names = technique_names(compress)
    built = {name: techniques.build(name) for name in names if name != Tokens.name}
    if executor is not None and names != TOKENS:
        raise UnsupportedError(f"workers evaluate tokens alone, not {', '.join(names)}")
    trusted = bool(loading.get("trust_remote_code", False))
    if names == (WeightBits.name,) and not takes_pictures(model, trusted):
        windows = {
            "search_size": DEFAULT_SEARCH_SIZE if search_size is None else search_size,
            "heldout_size": DEFAULT_HELDOUT_SIZE if heldout_size is None else heldout_size,
        }
        bits = cast("WeightBits", built[WeightBits.name])
        found = load_text(model, task, bits, objectives=objectives, **windows, **loading)
        return cast("Compression", found)
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
        worker_config = worker_config_of(model, task, data, data_seed, sizes, loading)
        remote = Remote(executor.pool(WORKER, worker_config))
    runnable, without = _runnable(adapter, named)
    samples = load_split(split, search_size, seed=data_seed)
    heldout = load_split("heldout", heldout_size, seed=data_seed) if heldout_size else None
    for name, part in ((split, samples), ("heldout", heldout)):
        if part is not None and len(part) < MIN_SAMPLES:
            raise InvalidValueError(
                f"the {name} part of task {task!r} has {len(part)} "
                f"sample(s); at least {MIN_SAMPLES} are needed in each: add pictures or questions"
            )
    tokens = Tokens(operators, levels=levels, per_picture=per_picture, presets=runnable)
    return Compression(
        adapter,
        samples,
        [tokens if name == Tokens.name else built[name] for name in names],
        objectives=objectives,
        heldout_samples=heldout,
        model_name=model,
        task=load_split if isinstance(load_split, Measured) else None,
        remarks=[
            *(f"{name} is left out: {reason}." for name, reason in left_out.items()),
            *without,
            *(_little(samples, heldout) if reads_data(load_split) else ()),
        ],
        sequences=sequences,
        running=Running(batch=batch, prefill_bytes=prefill_bytes, executor=remote),
        split=split,
    )


def technique_names(compress: str | Sequence[str]) -> tuple[str, ...]:
    """Names of techniques, from `tokens,weight_bits` or a list, in the order that they apply in.

    Raises `UnknownNameError` for one that is not registered, `InvalidValueError` for none and for
    repeats.
    """
    parts = compress.split(",") if isinstance(compress, str) else listed("techniques", compress)
    names = [str(part).strip() for part in parts]
    if not any(names) or len(set(names)) < len(names):
        raise InvalidValueError(
            f"name one or more different techniques, such as tokens,weight_bits; got {compress!r}"
        )
    known = list(techniques.names())
    for name in names:
        techniques.load(name)
    return tuple(sorted(names, key=known.index))


def _check_sizes(split: str, search_size: int | None, heldout_size: int | None) -> None:
    if search_size is not None and search_size < MIN_SAMPLES:
        raise InvalidValueError(
            f"the {split} split needs at least {MIN_SAMPLES} samples, got {search_size}"
        )
    if heldout_size and heldout_size < MIN_SAMPLES:
        raise InvalidValueError(
            f"the held-out split needs at least {MIN_SAMPLES} samples (or 0 for none), got "
            f"{heldout_size}"
        )


def _runnable(adapter: Adapter, presets: Sequence[Preset]) -> tuple[list[Preset], list[str]]:
    """Presets whose pruner this model has all for, and one sentence per reason for the others."""
    kept: list[Preset] = []
    left_out: dict[str, list[str]] = {}
    for preset in presets:
        reason = lacking(adapter, pruner_of(preset).needs)
        if reason is None:
            kept.append(preset)
        else:
            left_out.setdefault(reason, []).append(preset.name)
    return kept, [
        f"Of the presets, {', '.join(names)} {'is' if len(names) == 1 else 'are'} left out: "
        f"{reason}."
        for reason, names in left_out.items()
    ]


def _little(samples: Sequence[Sample], heldout: Sequence[Sample] | None) -> list[str]:
    """A warning for few samples: an outcome in 0..1 deviates from its mean by a half at most."""
    least = len(samples) if heldout is None else min(len(samples), len(heldout))
    if least >= MIN_RELIABLE_SAMPLES:
        return []
    sizes = f"{len(samples)} search samples"
    sizes += "" if heldout is None else f" and {len(heldout)} held-out samples"
    return [
        f"{sizes} say little: the standard error of a mean outcome of {least} is up to "
        f"{0.5 / math.sqrt(least):.2f}."
    ]
