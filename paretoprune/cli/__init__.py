"""The command line: parses and prints, decides nothing. Heavy imports wait until a command runs.

`app` is the application, `options` what commands share, one file per group of commands.
Commands are listed in `--help` in the order of the imports below.
"""

from __future__ import annotations

import errno
import sys

import typer

from paretoprune.cli.app import app as app
from paretoprune.pruning import parallel

# isort: off
from paretoprune.cli import compare as compare
from paretoprune.cli import studies as studies
from paretoprune.cli import schedules as schedules
from paretoprune.cli import models as models
from paretoprune.cli import results as results
from paretoprune.cli import decide as decide
from paretoprune.cli import gap as gap
from paretoprune.cli import data as data
from paretoprune.cli import names as names
from paretoprune.cli import bench as bench
from paretoprune.cli import reproduce as reproduce
from paretoprune.cli import zoo as zoo

# isort: on
from paretoprune.cli.terminal import with_idle_threads_asleep, with_plain_warnings
from paretoprune.errors import ParetopruneError, plain

MACHINES_OWN = (
    errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT,
)  # fmt: skip
"""What a machine may refuse of any file, in whichever room it is asked for."""


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
        if error.errno not in MACHINES_OWN:
            raise
        where = "" if error.filename is None else f": {plain(str(error.filename))}"
        typer.echo(f"paretoprune: {error.strerror}{where}", err=True)
        sys.exit(2)
    finally:
        parallel.leave()
