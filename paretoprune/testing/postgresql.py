"""A throwaway PostgreSQL server, for tests and benchmarks of the study log."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from paretoprune.errors import MissingDependencyError

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
SECONDS = 60


class PostgresServer:
    """A server in a temporary folder, reached by a socket in it; use as a context manager.

    It needs the server's own programs (Debian: `apt-get install postgresql`); raises
    `MissingDependencyError` without them. PostgreSQL does not run as root: then the user `postgres`
    runs it, or `nobody`. It does not flush to the disk: it survives `stop`, no power failure.
    """

    def __init__(self) -> None:
        self._programs = find_programs()
        self._user = None if os.getuid() else _unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # sockets need short paths
        if self._user is not None:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._data = self._folder / "data"
        try:
            self._run("initdb", "-D", str(self._data), "-U", "tester", "-A", "trust", "-N")
            self.start()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def url(self, database: str = "postgres") -> str:
        """The address of a database, for `--storage`."""
        return f"postgresql://tester@/{database}?host={self._folder}"

    def create(self, database: str) -> str:
        """Make an empty database; returns its address."""
        self._run("createdb", "-h", str(self._folder), "-U", "tester", database)
        return self.url(database)

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        """Stop at once: connections break, transactions under way are undone."""
        self._run("pg_ctl", "-D", str(self._data), "-m", "fast", "-w", "stop")

    def close(self) -> None:
        """Stop for good, and remove everything."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, program: str, *arguments: str) -> None:
        # no pipes: the server would hold them open
        subprocess.run(
            [self._programs / program, *arguments],
            check=True, timeout=SECONDS, user=self._user, cwd=self._folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"LC_ALL": "C.UTF-8"},
        )  # fmt: skip


def find_programs() -> Path:
    """Where the server's programs lie; raises `MissingDependencyError`."""
    on_path = shutil.which("initdb")
    folders = [Path(os.path.realpath(on_path)).parent] if on_path else []
    for place in PLACES:
        folders += sorted(Path("/").glob(place.lstrip("/")), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "createdb")):
            return folder
    raise MissingDependencyError(
        "a PostgreSQL server is needed here: install one, such as Debian's package postgresql"
    )


def _unprivileged() -> str:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"
