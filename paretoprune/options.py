"""Options as users write them: `name:option=value,option=value`."""

from __future__ import annotations

from paretoprune.errors import InvalidValueError


def read_option(owner: str, text: str) -> tuple[str, float | int | str | bool]:
    """Read `option=value` of `owner`, which the error names: `strategy 'tpe:startup'`."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key or not value:
        raise InvalidValueError(f"{owner}: options are written as name=value, got {text!r}")
    return key, read_value(value)


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
