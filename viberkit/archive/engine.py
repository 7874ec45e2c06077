"""Connections to an archive's SQLite file: journal mode, transactions, and errors that name the file and a remedy."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from viberkit.errors import ArchiveError

_REMEDIES = {
    "file is not a database": "it is another kind of file; choose another path",
    "attempt to write a readonly database": "the file or its folder is read-only; make it writable",
    "database is locked": "another process has held the lock for more than 30 s; close that process, or wait",
    "database or disk is full": "free some disk space; nothing of this step was written",
}


class Database:
    """Read and write transactions on an archive's file, which is created with mode 0600 if it is missing.

    Safe to use from many threads. A forked process opens connections of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid = os.getpid()
        with _archive_errors(path):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self.engine = _create_engine(path)
        weakref.finalize(self, self.engine.dispose)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that holds the write lock from its start and is durable when it ends."""
        with _archive_errors(self.path), self._connect(write=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that only reads."""
        with _archive_errors(self.path), self._connect() as connection:
            yield connection

    def _connect(self, *, write: bool = False) -> Connection:
        if os.getpid() != self._pid:  # a connection must not be used across a fork
            self.engine.dispose(close=False)
            self._pid = os.getpid()
        return self.engine.connect().execution_options(write=write)


def journal_mode(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> tuple[str, str]:
    """Return the journal and synchronous modes that are safe with a version of SQLite.

    WAL can lose commits before 3.51.3 (fixed in 3.50.7 and 3.44.6 too) when two connections write and
    checkpoint at the same time; those versions use a rollback journal with the strictest synchronous mode.

    >>> journal_mode((3, 40, 1)), journal_mode((3, 51, 3))
    (('DELETE', 'EXTRA'), ('WAL', 'FULL'))
    """
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return ("WAL", "FULL") if fixed else ("DELETE", "EXTRA")


def _create_engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": 30}, max_overflow=-1)
    journal, synchronous = journal_mode()

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin in the listener below, not in the driver
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    """Raise the operating system's and the database's errors as :class:`~viberkit.errors.ArchiveError`."""
    message = None
    try:
        yield
    except OSError as error:
        message = f"{path}: cannot be opened ({error.strerror}); choose a file in a folder that you may write to"
    except DBAPIError as error:
        reason = _reason(error)
        message = f"{path}: {reason}; {_REMEDIES.get(reason, 'nothing of this step was written')}"
    if message:
        raise ArchiveError(message)


def _reason(error: DBAPIError) -> str:
    """Return the first error: a full disk ends the whole transaction, so the savepoint's error comes after it."""
    first: BaseException | None = error
    while first is not None and "savepoint" in str(first):
        first = first.__context__
    return str(getattr(first, "orig", None) or first or error.orig)
