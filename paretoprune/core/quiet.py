"""Holds back lines and bars that libraries print unasked, without touching the user's settings."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_info(logger_name: str, *, up_to: int = logging.INFO) -> Iterator[None]:
    """Drop what `logger_name` logs at level `up_to` and below, inside this block only.

    Optuna greets every new study; it has no setting for that but its global verbosity.
    """
    logger = logging.getLogger(logger_name)

    def drop(record: logging.LogRecord) -> bool:
        return record.levelno > up_to

    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


LOADING = threading.Lock()
"""Held while a bar is held back: transformers has one hook for the whole process."""


@contextmanager
def without_loading_bar() -> Iterator[None]:
    """Show no bar of transformers ("Loading weights") for what this thread loads in this block.

    Other threads keep theirs, a hook that the user has set goes on, and downloads show theirs.
    """
    from transformers.utils import logging as library

    mine = threading.get_ident()
    before: Callable[..., Any] | None = None

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() == mine:
            return library.EmptyTqdm(*args, **kwargs)
        return factory(*args, **kwargs) if before is None else before(factory, args, kwargs)

    with LOADING:
        before = library.set_tqdm_hook(hook)
        try:
            yield
        finally:
            library.set_tqdm_hook(before)
