"""Connections to an archive's SQLite file: journal mode, transactions, and errors that name the file and a remedy.

:class:`~viberkit.archive.postgres.PostgresDatabase` does the same with a PostgreSQL database.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Row, Select, Table, create_engine, event, func, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from viberkit.archive.dialect import rowid
from viberkit.archive.owners import ProcessLock, process_lock
from viberkit.errors import ArchiveError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_REMEDIES = {
    "file is not a database": "it is another kind of file; choose another path",
    "attempt to write a readonly database": "the file or its folder is read-only; make it writable",
    "database is locked": "another process has held the lock for more than 30 s; close that process, or wait",
    "database or disk is full": "free some disk space; nothing was written",
}
_FULL = ("database or disk is full", "disk I/O error")  # what SQLite reports for quotas and limits, too
#: Bytes that the outcome of a send needs at most: in the tables, and in the journal, which never exceeds the file.
_ROOM, _ROOM_OF_TABLES, _ROOM_OF_JOURNAL = 65_536, 4_096, 28_672
#: File systems whose locks do not hold between computers, by the number that statfs returns.
_NETWORK = {0x6969: "NFS", 0x517B: "SMB", 0xFF534D42: "CIFS", 0xFE534D42: "SMB", 0x5346414F: "AFS", 0xBD00BD0: "Lustre"}
_CHUNK_S = 0.01  # for how long a reader may delay a writer


class DiskFull(ArchiveError):
    """There is no room for what was to be written."""


class ConnectionLost(ArchiveError):
    """The database cannot be reached; nothing was written."""


class CommitUnknown(ConnectionLost):
    """The connection ended during a commit: the transaction is written, or not."""


class Database:
    """Read and write transactions on an archive's file, which is created with mode 0600 if it is missing.

    Safe to use from many threads. A forked process opens connections of its own. A file that cannot be written is only
    read.
    """

    is_masked = False  # whether phone numbers are masked in what is read

    def __init__(self, path: Path, *, allow_network: bool = False) -> None:
        self.path, self.name, self.read_only = path, str(path), path.exists() and not os.access(path, os.W_OK)
        self._pid, self._resolved, self._reserve = os.getpid(), path.resolve(), Path(f"{path}-reserve")
        if (kind := network_file_system(path)) and not self.read_only and not allow_network:
            remedy = "use a folder of this computer, or an archive in PostgreSQL; or pass allow_network=True (in a "
            remedy += "shell VIBERKIT_ALLOW_NETWORK=1) if only one computer ever opens it"
            raise ArchiveError(f"{path}: is on a network file system ({kind}), where SQLite can lose data; {remedy}")
        with _archive_errors(path):
            os.close(os.open(path, os.O_RDONLY if self.read_only else os.O_CREAT | os.O_RDWR, 0o600))
        self.engine = _create_engine(path, self.read_only)
        weakref.finalize(self, self.engine.dispose)

    def run(self, function: Callable[[Connection], _R], *, write: bool) -> _R:
        """Call a function in a transaction; one that writes has the write lock from its start, and is durable after."""
        if os.getpid() != self._pid:  # a connection must not be used across a fork
            self.engine.dispose(close=False)
            self._pid = os.getpid()
        thread = threading.get_native_id()

        def call() -> _R:  # all of it: SQLAlchemy takes the lock of the logging module here
            return self._call(self.engine.execution_options(write=write, process=self.process, thread=thread), function)

        return uninterrupted(call)

    def _call(self, engine: Engine, function: Callable[[Connection], _R]) -> _R:
        with _archive_errors(self.path), engine.begin() as connection:
            return function(connection)

    def process(self) -> ProcessLock:
        """Return the lock by which others see that this process runs."""
        return process_lock(self._resolved, os.getpid())

    def fetch(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Return the rows of a query, read in a transaction of its own."""
        return self.run(lambda connection: connection.execute(query).fetchall(), write=False)

    def newest(self, table: Table) -> int:
        """Return the position of the row of a table that was inserted last, 0 for an empty table."""
        return int(self.fetch(select(func.coalesce(func.max(rowid(table)), 0)).select_from(table))[0][0])

    def fetch_table(self, query: Select[Any], table: Table) -> list[Row[Any]]:
        """Return the rows of a query on one table, in the order of insertion.

        Without WAL, a reader delays the commits of all processes. Rows are therefore read in many transactions, each
        of which takes only milliseconds. Rows that are inserted meanwhile are left out. Conditions must not use an
        index.
        """
        last = self.newest(table)
        rows: list[Row[Any]] = []
        start, size = 0, 1000
        while start < last:
            chunk = query.where(rowid(table) > start, rowid(table) <= min(start + size, last))
            fetched, took_s = self.run(partial(_fetch_timed, chunk), write=False)
            rows += fetched
            start += size
            size = max(1, int(size * min(2, _CHUNK_S / max(1e-3, took_s))))
        return rows

    def reserve(self, sends: int) -> None:
        """Reserve disk space for the outcomes of sends, before they are sent; :meth:`settle` uses it."""
        with _archive_errors(self.path):
            size = _ROOM + sends * _ROOM_OF_TABLES + min(sends * _ROOM_OF_JOURNAL, self.path.stat().st_size)
            if not self._reserve.exists() or self._reserve.stat().st_size < size:
                self._reserve.write_bytes(os.urandom(size))

    def settle(self, function: Callable[[Connection], _R]) -> _R:
        """Call a function in a transaction that stores outcomes; use the reserve if the disk is full."""
        try:
            return self.run(function, write=True)
        except DiskFull:
            self._reserve.unlink(missing_ok=True)
        return self.run(function, write=True)


def lock(connection: Connection, *name: str, wait: bool = True) -> bool:
    """Lock a name until the end of the transaction; return whether that was possible.

    In SQLite this does nothing, because only one transaction writes at a time. A transaction that needs several locks
    takes "derive" first, so that two of them cannot wait for each other.
    """
    if connection.dialect.name == "sqlite":
        return True
    key = int.from_bytes(hashlib.sha256("\0".join(name).encode()).digest()[:8], signed=True)
    function = func.pg_advisory_xact_lock if wait else func.pg_try_advisory_xact_lock
    return connection.execute(select(function(key))).scalar() is not False


def _fetch_timed(query: Select[Any], connection: Connection) -> tuple[Sequence[Row[Any]], float]:
    """Return the rows of a query, and for how long the read lock was held for them."""
    connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1")  # waits for writers
    began = time.perf_counter()
    return connection.execute(query).fetchall(), time.perf_counter() - began


def uninterrupted(function: Callable[[], _R], on_interrupt: Callable[[], None] = lambda: None) -> _R:
    """Call a function that no signal handler interrupts.

    Handlers run in the main thread and may raise at any instruction, in the middle of a rollback too. From the main
    thread, the function is therefore called in another one. What a handler raises meanwhile is raised here when the
    function has ended without an error, or at once the second time.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    started, ended = threading.Lock(), threading.Lock()
    outcomes: list[tuple[_R | None, BaseException | None]] = []
    ended.acquire()

    def work() -> None:
        if started.acquire(blocking=False):
            try:
                outcomes.append((function(), None))
            except BaseException as error:  # noqa: BLE001 - raised in the main thread
                outcomes.append((None, error))
            ended.release()

    try:
        threading.Thread(target=work, name="viberkit-archive", daemon=True).start()
        while not ended.acquire(timeout=0.1):  # a signal that another thread has received wakes no lock
            pass
    except BaseException:
        if started.acquire(blocking=False):  # the thread has not called the function, and will not
            raise
        on_interrupt()
        while not outcomes:
            ended.acquire(timeout=0.01)
        if outcomes[0][1] is None:
            raise
    result, raised = outcomes.pop()
    if raised is not None:
        raise raised
    return result  # type: ignore[return-value]


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


def network_file_system(path: Path) -> str:
    """Return the name of the network file system of a path, on Linux; empty if it is on none, or that is unknown."""
    kind = (ctypes.c_ulong * 64)()  # a struct statfs begins with the number of its type
    if sys.platform == "linux":
        ctypes.CDLL(None).statfs(os.fsencode(path.parent), kind)
    return _NETWORK.get(kind[0] & 0xFFFFFFFF, "")


def _create_engine(path: Path, read_only: bool) -> Engine:
    url = URL.create("sqlite", database=str(path))
    if read_only:
        url = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    engine = create_engine(url, connect_args={"timeout": 30}, max_overflow=-1)
    journal, synchronous = journal_mode()

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin in the listener below, not in the driver
        if not read_only:
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
    reason, remedy = "", "nothing was written"
    try:
        yield
    except OSError as error:
        reason = _FULL[0] if error.errno in (ENOSPC, EDQUOT, EFBIG) else f"cannot be opened ({error.strerror})"
        remedy = "choose a file in a folder that you may write to"
    except DBAPIError as error:
        reason = _reason(error)
    if reason:
        raise (DiskFull if reason in _FULL else ArchiveError)(f"{path}: {reason}; {_REMEDIES.get(reason, remedy)}")


def _reason(error: DBAPIError) -> str:
    """Return the first error: a full disk ends the whole transaction, so the savepoint's error comes after it."""
    first: BaseException | None = error
    while first is not None and "savepoint" in str(first):
        first = first.__context__
    return str(getattr(first, "orig", None) or first or error.orig)
