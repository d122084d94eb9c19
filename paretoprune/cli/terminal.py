"""Where commands print, and files and folders that are never overwritten."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paretoprune.errors import InvalidValueError
from paretoprune.pruning.parallel import processes, wait

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_OUT = Path("paretoprune-results")
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables that set how OpenMP's threads wait: the standard's, GNU's, LLVM's and Intel's."""


def new_console() -> Console:
    """A console on standard output, without colours for numbers and paths."""
    from rich.console import Console

    return Console(highlight=False, quiet=processes()[0] > 0)


@dataclass
class Signals:
    """An interruption of the work; `exit_code` follows the shells: 128 and the signal's number."""

    exit_code: int = 128 + signal.SIGINT


@contextmanager
def interrupted_by_signals() -> Iterator[Signals]:
    """Treat SIGTERM, as schedulers send it, like Ctrl-C: stop, and write the results so far."""
    seen = Signals()

    def stop(number: int, _: object) -> None:
        seen.exit_code = 128 + number
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGTERM, before)


def without_library_bars() -> None:
    """Keep libraries from writing into our output: the process is the command's own."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    logging.disable_progress_bar()
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    hub.set_verbosity_error()  # it prints each of its retries


def with_idle_threads_asleep() -> None:
    """Let OpenMP's threads sleep while they wait, unless the user has said how they wait.

    By default they spin, which on shared cores holds up the very threads that they wait for. To be
    called before torch is imported: OpenMP reads the environment once.
    """
    if not any(os.environ.get(name) for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def with_plain_warnings() -> None:
    """Show warnings as notes of one line: the process is the command's own."""
    warnings.formatwarning = lambda message, *_, **__: f"paretoprune: note: {message}\n"


def free_folder(out: str | Path | None, default: Path = DEFAULT_OUT) -> Path:
    """The folder to write to; results that are already there are never overwritten.

    Where several processes take part, those that only compute write to folders nobody looks at.
    """
    if processes()[0] > 0:
        return Path(tempfile.mkdtemp(prefix="paretoprune-"))
    if out is not None:
        out = Path(out)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidValueError(f"--out {out} exists and is not an empty folder; name another")
        folder = out
    else:
        folder = default
        number = 1
        while folder.exists():
            number += 1
            folder = default.with_name(f"{default.name}-{number}")
    return folder


def resumed_folder(folder: Path) -> Path:
    """The folder to go on with; processes that only compute replay a copy of its content."""
    own = folder
    if processes()[0] > 0:
        own = Path(tempfile.mkdtemp(prefix="paretoprune-")) / folder.name
        shutil.copytree(folder, own)
    wait()  # before the first one writes to it
    return own


def free_file(file: Path) -> Path:
    """The file itself, or the first numbered one that does not exist."""
    found, number = file, 1
    while found.exists():
        number += 1
        found = file.with_name(f"{file.stem}-{number}{file.suffix}")
    return found
