"""A PostgreSQL server in a temporary folder, and a new database for each test.

``VIBERKIT_POSTGRES=1 pytest -n 0 tests/archive tests/campaigns tests/callbacks`` runs the tests with PostgreSQL instead
of SQLite. It is in memory if ``/dev/shm`` has room, which survives all that tests do to it. PostgreSQL refuses to run
as root, which therefore runs it as the user ``postgres``.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.archives import execute

#: Whether tests of the archive use PostgreSQL instead of SQLite.
ENABLED = os.environ.get("VIBERKIT_POSTGRES") == "1"
PASSWORD = "pa55word-that-must-not-be-seen"  # of the role "secret"


def missing() -> str:
    """Return why PostgreSQL cannot be tested here; empty if it can."""
    if not ENABLED:
        return "tests of PostgreSQL run with VIBERKIT_POSTGRES=1"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'viberkit[postgres]'"
    return "" if _programs() else "PostgreSQL is not installed: apt-get install postgresql"


def _programs() -> Path | None:
    """Return the folder of the server's programs."""
    found = shutil.which("postgres")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


class PostgresServer:
    """A server on a loopback port; its commits are durable."""

    def __init__(self, folder: Path) -> None:
        programs = _programs()
        assert programs is not None
        self._programs, self._folder, self._numbers = programs, folder, itertools.count(1)
        self._prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._prefix:
            shutil.chown(folder, "postgres")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", str(folder / "data"), "-U", "viberkit", "-A", "trust", "-E", "UTF8", "--locale=C")
        rules = f"host all secret 127.0.0.1/32 scram-sha-256\n{(folder / 'data' / 'pg_hba.conf').read_text()}"
        (folder / "data" / "pg_hba.conf").write_text(rules)
        self.start()
        execute(self.url("postgres"), f"CREATE ROLE secret LOGIN SUPERUSER PASSWORD '{PASSWORD}'")

    def start(self, *options: str) -> None:
        settings = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 {' '.join(options)}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-l", log, "-o", settings, "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", mode, "-w", "stop")

    def url(self, database: str, user: str = "viberkit") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new database, and its URL."""
        name = f"test{next(self._numbers)}"
        self._execute_outside(f"CREATE DATABASE {name}")
        yield self.url(name)
        self._execute_outside(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute_outside(self, command: str) -> None:
        """Execute a command that no transaction can contain."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(command)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._programs / program), *arguments]
        with (self._folder / "programs.log").open("a") as log:  # a pipe would wait for the server to end
            process = subprocess.run(command, stdout=log, stderr=log, cwd="/", check=False)
        assert process.returncode == 0, (self._folder / "programs.log").read_text()[-3000:]


@contextmanager
def running_server(folder: Path | None = None) -> Iterator[PostgresServer]:
    """A server for the tests of a session; skips them where PostgreSQL is missing, but not in CI."""
    if reason := missing():
        assert not ENABLED, reason
        pytest.skip(reason)
    memory = Path("/dev/shm")
    in_memory = folder is None and memory.exists() and shutil.disk_usage(memory).free > 2**30
    folder = folder or Path(tempfile.mkdtemp(prefix="viberkit-postgres-", dir=memory if in_memory else None))
    server = PostgresServer(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
