"""Options as users write them: `name:option=value,option=value`."""

from __future__ import annotations

import dataclasses
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any, TypeGuard, get_args, get_type_hints

from paretoprune.errors import InvalidValueError, UnknownNameError, brief, share_hint


def split_specs(text: str) -> list[str]:
    """Split `tpe:startup=5,population=8,random` into `name` or `name:option=value,...` each.

    An item with `=` and no colon before it is a further option of the item before.
    """
    specs: list[str] = []
    for item in (part.strip() for part in text.split(",")):
        if specs and "=" in item and ":" not in item.partition("=")[0]:
            specs[-1] += f",{item}"
        else:
            specs.append(item)
    return specs


def split_spec(text: str) -> tuple[str, str | None]:
    """Split `name:option=value,...` into the name and the options, None without a colon.

    The name may be a location: `file.py:Class` or `package.module:Class`.
    """
    name, colon, rest = text.strip().partition(":")
    attribute, more, options = rest.partition(":")
    if name.endswith(".py") or ("." in name and attribute.isidentifier()):
        return name + colon + attribute, options if more else None
    return name, rest if colon else None


def is_location(name: str) -> bool:
    """Whether `name` is a location of code, not a registered name."""
    return ":" in name or name.endswith(".py")


def read_option(owner: str, text: str) -> tuple[str, float | int | str | bool]:
    """Read `option=value` of `owner`, which the error names: `strategy 'tpe:startup'`."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key or not value:
        raise InvalidValueError(f"{owner}: options are written as name=value, got {text!r}")
    return key, read_value(value)


def read_options(owner: str, text: str) -> dict[str, float | int | str | bool]:
    """Read `option=value,option=value` of `owner`; raises where one is malformed or given twice."""
    options: dict[str, float | int | str | bool] = {}
    for part in text.split(","):
        add_option(options, owner, part.strip())
    return options


def add_option(options: dict[str, Any], owner: str, text: str) -> None:
    """Read `option=value` into `options`; raises `InvalidValueError` for one that is there."""
    key, value = read_option(owner, text)
    if key in options:
        raise InvalidValueError(
            f"{owner}: option {key!r} is given twice, as {options[key]!r} and {value!r}"
        )
    options[key] = value


def read_value(text: str) -> float | int | str | bool:
    """A whole number, a real one, true or false, or the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def defaults_of(factory: Callable[..., Any]) -> dict[str, Any] | None:
    """Options that a constructor takes by name, and their defaults; None if it takes any.

    Options behind `**` are the fields of the dataclass in the attribute `options_class`.
    """
    behind = getattr(factory, "options_class", None)
    defaults: dict[str, Any] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            if behind is None:
                return None
            defaults |= {field.name: field.default for field in dataclasses.fields(behind)}
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL and name != "options":
            defaults[name] = parameter.default
    return defaults


def check_options(
    owner: str, given: Mapping[str, Any], factory: Callable[..., Any], also: Iterable[str] = ()
) -> None:
    """Refuse options that a constructor does not take, and words or fractions in place of numbers.

    `owner` is whose they are, for the error; `also` are further names that could have been meant.
    An option whose annotation allows a text or a real number as well as its default may be one.
    """
    defaults = defaults_of(factory)
    if defaults is None:
        return
    allowed = _annotated_types(factory)
    for name, value in given.items():
        if name not in defaults:
            raise UnknownNameError(f"option of {owner}:", name, {*defaults, *also})
        default = defaults[name]
        if isinstance(default, bool) or not isinstance(default, int | float):
            continue
        if type(value) in allowed.get(name, ()):
            continue
        if isinstance(value, bool | str):
            raise InvalidValueError(f"option {name} of {owner} must be a number, got {value!r}")
        if isinstance(default, int) and isinstance(value, float):
            raise InvalidValueError(
                f"option {name} of {owner} must be a whole number, got {value!r}"
            )


def _annotated_types(factory: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Types of the options whose annotation is a union; none where annotations cannot be read."""
    constructor = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    try:
        hints = get_type_hints(constructor)
    except (NameError, TypeError, AttributeError):  # names that only a type checker imports
        return {}
    return {name: get_args(hint) for name, hint in hints.items()}


def whole_number(name: str, value: object, least: int = 0) -> int:
    """`value` as an int; raises `InvalidValueError` for other values, or below `least`."""
    whole = not isinstance(value, bool) and isinstance(value, Integral)
    if not whole or value < least:  # type: ignore[operator]
        raise InvalidValueError(f"{name} must be a whole number, {least} or more, got {value!r}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def listed(what: str, value: object) -> list[Any]:
    """`value` as a list; raises `InvalidValueError` for texts and values without parts."""
    if not has_parts(value):
        raise InvalidValueError(f"{what} are a list, got {brief(value)}")
    return list(value)


def has_parts(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether `value` can be listed: a text, a mapping and an array of one number `[]` cannot."""
    if isinstance(value, str | bytes | Mapping):
        return False
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) != 0


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a real number, NaN and infinity included; text and booleans are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_ranges(
    options: object,
    *,
    at_least: Mapping[str, float],
    positive: Iterable[str] = (),
    shares: Iterable[str] = (),
) -> None:
    """Refuse attributes of `options` below the least, not above 0, or not inside (0, 1).

    Attributes with a bound must be finite, too. Raises `InvalidValueError`, which names the option,
    its allowed values and its value.
    """
    shares = tuple(shares)

    def check(name: str, allowed: str, fits: Callable[[float], bool]) -> None:
        value = getattr(options, name)
        if not fits(value):
            hint = share_hint(value) if name in shares else ""
            raise InvalidValueError(f"option {name} must be {allowed}, got {value!r}{hint}")
        if not math.isfinite(value):
            raise InvalidValueError(f"option {name} must be finite, got {value!r}")

    for name, least in at_least.items():
        check(name, f"{least:g} or more", partial(operator.le, least))
    for name in positive:
        check(name, "positive", lambda value: value > 0)
    for name in shares:
        check(name, "between 0 and 1", lambda value: 0 < value < 1)
