"""Tasks from names and data, as the command line writes them: `mme:scoring=generation`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from paretoprune.core.options import read_options
from paretoprune.errors import InvalidValueError, UnknownNameError, brief
from paretoprune.registry import tasks
from paretoprune.tasks.areas import equalised, unevenness
from paretoprune.tasks.base import Sample
from paretoprune.tasks.benchmarks.base import Benchmark
from paretoprune.tasks.calibration.base import Calibration

Task: TypeAlias = Callable[..., list[Sample]]
"""A function `(split, size, *, seed=0)`; it may have `metrics` too (`tasks.base.Measured`)."""


def load_task(written: str, data: str | None = None) -> Task:
    """The task called `name` or `name:option=value,...`, on `data` where it reads any.

    A registered class is made with the data and the options; a registered function takes neither.
    """
    if not isinstance(written, str):
        raise InvalidValueError(f"a task is written as its name, got {brief(written)}")
    name, colon, rest = written.partition(":")
    factory: Any = tasks.load(name)
    options = read_options(f"task {written!r}", rest) if colon else {}
    if not isinstance(factory, type):
        if data is not None:
            raise InvalidValueError(f"task {name!r} makes its own samples and reads no data")
        if options:
            raise InvalidValueError(f"task {name!r} has no options, got {rest!r}")
        task: Task = factory
        return task
    known = _options(factory)
    for option in options:
        if option not in known:
            raise UnknownNameError(f"option of task {name!r}", option, known)
    if data is None:
        hub = getattr(factory, "hub", None)
        usually = f" (usually {hub} on the Hugging Face hub)" if hub else ""
        raise InvalidValueError(
            f"task {name!r} needs --data: a file, a folder, or a hub name owner/name{usually}"
        )
    made: Task = factory(
        data, **{k: v if isinstance(v, bool) else str(v) for k, v in options.items()}
    )
    return made


def _options(kind: type[Any]) -> list[str]:
    """Names of the keyword arguments that a task class and its bases take."""
    names: dict[str, None] = {}
    for base in kind.__mro__:
        if "__init__" in vars(base) and base is not object:
            for parameter in inspect.signature(vars(base)["__init__"]).parameters.values():
                if parameter.kind is parameter.KEYWORD_ONLY:
                    names[parameter.name] = None
    return list(names)


def reads_data(task: Task) -> bool:
    """Whether a task has the samples that its data have, and does not make as many as asked for."""
    return isinstance(task, Benchmark | Calibration)


def samples_there(task: Task, split: str, most: int) -> int:
    """Number of samples of a split to load, at least 1 and at most `most`."""
    if isinstance(task, Benchmark | Calibration):
        return max(1, min(most, task.available(split)))
    return most


def nth_sample(task: Task, split: str, number: int, *, seed: int = 0) -> Sample:
    """Sample `number`, from 0, of a split; raises `InvalidValueError` where there are fewer."""
    if isinstance(task, Benchmark | Calibration):
        return task.nth(split, number, seed=seed)
    samples = task(split, number + 1, seed=seed)
    if number >= len(samples):
        raise InvalidValueError(
            f"sample {number} of the {split} split: it has {len(samples)}, from 0"
        )
    return samples[number]


def describe(task: Task) -> list[str]:
    """Lines about a task that reads data: samples per split, an example, and areas of pictures."""
    if not isinstance(task, Benchmark | Calibration):
        return []
    search, heldout = (task.available(split) for split in ("search", "heldout"))
    lines = [f"{search} search samples, {heldout} held-out samples"]
    if search:
        first = task.nth("search", 0)
        answer = "no answer" if first.answer is None else f"answer {brief(first.answer, 300)}"
        lines.append(f"first: {brief(first.prompt, 300)}, {answer}")
    if isinstance(task, Calibration):
        even = equalised(task.sizes, low=task.low, high=task.high)
        lines.append(
            f"{len(even)} pictures: {unevenness(task.sizes):.2f} from a uniform distribution of "
            f"areas, {unevenness(even):.2f} when equalised"
        )
    return lines


def pictures_of(name: str, task: Task) -> Calibration:
    """The task, where its pictures' areas are known; raises `InvalidValueError` for another."""
    if not isinstance(task, Calibration):
        raise InvalidValueError(
            f"task {name!r} is no calibration data; allowed: pictures, llava-instruct"
        )
    return task
