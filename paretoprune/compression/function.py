"""A Python function as a problem: knobs go in as arguments, objectives come out by name."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.options import has_parts
from paretoprune.core.problem import Candidate, Evaluation, Objective, Problem
from paretoprune.core.space import Knob, SearchSpace
from paretoprune.core.user_code import mistake, where_raised
from paretoprune.errors import (
    PROGRAMMING_ERRORS,
    InvalidValueError,
    UnknownNameError,
    UnsupportedError,
    brief,
)

SPLITS = ("search", "heldout")


def as_problem(
    *, knobs: Sequence[Knob], objectives: Sequence[Objective], name: str | None = None
) -> Callable[[Callable[..., Mapping[str, Any]]], FunctionProblem]:
    """Decorator: turn a function of the knobs into a problem, called `name` or as the function.

    See `FunctionProblem` for the function's arguments and return value.
    """

    def decorate(function: Callable[..., Mapping[str, Any]]) -> FunctionProblem:
        return FunctionProblem(function, knobs=knobs, objectives=objectives, name=name)

    return decorate


class FunctionProblem(Problem):
    """A function `f(knob, ...) -> {objective: value, ...}` as a problem. Each call costs 1.

    The function takes every knob by its name; a conditional knob needs a default there, for where
    it does not apply. A parameter called `split` is given `"search"` or `"heldout"`: with one, the
    problem has held-out data, and strategies are judged on them.

    An objective's value is a finite number, or one number per sample, `[samples]`: then their mean
    counts, and their spread gives its standard error. Names beyond the objectives are kept as
    metrics. All values per sample are of the same samples, in every call. A function that raises
    an exception such as `ValueError` or `RuntimeError`, or returns NaN, has failed on these knobs,
    and the search goes on. A mistake in the code (`errors.PROGRAMMING_ERRORS`: a name that does
    not exist, a wrong type, a missing key) or in what is returned (a missing objective, text) stops
    it: `InvalidValueError`, `UnknownNameError`.
    """

    def __init__(
        self,
        function: Callable[..., Mapping[str, Any]],
        *,
        knobs: Sequence[Knob],
        objectives: Sequence[Objective],
        name: str | None = None,
        split: str = SPLITS[0],
    ) -> None:
        self.function = function
        self.name = str(name or getattr(function, "__name__", "function"))
        if split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        self.split = split
        self.objectives = _checked_objectives(self.name, objectives)
        self.spaces = {"knobs": _checked_space(self.name, knobs)}
        self._takes_split = _check_parameters(self.name, function, self.space())
        self._samples: tuple[str, int] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    @property
    def heldout(self) -> FunctionProblem | None:
        """The same on held-out data, where the function takes a `split`."""
        if not self._takes_split:
            return None
        return FunctionProblem(
            self.function, knobs=self.space().knobs, objectives=self.objectives,
            name=self.name, split=SPLITS[1],
        )  # fmt: skip

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Evaluation]:
        """Call the function once per candidate, in order.

        Raises `InvalidValueError` or `UnknownNameError` for a point outside the space, and
        `UnsupportedError` for a candidate with a policy.
        """
        return [self._evaluate(candidate) for candidate in candidates]

    def _evaluate(self, candidate: Candidate) -> Evaluation:
        if candidate.policy is not None:
            raise UnsupportedError(f"problem {self.name!r} evaluates points, not policies")
        arguments: dict[str, Any] = self.space(candidate.space).validate(candidate.values)
        if self._takes_split:
            arguments["split"] = self.split
        started = time.perf_counter()
        try:
            returned = self.function(**arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not isinstance(error, Exception) or isinstance(error, PROGRAMMING_ERRORS):
                raise mistake(f"problem {self.name!r}", error) from error
            return self._failed(candidate, where_raised(error), time.perf_counter() - started)
        seconds = time.perf_counter() - started
        figures = self._figures(returned)
        means = {key: float(np.mean(values)) for key, values in figures.items()}
        bad = [f"{key}={value}" for key, value in means.items() if not math.isfinite(value)]
        if bad:
            return self._failed(candidate, f"returned {', '.join(bad)}", seconds)
        names = [o.name for o in self.objectives]
        samples = [figures[o.name] for o in self.objectives if o.direction == "max"]
        one = samples[0] if len(samples) == 1 and samples[0].ndim else None
        return Evaluation(
            candidate,
            objectives={key: means[key] for key in names},
            cost=self.price(candidate),
            executed=1.0,
            seconds=seconds,
            standard_errors={key: _standard_error(figures[key]) for key in names},
            metrics={key: value for key, value in means.items() if key not in names},
            outcomes=None if one is None else one.astype(np.float32),
        )

    def _failed(self, candidate: Candidate, failure: str, seconds: float) -> Evaluation:
        return Evaluation(
            candidate, objectives={}, cost=self.price(candidate), executed=1.0, seconds=seconds,
            failure=failure,
        )  # fmt: skip

    def _figures(self, returned: object) -> dict[str, NDArray[np.float64]]:
        """The function's returned values, as float64 `[]` or `[samples]` by name."""
        names = [o.name for o in self.objectives]
        if not isinstance(returned, Mapping):
            raise InvalidValueError(
                f"problem {self.name!r} must return its objectives by name, such as "
                f"{{{names[0]!r}: 0.5, ...}}; it returned {brief(returned)}"
            )
        for name in names:
            if name not in returned:
                raise UnknownNameError(f"objective of problem {self.name!r}", name, returned)
        found: dict[str, NDArray[np.float64]] = {}
        for key, value in returned.items():
            figures = _as_figures(value)
            if figures is None:
                raise InvalidValueError(
                    f"problem {self.name!r}: {key!r} must be a number or one number per sample, "
                    f"got {brief(value)}"
                )
            if figures.ndim:
                self._check_samples(str(key), len(figures))
            found[str(key)] = figures
        return found

    def _check_samples(self, key: str, count: int) -> None:
        """Refuse values of another number of samples than the first that were returned."""
        if self._samples is None:
            self._samples = key, count
        known, samples = self._samples
        if count != samples:
            raise InvalidValueError(
                f"problem {self.name!r}: {key!r} has values of {count} samples, and {known!r} of "
                f"{samples}: all values per sample, in every call, are of the same samples"
            )

    def describe(self) -> dict[str, Any]:
        """JSON-ready description: name, split, knobs and objectives."""
        return {
            "problem": self.name,
            **({"split": self.split} if self._takes_split else {}),
            "knobs": [asdict(knob) for knob in self.space().knobs],
            "objectives": [asdict(objective) for objective in self.objectives],
        }


def _as_figures(value: object) -> NDArray[np.float64] | None:
    """A number, or one per sample, as float64 `[]` or `[samples]`; None where it is neither."""
    if isinstance(value, bytearray | memoryview) or np.ma.is_masked(value):
        return None  # bytes are text, and an array would forget what is masked
    try:
        found = np.asarray(value)
        if found.dtype.kind == "O" and all(isinstance(v, Real) for v in found.flat):
            found = found.astype(np.float64)  # fractions, for instance
    except Exception:  # whatever a tensor, or a ragged list, has against it
        return None
    if found.dtype.kind not in "biuf" or found.ndim > 1 or not found.size:
        return None
    return found.astype(np.float64)


def _standard_error(values: NDArray[np.float64]) -> float:
    if values.size < 2:
        return 0.0
    return float(values.std(ddof=1) / math.sqrt(values.size))


def _listed(given: object, kind: Any) -> list[Any]:
    """A list of several values, or of the single value given; the caller checks their types."""
    if isinstance(given, kind) or not has_parts(given):
        return [given]
    return list(given)


def _checked_objectives(name: str, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    given = _listed(objectives, Objective)
    for objective in given:
        if not isinstance(objective, Objective):
            raise InvalidValueError(
                f"problem {name!r}: objectives are paretoprune.Objective(name, direction, ...), "
                f"got {brief(objective)}"
            )
    names = [objective.name for objective in given]
    if len(names) < 2 or len(set(names)) != len(names):
        raise InvalidValueError(
            f"problem {name!r} needs two or more objectives of different names to trade off, got "
            f"{', '.join(names) or 'none'}"
        )
    return tuple(given)


def _checked_space(name: str, knobs: Sequence[Knob]) -> SearchSpace:
    given = _listed(knobs, Knob)
    for knob in given:
        if not isinstance(knob, Knob):
            raise InvalidValueError(
                f"problem {name!r}: knobs are paretoprune.Int, Float or Categorical, got "
                f"{brief(knob)}"
            )
    if not given:
        raise InvalidValueError(f"problem {name!r} needs at least one knob to search")
    return SearchSpace(tuple(given))


def _check_parameters(name: str, function: Callable[..., Any], space: SearchSpace) -> bool:
    """Check that the function can be called with the knobs; return whether it takes a `split`."""
    if not callable(function):
        raise InvalidValueError(f"problem {name!r} needs a function, got {brief(function)}")
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:  # of a function written in C, for instance
        raise InvalidValueError(
            f"problem {name!r}: the parameters of {brief(function)} are not known; wrap it in a "
            "function of the knobs"
        ) from error
    kinds = {p.kind for p in parameters.values()}
    named = {
        key: p
        for key, p in parameters.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    for knob in space.knobs:
        if knob.name == "split":
            raise InvalidValueError(
                f"problem {name!r}: no knob can be called 'split', which names the data"
            )
        if knob.name not in named:
            if inspect.Parameter.VAR_KEYWORD in kinds:
                continue
            raise UnknownNameError(f"parameter of {name!r} for the knob", knob.name, named)
        if knob.when is not None and named[knob.name].default is inspect.Parameter.empty:
            raise InvalidValueError(
                f"problem {name!r}: knob {knob.name!r} does not always apply, so its parameter "
                "needs a default"
            )
    for key, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if needed and key != "split" and key not in space.names:
            raise InvalidValueError(
                f"problem {name!r}: parameter {key!r} is no knob; knobs: {', '.join(space.names)} "
                "(give it a default, or add a knob)"
            )
    return "split" in named
