"""Holds back lines that libraries print unasked, without touching the user's settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_info(logger_name: str, *, up_to: int = logging.INFO) -> Iterator[None]:
    """Drop messages of `logger_name` at level `up_to` and below, inside this block only.

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
