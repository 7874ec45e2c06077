"""How the archive's database is opened: journal, syncing, locks, and its errors in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from viberkit.errors import ArchiveError

__all__ = ["engine", "journal_mode", "told"]


def journal_mode(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> tuple[str, str]:
    """The journal and synchronous modes that are safe with a version of SQLite.

    WAL can lose commits before 3.51.3 (fixed in 3.50.7 and 3.44.6 too) when two connections write and
    checkpoint at once; those versions use a rollback journal with the strictest syncing.

    >>> journal_mode((3, 40, 1)), journal_mode((3, 51, 3))
    (('DELETE', 'EXTRA'), ('WAL', 'FULL'))
    """
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return ("WAL", "FULL") if fixed else ("DELETE", "EXTRA")


def engine(path: Path) -> Engine:
    """Connections to an archive's file, each with safe settings; transactions begin where they are said to."""
    made = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": 30}, max_overflow=-1)
    journal, synchronous = journal_mode()

    @event.listens_for(made, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    @event.listens_for(made, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return made


@contextmanager
def told(path: Path) -> Iterator[None]:
    """The database's own errors in words that say which file and what to do."""
    fault = None
    try:
        yield
    except OSError as error:
        fault = f"{path}: cannot be opened ({error.strerror}); choose a file in a folder that you may write to"
    except DBAPIError as error:
        reason = _reason(error)
        remedy = {
            "file is not a database": "it is another kind of file; choose another path",
            "attempt to write a readonly database": "the file or its folder is read-only; make it writable",
            "database is locked": "another process holds it for more than 30 s; close that one, or wait",
            "database or disk is full": "make room on the disk; nothing of this step was written",
        }.get(reason, "nothing of this step was written")
        fault = f"{path}: {reason}; {remedy}"
    if fault:
        raise ArchiveError(fault)


def _reason(error: DBAPIError) -> str:
    """What was wrong first: a full disk ends the whole transaction, so that its savepoint is missing afterwards."""
    first: BaseException | None = error
    while first is not None and "savepoint" in str(first):
        first = first.__context__
    return str(getattr(first, "orig", None) or first or error.orig)
