"""The command line: parses and prints, decides nothing. Heavy imports wait until a command runs.

`app` is the application, `options` makes options from the settings of a study file, and each group
of commands is one file. Groups are listed in `--help` in the order of the imports below.
"""

from __future__ import annotations

import errno
import sys

import typer

from paretoprune.cli.app import app as app
from paretoprune.pruning import parallel

# isort: off
from paretoprune.cli import search as search
from paretoprune.cli import use as use
from paretoprune.cli import read as read
from paretoprune.cli import check as check
from paretoprune.cli import evidence as evidence

# isort: on
from paretoprune.cli.terminal import with_idle_threads_asleep, with_plain_warnings
from paretoprune.errors import ParetopruneError, plain

MACHINE_ERRORS = (
    errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT,
)  # fmt: skip
"""Reasons for which a machine may refuse any file, whichever command asks for it."""


def main() -> None:
    """Entry point: user errors become one sentence on standard error and exit code 2."""
    with_idle_threads_asleep()
    with_plain_warnings()
    try:
        parallel.join()
        app()
    except ParetopruneError as error:
        for calls in getattr(error, "__notes__", ()):  # to a mistake in a user's code
            typer.echo(calls, err=True)
        typer.echo(f"paretoprune: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        where = "" if error.filename is None else f": {plain(str(error.filename))}"
        typer.echo(f"paretoprune: {error.strerror}{where}", err=True)
        sys.exit(2)
    finally:
        parallel.leave()
