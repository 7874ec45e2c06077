"""Connections to an archive's SQLite file: journal mode, transactions, and errors that name the file and a remedy."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from viberkit.errors import ArchiveError

_P = ParamSpec("_P")
_R = TypeVar("_R")
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

    def run(self, function: Callable[[Connection], _R], *, write: bool) -> _R:
        """Call a function in a transaction; one that writes has the write lock from its start, and is durable after."""
        if os.getpid() != self._pid:  # a connection must not be used across a fork
            self.engine.dispose(close=False)
            self._pid = os.getpid()
        engine = self.engine.execution_options(write=write)
        with _archive_errors(self.path), engine.begin() as connection:
            return function(connection)

    def fetch(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Return the rows of a query, read in a transaction of its own."""
        return self.run(lambda connection: connection.execute(query).fetchall(), write=False)


def transaction(method: Callable[Concatenate[Any, Connection, _P], _R]) -> Callable[Concatenate[Any, _P], _R]:
    """Turn a method that takes a connection into one that runs in a transaction that writes."""

    @wraps(method)
    def run(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        database: Database = self._database
        return database.run(lambda connection: method(self, connection, *args, **kwargs), write=True)

    return run


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
