"""Errors that are the user's to fix: one sentence, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_NAME = 200
"""A longer name is cut in messages: it comes from a file that is none of ours."""


LONGEST_SHOWN = 1000
"""Characters of a file's content that a message repeats, at most."""


LONGEST_VALUE = 80
"""Characters of a value's repr that a message repeats, at most."""


def plain(text: str) -> str:
    """A stranger's text for a message: one line, printable, and cut."""
    text = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
    return text if text.isprintable() else repr(text)[1:-1]


def one_line(error: BaseException) -> str:
    """An exception as one line, such as `ValueError: no`."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")


def brief(value: object, most: int = LONGEST_VALUE) -> str:
    """A stranger's value for a message: its repr in one line, cut, whatever it holds."""
    try:
        text = " ".join(repr(value).split())
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        text = f"a {type(value).__name__} that cannot be shown"
    except Exception:  # a stranger's repr may fail
        text = f"a {type(value).__name__}"
    return plain(text if len(text) <= most else f"{text[: most - 3]}...")


def share_hint(value: float) -> str:
    """A question for a message about a share from 0 to 1, where `value` may be a percentage."""
    return f"; did you mean {value / 100:g}?" if 1 < value <= 100 else ""


PROGRAMMING_ERRORS = (
    NameError, AttributeError, TypeError, LookupError, ImportError, SyntaxError, RecursionError,
    NotImplementedError,
)  # fmt: skip
"""Exceptions of faulty code: not a candidate's fault, so they end the study."""


class ParetopruneError(Exception):
    """Base of all errors caused by input: a file, flag, schedule, model, dataset row or plug-in."""


class InvalidValueError(ParetopruneError, ValueError):
    """A value is not allowed; the message names it and the allowed values."""


class FailedEvaluationError(InvalidValueError):
    """One candidate cannot be evaluated, or gave NaN: its evaluation fails, and its study goes on.

    A problem may raise it. Every other `ParetopruneError` ends the study.
    """


class UnknownNameError(ParetopruneError, KeyError):
    """A name that nothing is registered under; the message lists the valid ones and the nearest."""

    def __init__(self, kind: str, name: object, known: Iterable[object]) -> None:
        name, names = str(name), sorted(map(str, known))
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        name = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(names) or 'none'}.{hint}")

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr


class MissingDependencyError(ParetopruneError, ImportError):
    """An optional package is needed; the message says how to install it."""


def not_installed(need: str, package: str) -> MissingDependencyError:
    """The error for a `need` whose `package` is missing.

    The command names the package itself: unlike an extra of ours, it can be installed where
    Paretoprune runs from a checkout that pip does not know.
    """
    return MissingDependencyError(f"{need}; install it with: pip install {package}")


class UnsupportedError(ParetopruneError, TypeError):
    """Two valid things that do not work together, such as a gradient search on a black box."""


class BrokenFileError(ParetopruneError):
    """A file that is missing, unreadable or malformed; the message names it."""


class InUseError(ParetopruneError):
    """Another process is working on the same results; the message names them."""
