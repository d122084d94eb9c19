"""Commands of the command line, run in this process: one of its own would import torch again."""

import contextlib
import io
import sys
import traceback
import warnings
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from paretoprune import cli


def _show(message, category, filename, lineno, file=None, line=None):
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def run_command(*arguments, cwd=None):
    """Run `paretoprune ARGUMENTS` in a folder: its exit code, and what it writes, as a user's."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(cwd or Path.cwd()),
        patch.object(sys, "argv", ["paretoprune", *arguments]),
        patch.object(warnings, "formatwarning", warnings.formatwarning),
        warnings.catch_warnings(),
    ):
        warnings.showwarning = _show
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except Exception:
            traceback.print_exc()
            code = 1
    return CompletedProcess(["paretoprune", *arguments], code, out.getvalue(), err.getvalue())
