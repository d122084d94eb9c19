"""One process at a time on a results folder."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from paretoprune.errors import BrokenFileError, InUseError

LOCK_NAME = ".lock"


def lock_folder(folder: Path) -> FileLock:
    """Lock a results folder until `release`, or until this process ends, however it does.

    Raises `InUseError` where another process has it.
    """
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InUseError(
            f"another process is working on {folder}; wait until it has ended, or end it"
        ) from error
    except OSError as error:
        raise BrokenFileError(f"cannot write results folder {folder}: {error.strerror}") from error
    return lock
