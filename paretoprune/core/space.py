"""Knobs and search spaces, with validation and unit-cube encoding."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretoprune.core.options import is_number, listed
from paretoprune.errors import InvalidValueError, UnknownNameError, brief

Value: TypeAlias = float | int | str
Values: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Condition:
    """A knob is active only where the earlier knob `knob` takes one of `values`."""

    knob: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Float:
    """A real number in [low, high]; with `step`, one of low, low + step, ..."""

    name: str
    low: float
    high: float
    step: float | None = None
    unit: str = ""
    when: Condition | None = None

    def __post_init__(self) -> None:
        _check_name(self)
        _check_bounds(self.name, self.low, self.high)
        # 0.3 - 0.1 < 0.2 in floats, hence the slack
        most = (self.high - self.low) * (1 + 1e-9)
        if self.step is not None and not (is_number(self.step) and 0 < self.step <= most):
            raise InvalidValueError(
                f"knob {self.name!r}: step must be in (0, high - low], got {self.step!r}"
            )

    @property
    def size(self) -> float:
        """Number of values; infinite without a step."""
        if self.step is None:
            return math.inf
        return 1 + math.floor((self.high - self.low) / self.step + 1e-9)

    def check(self, value: Value) -> float:
        """Return `value` on the lattice, or raise `InvalidValueError`."""
        if not _is_finite(value):
            raise InvalidValueError(f"knob {self.name!r} takes a finite number, got {value!r}")
        value = float(value)
        slack = 1e-9 * max(1.0, abs(self.low), abs(self.high))
        if not self.low - slack <= value <= self.high + slack:
            raise InvalidValueError(
                f"knob {self.name!r} must be in [{self.low:g}, {self.high:g}], got {value:g}"
            )
        if self.step is None:
            return float(min(max(value, self.low), self.high))
        return self.at(min(round((value - self.low) / self.step), int(self.size) - 1))

    def inside(self, value: Value) -> float:
        """Return `value` itself, on the lattice or off it, if it is in range; or raise."""
        return dataclasses.replace(self, step=None).check(value)

    def at(self, index: int) -> float:
        """Value number `index` of a stepped knob."""
        assert self.step is not None
        return float(min(max(round(self.low + index * self.step, 12), self.low), self.high))

    def encode(self, value: Value) -> float:
        """Map a valid value to [0, 1]."""
        return (float(value) - self.low) / (self.high - self.low)

    def decode(self, unit: float) -> float:
        """Map [0, 1] to a valid value; with a step, to equally wide bins."""
        unit = min(max(unit, 0.0), 1.0)
        if self.step is None:
            return float(min(self.low + unit * (self.high - self.low), self.high))
        return self.at(min(int(unit * self.size), int(self.size) - 1))

    def values(self) -> list[Value]:
        """All values of a stepped knob; raises `InvalidValueError` without a step."""
        if self.step is None:
            raise InvalidValueError(f"knob {self.name!r} has no step, so it cannot be enumerated")
        return [self.at(i) for i in range(int(self.size))]


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number in [low, high]."""

    name: str
    low: int
    high: int
    unit: str = ""
    when: Condition | None = None

    def __post_init__(self) -> None:
        _check_name(self)
        _check_bounds(self.name, self.low, self.high, strict=False)
        if self.low != int(self.low) or self.high != int(self.high):
            raise InvalidValueError(
                f"knob {self.name!r}: low and high must be whole numbers, but got "
                f"(low={self.low:g}, high={self.high:g})"
            )

    @property
    def size(self) -> float:
        """Number of values."""
        return self.high - self.low + 1

    def inside(self, value: Value) -> int:
        """The same as `check`: whole numbers are their own lattice."""
        return self.check(value)

    def check(self, value: Value) -> int:
        """Return `value` as an int, or raise `InvalidValueError`."""
        if not _is_finite(value) or float(value) != int(value):
            raise InvalidValueError(f"knob {self.name!r} takes a whole number, got {value!r}")
        value = int(value)
        if not self.low <= value <= self.high:
            raise InvalidValueError(
                f"knob {self.name!r} must be in [{self.low}, {self.high}], got {value}"
            )
        return value

    def encode(self, value: Value) -> float:
        """Map a valid value to [0, 1]."""
        return (int(value) - self.low) / max(1, self.high - self.low)

    def decode(self, unit: float) -> int:
        """Map [0, 1] to a valid value, equally wide bins."""
        return self.low + min(int(min(max(unit, 0.0), 1.0) * self.size), int(self.size) - 1)

    def values(self) -> list[Value]:
        """All values."""
        return list(range(self.low, self.high + 1))


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of a few names."""

    name: str
    choices: tuple[str, ...]
    unit: str = ""
    when: Condition | None = None

    def __post_init__(self) -> None:
        _check_name(self)
        choices = listed(f"choices of knob {self.name!r}", self.choices)
        for choice in choices:
            if not isinstance(choice, str):
                raise InvalidValueError(
                    f"knob {self.name!r}: each choice is a text, got {brief(choice)}"
                )
        if not choices or len(set(choices)) != len(choices):
            raise InvalidValueError(
                f"knob {self.name!r} needs one or more distinct choices, got {self.choices!r}"
            )

    @property
    def size(self) -> float:
        """Number of values."""
        return len(self.choices)

    def inside(self, value: Value) -> str:
        """The same as `check`: names are their own lattice."""
        return self.check(value)

    def check(self, value: Value) -> str:
        """Return `value`, or raise `UnknownNameError`."""
        if value not in self.choices:
            raise UnknownNameError(f"choice of knob {self.name!r}", str(value), self.choices)
        return str(value)

    def encode(self, value: Value) -> float:
        """Map a choice to [0, 1] by its place."""
        return self.choices.index(str(value)) / max(1, len(self.choices) - 1)

    def decode(self, unit: float) -> str:
        """Map [0, 1] to a choice, equally wide bins."""
        return self.choices[min(int(min(max(unit, 0.0), 1.0) * self.size), int(self.size) - 1)]

    def values(self) -> list[Value]:
        """All choices."""
        return list(self.choices)


Knob: TypeAlias = Float | Int | Categorical


def _check_name(knob: Knob) -> None:
    if not isinstance(knob.name, str) or not knob.name:
        raise InvalidValueError(f"the name of a knob is text, got {knob.name!r}")
    if knob.when is not None and not isinstance(knob.when, Condition):
        raise InvalidValueError(
            f"knob {knob.name!r}: when is a Condition(knob, values), got {brief(knob.when)}"
        )


def _check_bounds(name: str, low: float, high: float, *, strict: bool = True) -> None:
    for side, value in (("low", low), ("high", high)):
        if not is_number(value):
            raise InvalidValueError(f"knob {name!r}: {side} must be a number, got {value!r}")
    fine = low < high if strict else low <= high
    if not (math.isfinite(low) and math.isfinite(high) and fine):
        sign = "<" if strict else "<="
        raise InvalidValueError(
            f"knob {name!r}: low {sign} high must hold, but got (low={low:g}, high={high:g})"
        )


def _is_finite(value: object) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating)
    return number and not isinstance(value, bool) and math.isfinite(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SearchSpace:
    """The knobs of a problem, in order; a conditional knob follows the one it depends on."""

    knobs: tuple[Knob, ...]

    def __post_init__(self) -> None:
        seen: dict[str, Knob] = {}
        for knob in listed("the knobs of a space", self.knobs):
            if not isinstance(knob, Knob):
                raise InvalidValueError(
                    f"knobs of a space are Int, Float or Categorical, got {brief(knob)}"
                )
            if knob.name in seen:
                raise InvalidValueError(f"two knobs are named {knob.name!r}")
            if knob.when is not None:
                if knob.when.knob not in seen:
                    raise InvalidValueError(
                        f"knob {knob.name!r} depends on {knob.when.knob!r}, "
                        "which does not precede it"
                    )
                for value in knob.when.values:
                    seen[knob.when.knob].check(value)  # a misspelt one would never be active
            seen[knob.name] = knob

    def __len__(self) -> int:
        return len(self.knobs)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all knobs."""
        return tuple(knob.name for knob in self.knobs)

    def active(self, chosen: Values) -> list[Knob]:
        """The knobs that apply, given the values chosen for the knobs they depend on."""
        on: list[Knob] = []
        for knob in self.knobs:
            if knob.when is None or (
                knob.when.knob in {k.name for k in on}
                and chosen.get(knob.when.knob) in knob.when.values
            ):
                on.append(knob)
        return on

    def validate(self, values: Values) -> dict[str, Value]:
        """Return the values on their lattices, active knobs only, in order.

        Raises `InvalidValueError` for a missing knob or a value out of range, `UnknownNameError`
        for a name that is no knob or a choice that does not exist.
        """
        if not isinstance(values, Mapping):
            raise InvalidValueError(f"values are by the names of knobs, got {brief(values)}")
        for name in values:
            if name not in self.names:
                raise UnknownNameError("knob", name, self.names)
        chosen: dict[str, Value] = {}
        for knob in self.knobs:
            if knob.when is not None and chosen.get(knob.when.knob) not in knob.when.values:
                continue
            if knob.name not in values:
                raise InvalidValueError(
                    f"knob {knob.name!r} is missing; given: {', '.join(values) or 'none'}"
                )
            chosen[knob.name] = knob.check(values[knob.name])
        return chosen

    def encode(self, values: Values) -> NDArray[np.float64]:
        """Map valid values to the unit cube, `float64 [knobs]`; inactive knobs become 0."""
        return np.array(
            [knob.encode(values[knob.name]) if knob.name in values else 0.0 for knob in self.knobs]
        )

    def decode(self, unit: Sequence[float] | NDArray[np.float64]) -> dict[str, Value]:
        """Map a point of the unit cube, `[knobs]`, to valid values."""
        if len(unit) != len(self.knobs):
            raise InvalidValueError(
                f"this space has {len(self.knobs)} knobs, got a point of {len(unit)} coordinates"
            )
        raw = {k.name: k.decode(float(x)) for k, x in zip(self.knobs, unit, strict=True)}
        return {knob.name: raw[knob.name] for knob in self.active(raw)}

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """Draw each knob uniformly."""
        return self.decode(rng.random(len(self.knobs)))

    @property
    def size(self) -> float:
        """Number of distinct points; infinite with a knob that has no step."""
        return self._count(0, {})

    def _is_asked(self, index: int) -> bool:
        """Whether a later knob depends on knob number `index`."""
        name = self.knobs[index].name
        return any(k.when is not None and k.when.knob == name for k in self.knobs[index + 1 :])

    def _applies(self, knob: Knob, chosen: Values) -> bool:
        return knob.when is None or chosen.get(knob.when.knob) in knob.when.values

    def _count(self, start: int, chosen: Values) -> float:
        """Number of ways to go on from knob `start`, given the values that others depend on."""
        total = 1.0
        for index in range(start, len(self.knobs)):
            knob = self.knobs[index]
            if not self._applies(knob, chosen):
                continue
            if math.isinf(knob.size):
                return math.inf
            if self._is_asked(index):
                ways = (self._count(index + 1, {**chosen, knob.name: v}) for v in knob.values())
                return total * sum(ways)
            total *= knob.size
        return total

    def at(self, rank: int) -> dict[str, Value]:
        """Point number `rank` (0 to `size` - 1) in the order of `grid`.

        Raises `InvalidValueError` for a knob that cannot be enumerated.
        """
        chosen: dict[str, Value] = {}
        for index, knob in enumerate(self.knobs):
            if not self._applies(knob, chosen):
                continue
            if self._is_asked(index):
                for value in knob.values():
                    ways = int(self._count(index + 1, {**chosen, knob.name: value}))
                    if rank < ways:
                        break
                    rank -= ways
                chosen[knob.name] = value
            else:
                place, rank = divmod(rank, int(self._count(index + 1, chosen)))
                chosen[knob.name] = knob.decode((place + 0.5) / knob.size)
        return chosen

    def grid(self) -> Iterator[dict[str, Value]]:
        """All points in order, the last knob fastest; inactive knobs are left out."""
        yield from self._grid(0, {})

    def _grid(self, start: int, chosen: dict[str, Value]) -> Iterator[dict[str, Value]]:
        for index in range(start, len(self.knobs)):
            knob = self.knobs[index]
            if self._applies(knob, chosen):
                for value in knob.values():
                    yield from self._grid(index + 1, {**chosen, knob.name: value})
                return
        yield chosen
