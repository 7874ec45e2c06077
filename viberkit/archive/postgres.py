"""An archive in a PostgreSQL database: connections, transactions, and the sessions by which senders are known.

Each process that sends has a session of its own with an advisory lock, whose number is that of the process; it ends
with the process or with the connection. Roles that only read see views with masked phone numbers.
"""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, Table, create_engine, text
from sqlalchemy.exc import DBAPIError

from viberkit.archive.dialect import rowid
from viberkit.archive.engine import CommitUnknown, ConnectionLost, Database, DiskFull
from viberkit.archive.roles import MASKED
from viberkit.errors import ArchiveError
from viberkit.models.secret import Secret

if TYPE_CHECKING:
    import psycopg

_R = TypeVar("_R")
_ATTEMPTS = 10  # of a transaction that the server ended because of a deadlock
_WAIT_S = 30.0  # for a server that restarts, to store outcomes
_SENDERS = 1_986_618_738  # the first number of the advisory locks of processes; chosen arbitrarily
_HOLDERS = """
    SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND datname = current_database() AND classid = %s AND objid = %s AND objsubid = 2
"""
#: Fixes settings for the session, whatever the configuration of the server becomes. The last column names the settings
#: of the server with which commits are not durable, or texts are not UTF-8.
_PREPARE = """
    SELECT set_config('synchronous_commit', current_setting('synchronous_commit'), false),
        set_config('lock_timeout', '30s', false), set_config('idle_in_transaction_session_timeout', '60s', false),
        set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
        set_config('tcp_keepalives_count', '2', false),
        (SELECT string_agg(name || ' is ' || setting, ', ') FROM pg_settings WHERE
            name IN ('synchronous_commit', 'fsync', 'full_page_writes') AND setting = 'off'
            OR name = 'server_encoding' AND setting <> 'UTF8')
"""
#: Whether there is an archive, and what this role may do with it.
_FACTS = """
    SELECT current_setting('transaction_read_only') = 'on' AS read_only,
        to_regclass('viberkit_version') IS NOT NULL AS found,
        has_table_privilege(to_regclass('raw'), 'INSERT') AS writes,
        has_table_privilege(to_regclass('raw'), 'SELECT') AS reads,
        has_schema_privilege((SELECT oid FROM pg_namespace WHERE nspname = 'viberkit_masked'), 'USAGE') AS masked
"""
_REMEDIES = {
    "42501": "grant the role what it needs with archive.grant, as the owner of the archive",
    "25006": "the role or the server only reads; connect to the primary server as a role that writes",
    "53300": "close other programs, or raise max_connections of the server",
    "55P03": "another transaction has held the lock for more than 30 s; end it, or wait",
}


class SessionLock:
    """The number of this process among those that use an archive; others see its lock until its session ends.

    If the connection is lost, its sends in flight may become unknown; with the next use, the number is held again.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect, self._mutex = connect, threading.Lock()
        self._session: psycopg.Connection[Any] | None = None
        self._number = secrets.randbelow(2**31 - 1) + 1

    @property
    def number(self) -> int:
        """The number, which is held now."""
        self._fetch("SELECT 1")
        return self._number

    def is_held(self, number: int) -> bool:
        """Whether the process with this number runs."""
        return number == self._number or bool(self._fetch(_HOLDERS, _SENDERS, number))

    def _fetch(self, query: str, *parameters: int) -> Sequence[Any]:
        with self._mutex:
            if self._session is not None:
                try:
                    return list(self._session.execute(query, parameters).fetchall())
                except self._session.OperationalError:
                    self._session.close()
            self._session = None
            session = self._connect()
            session.autocommit = True
            session.execute("SELECT pg_advisory_lock_shared(%s, %s)", (_SENDERS, self._number))
            self._session = session
            atexit.register(_close, session, os.getpid())
            return list(session.execute(query, parameters).fetchall())


def _close(session: psycopg.Connection[Any], pid: int) -> None:
    if os.getpid() == pid:  # a forked process must not end the session of the other
        session.close()


_locks: dict[tuple[Secret, int], SessionLock] = {}


class PostgresDatabase(Database):
    """Read and write transactions on an archive in a PostgreSQL database.

    A transaction that the server ends because of a deadlock is repeated. What must not happen at the same time takes a
    named lock (:func:`~viberkit.archive.engine.lock`).
    """

    def __init__(self, url: Secret) -> None:
        self._parameters = parameters_of(url)
        import psycopg

        self._driver, self._url, self._pid = psycopg, url, os.getpid()
        host, port, user, name = (self._parameters.get(part, "") for part in ("host", "port", "user", "dbname"))
        self.name = f"postgresql://{user and f'{user}@'}{host}{port and f':{port}'}/{name}"
        options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 8, "max_overflow": 24}
        self.engine = create_engine("postgresql+psycopg://", creator=self._connect, use_native_hstore=False, **options)
        weakref.finalize(self, self.engine.dispose)
        facts = self.run(lambda connection: connection.execute(text(_FACTS)).one(), write=False)
        self.is_masked = bool(facts.masked and not facts.reads)
        self.exists = facts.found or self.is_masked
        self.read_only = facts.read_only or (self.exists and not facts.writes)
        if self.is_masked:
            self._parameters["options"] = f"{self._parameters.get('options', '')} -c search_path={MASKED}"
            self.engine.dispose()

    def _connect(self) -> psycopg.Connection[Any]:
        # What is secret is in no variable, because a traceback can show those.
        connection = self._driver.connect(**{name: reveal(value) for name, value in self._parameters.items()})
        wrong = connection.execute(_PREPARE).fetchall()[0][-1]
        connection.commit()
        if wrong:
            connection.close()
            raise ArchiveError(f"{self.name}: {wrong}, so that data can be lost; set it to on, the encoding to UTF8")
        return connection

    def _call(self, engine: Engine, function: Callable[[Connection], _R]) -> _R:
        for _ in range(_ATTEMPTS):
            committing = False
            try:
                with engine.begin() as connection:
                    result = function(connection)
                    committing = True
            except (DBAPIError, self._driver.Error) as raised:
                orig: Any = getattr(raised, "orig", raised)
                state, reason = getattr(orig, "sqlstate", None) or "", str(orig).partition("\n")[0]
                is_lost = isinstance(orig, self._driver.OperationalError) and state[:2] in ("", "08", "57")
            else:
                return result
            if state not in ("40001", "40P01"):
                break
        for secret in self._parameters.values():
            if isinstance(secret, Secret) and len(secret) > 2:
                reason = reason.replace(reveal(secret), "***")
        kind = DiskFull if state == "53100" else ArchiveError if not is_lost else ConnectionLost
        remedy = _REMEDIES.get(state, "nothing was written")
        if is_lost and committing:
            kind, remedy = CommitUnknown, "it is written, or not"
        raise kind(f"{self.name}: {reason}; {remedy}")

    def process(self) -> SessionLock:  # type: ignore[override]
        return _locks.setdefault((self._url, os.getpid()), SessionLock(self._connect))

    def fetch_table(self, query: Select[Any], table: Table) -> list[Row[Any]]:
        """Return the rows of a query on one table, in the order of insertion; readers delay nobody."""
        return list(self.fetch(query.order_by(rowid(table))))

    def reserve(self, sends: int) -> None:
        """Do nothing: the disk is the server's."""

    def settle(self, function: Callable[[Connection], _R]) -> _R:
        """Call a function that stores outcomes, and that can be repeated, in a transaction; wait for a server."""
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                return self.run(function, write=True)
            except ConnectionLost:
                if time.monotonic() > until:
                    raise
            time.sleep(0.2)


def parameters_of(url: Secret) -> dict[str, str]:
    """Return the parameters of a connection, of which those that are secret are hidden."""
    try:
        from psycopg import ProgrammingError, conninfo
    except ImportError:
        raise ArchiveError("archive: PostgreSQL needs psycopg; pip install 'viberkit[postgres]'") from None
    hidden: dict[str, Secret] = {}
    with suppress(ProgrammingError):
        parsed = conninfo.conninfo_to_dict(reveal(url).replace("+psycopg", "", 1))
        hidden = {name: Secret(str(parsed.pop(name))) for name in [*parsed]}
    host, port, database = (hidden.get(part, Secret("")) for part in ("host", "port", "dbname"))
    if not hidden or "@" in host[1:] + database or not (port.replace(",", "") or "0").isdecimal():
        example = "'postgresql://user@host/database', and characters such as / and @ in a password as %2F and %40"
        raise ArchiveError(f"archive: the URL is not valid; pass e.g. {example}")
    parameters = {name: text if "password" in name else reveal(text) for name, text in hidden.items()}
    return {"connect_timeout": "10", "application_name": "viberkit", "client_encoding": "utf8", **parameters}


def reveal(text: str) -> Any:
    """Return the plain text of a secret, which is passed to psycopg for a parameter of any type."""
    return text.encode().decode()
