"""The archive: a local database that keeps what the API forgets.

Every answer is kept verbatim before it is read; tables of messages, statuses, events and inbound messages
are derived from it in the same transaction. The same answer twice changes nothing. Several processes may
use one file. The API key is never written.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, Select, and_, bindparam, create_engine, event, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError

from viberkit import derived, frames, schema
from viberkit.derived import micros
from viberkit.errors import ArchiveError
from viberkit.phone import mask
from viberkit.problems import says_unknown
from viberkit.states import FINAL, rank
from viberkit.transport import Answer

__all__ = ["Archive", "journal_mode"]

#: Who is believed first about when a message entered a state.
_SOURCES = ("history", "callback", "status", "send")


def journal_mode(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> tuple[str, str]:
    """The journal and synchronous modes that are safe with a version of SQLite.

    WAL can lose commits before 3.51.3 (fixed in 3.50.7 and 3.44.6 too) when two connections write and
    checkpoint at once; those versions use a rollback journal with the strictest syncing.

    >>> journal_mode((3, 40, 1)), journal_mode((3, 51, 3))
    (('DELETE', 'EXTRA'), ('WAL', 'FULL'))
    """
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return ("WAL", "FULL") if fixed else ("DELETE", "EXTRA")


class Archive:
    """An archive in a SQLite file, made with mode 0600 if it is not there.

    Safe to use from many threads and processes. Raises :class:`~viberkit.errors.ArchiveError` where the
    file cannot be opened, is no archive, or was written by a newer viberkit.

    >>> with Archive("deliveries.db") as archive:
    ...     len(archive.messages()), list(archive.events().columns[:3])
    (0, ['message_id', 'state', 'happened_at'])
    """

    def __init__(self, path_or_url: str | Path) -> None:
        text = str(path_or_url).removeprefix("sqlite:///")
        if "://" in text or text in ("", ":memory:"):
            raise ArchiveError(
                f"archive: {text.split('@')[-1]!r} is not the path of a SQLite file; pass e.g. 'deliveries.db'"
            )
        self.path = Path(text)
        self._pid = os.getpid()
        with _told(self.path):
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._engine = _engine(self.path)
            with self._write() as connection:
                schema.migrate(connection)
        self._finalizer = weakref.finalize(self, self._engine.dispose)

    def __repr__(self) -> str:
        return f"Archive({str(self.path)!r})"

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the archive may be used again."""
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its beginning; durable when it ends."""
        with _told(self.path), self._connect().execution_options(write=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _told(self.path), self._connect() as connection:
            yield connection

    def _connect(self) -> Connection:
        if os.getpid() != self._pid:  # a connection must not cross a fork
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        return self._engine.connect()

    # --- writing -----------------------------------------------------------------------------------------

    def keep_sent(self, message_id: str, request: Mapping[str, Any], answer: Answer) -> None:
        """Keep an accepted send or bulk: the answer, the request as it went out, and a row for each message."""
        wired = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
        self._keep([_raw_row("bulk" if "messages" in request else "send", message_id, answer, wired)])

    def keep_answers(self, what: str, answers: Iterable[tuple[str, Answer]]) -> dict[str, str]:
        """Keep answers about messages; ``what`` they are: status, events or message.

        Gives what became of each: ``changed``, ``same``, ``gone`` (404: the server no longer knows it),
        ``refused (status)``, or ``unreadable: …`` with the reason; nothing is thrown away.
        """
        return self._keep([_raw_row(what, message_id, answer) for message_id, answer in answers])

    def keep_callback(self, body: bytes, received_at: datetime) -> None:
        """Keep a callback's raw body, and what it tells if it can be read."""
        self._keep([_raw_row("callback", "", Answer(200, body, received_at, {}))])

    def _keep(self, rows: list[dict[str, Any]]) -> dict[str, str]:
        """First the raw answers, then what they mean, in one durable transaction. Where the second cannot be
        written the first is kept, and derived with the next writing."""
        raw = schema.raw
        added = insert(raw)
        later = added.excluded.last_seen > raw.c.last_seen
        upsert = added.on_conflict_do_update(
            ["kind", "message_id", "http_status", "digest"],
            set_={"last_seen": added.excluded.last_seen, "derived": False},
            where=later,
        )
        unreadable, fault = {}, None
        with self._write() as connection:
            known = _digests(connection, [row["message_id"] for row in rows])
            connection.execute(upsert, rows)
            try:
                with connection.begin_nested():
                    unreadable = _derive_pending(connection)
            except IntegrityError as error:
                fault = f"{self.path}: the answers are kept, but not yet derived: {error.orig}"
        if fault:
            raise ArchiveError(fault)
        became = {}
        for row in rows:
            message_id, status = row["message_id"], row["http_status"]
            became[message_id] = "same" if row["digest"] in known else "changed"
            if status in (404, 410) and says_unknown(row["body"]):
                became[message_id] = "gone"
            elif not 200 <= status < 300:
                became[message_id] = f"refused ({status})"
            elif row["digest"] in unreadable:
                became[message_id] = f"unreadable: {unreadable[row['digest']]}"
        return became

    # --- reading -----------------------------------------------------------------------------------------

    def open_messages(self) -> list[str]:
        """The ids of messages that are not final and that the server still knows, oldest first."""
        table = schema.messages
        known = or_(table.c.gone_at.is_(None), table.c.gone_at <= table.c.observed_until)
        asked = select(table.c.message_id).where(and_(~table.c.final, known)).order_by(table.c.sent_at)
        with self._read() as connection:
            return list(connection.execute(asked).scalars())

    def messages(self, *, numbers: bool = False) -> pd.DataFrame:
        """One row a message: what was sent, its latest state, and until when it was observed (frames.MESSAGES).

        Phone numbers are masked unless ``numbers`` is true.
        """
        frame = self._frame(select(schema.messages).order_by(schema.messages.c.sent_at), frames.MESSAGES)
        return frame if numbers else _masked(frame, "to")

    def statuses(self) -> pd.DataFrame:
        """Every status that was polled: state, since when, and when it was observed (frames.STATUSES)."""
        return self._frame(select(schema.statuses).order_by(schema.statuses.c.observed_at), frames.STATUSES)

    def inbound(self, *, numbers: bool = False) -> pd.DataFrame:
        """Everything that recipients wrote (frames.INBOUND); their numbers are masked unless ``numbers`` is true."""
        frame = self._frame(select(schema.inbound).order_by(schema.inbound.c.received_at), frames.INBOUND)
        return frame if numbers else _masked(frame, "sender")

    def events(self) -> pd.DataFrame:
        """Every event of every message (frames.EVENTS), with the message's ``rate_type`` and ``content_type``.

        Where several sources tell of one state of one message, the best is taken: history, then callback,
        status, send; ``observed_until`` is the last time that anybody looked at the message.
        """
        told, message = schema.events, schema.messages
        columns = [told.c[name] for name in frames.EVENTS.names if name in told.c]
        columns += [message.c.observed_until, message.c.rate_type, message.c.content_type]
        asked = select(*columns).join(message, message.c.message_id == told.c.message_id)
        frame = self._frame(asked.order_by(message.c.sent_at, told.c.message_id, told.c.happened_at), frames.EVENTS)
        for name in ("rate_type", "content_type"):
            frame[name] = frame[name].astype("category")
        belief = frame["source"].map({source: place for place, source in enumerate(_SOURCES)}).astype("int64")
        best = belief.groupby([frame["message_id"], frame["state"]], observed=True).transform("min")
        return frame[belief == best].reset_index(drop=True)

    def answers(self, what: str) -> list[bytes]:
        """The raw bodies of one kind (send, bulk, status, events, message, callback), as they came, oldest first."""
        asked = select(schema.raw.c.body).where(schema.raw.c.kind == what).order_by(schema.raw.c.id)
        with self._read() as connection:
            return list(connection.execute(asked).scalars())

    def unreadable(self) -> pd.DataFrame:
        """What was kept but could not be read, whole or in part: kind, message_id, reason, body."""
        raw = schema.raw
        asked = select(raw.c.kind, raw.c.message_id, raw.c.unreadable.label("reason"), raw.c.body).where(
            raw.c.unreadable.is_not(None)
        )
        return pd.DataFrame(self._columns(asked.order_by(raw.c.id)))

    def _frame(self, asked: Select[Any], shape: frames.Schema) -> pd.DataFrame:
        columns: dict[str, Any] = {**self._columns(asked)}
        for column in shape:
            if column.dtype == frames.INSTANT:
                columns[column.name] = pd.to_datetime(
                    pd.Series(columns[column.name], dtype="Int64"), unit="us", utc=True
                )
        return shape.frame(columns)

    def _columns(self, asked: Any) -> dict[str, Sequence[Any]]:
        with self._read() as connection:
            result = connection.execute(asked)
            names = list(result.keys())
            rows = result.fetchall()
        return dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())


def _masked(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.assign(**{column: frame[column].map(mask, na_action="ignore").astype("str")})


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": 30}, max_overflow=-1)
    journal, synchronous = journal_mode()

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """The database's own errors in words that say which file and what to do."""
    fault = None
    try:
        yield
    except OSError as error:
        fault = f"{path}: cannot be opened ({error.strerror}); choose a file in a folder that you may write to"
    except DBAPIError as error:
        reason = str(error.orig)
        remedy = {
            "file is not a database": "it is another kind of file; choose another path",
            "attempt to write a readonly database": "the file or its folder is read-only; make it writable",
            "database is locked": "another process holds it for more than 30 s; close that one, or wait",
            "database or disk is full": "make room on the disk; nothing of this step was written",
        }.get(reason, "nothing of this step was written")
        fault = f"{path}: {reason}; {remedy}"
    if fault:
        raise ArchiveError(fault)


def _raw_row(what: str, message_id: str, answer: Answer, request: bytes | None = None) -> dict[str, Any]:
    seen, digest = micros(answer.observed_at), hashlib.sha256(answer.body).hexdigest()
    row = {"kind": what, "message_id": message_id, "http_status": answer.status, "digest": digest}
    return {**row, "body": answer.body, "request": request, "first_seen": seen, "last_seen": seen, "derived": False}


def _digests(connection: Connection, ids: Sequence[str]) -> set[str]:
    """What is already known verbatim of some messages."""
    found: set[str] = set()
    for chunk in _chunks(ids):
        found |= set(
            connection.execute(select(schema.raw.c.digest).where(schema.raw.c.message_id.in_(chunk))).scalars()
        )
    return found


def _derive_pending(connection: Connection) -> dict[str, str]:
    """Make the rows of every raw answer that has none yet; gives why some could not be read, by digest."""
    raw = schema.raw
    columns = [raw.c[name] for name in derived.Raw.__slots__]
    unreadable: dict[str, str] = {}
    while True:
        asked = select(raw.c.digest, *columns).where(~raw.c.derived).order_by(raw.c.id).limit(500)
        pending = connection.execute(asked).fetchall()
        if not pending:
            return unreadable
        made = [(derived.Raw(*row[1:]), derived.rows(derived.Raw(*row[1:]))) for row in pending]
        for table in (schema.messages, schema.statuses, schema.events, schema.inbound):
            rows = [row for _, each in made for row in getattr(each, table.name)]
            if rows and table is not schema.messages:
                connection.execute(insert(table).on_conflict_do_nothing(), rows)
            for row in rows if table is schema.messages else ():
                _know(connection, row)
        _refresh(connection, made)
        done = [{"this": one.id, "why": each.unreadable} for one, each in made]
        mark = update(raw).where(raw.c.id == bindparam("this")).values(derived=True, unreadable=bindparam("why"))
        connection.execute(mark, done)
        unreadable |= {row[0]: each.unreadable for row, (_, each) in zip(pending, made, strict=True) if each.unreadable}


def _know(connection: Connection, row: Mapping[str, Any]) -> None:
    """A message's row, or the facts of it that were not known yet."""
    table = schema.messages
    added = insert(table).values(**row)
    news = {name: func.coalesce(table.c[name], added.excluded[name]) for name in row if name != "message_id"}
    connection.execute(added.on_conflict_do_update(["message_id"], set_=news))


def _refresh(connection: Connection, made: Sequence[tuple[derived.Raw, derived.Rows]]) -> None:
    """Bring the messages' latest state and observation up to date with their events."""
    observed: dict[str, int] = {}
    for raw, rows in made:
        for message_id in rows.observed:
            observed[message_id] = max(observed.get(message_id, 0), raw.last_seen)
    told, table = schema.events, schema.messages
    entered: dict[str, list[tuple[bool, int, int, str]]] = {}
    for chunk in _chunks(list(observed)):
        columns = (told.c.message_id, told.c.state, told.c.happened_at, told.c.source)
        for message_id, state, at, source in connection.execute(select(*columns).where(told.c.message_id.in_(chunk))):
            entered.setdefault(message_id, []).append((source != "send", at, rank(state), state))
    news = [_latest(message_id, entered.get(message_id, []), seen) for message_id, seen in observed.items()]
    gone = [{"message_id": raw.message_id, "final": False, "gone_at": raw.last_seen} for raw, rows in made if rows.gone]
    if news:
        added = insert(table)
        seen = func.max(func.coalesce(table.c.observed_until, 0), added.excluded.observed_until)
        changed = {name: added.excluded[name] for name in ("state", "state_at", "final")}
        connection.execute(added.on_conflict_do_update(["message_id"], set_={**changed, "observed_until": seen}), news)
    if gone:
        added = insert(table)
        later = func.max(func.coalesce(table.c.gone_at, 0), added.excluded.gone_at)
        connection.execute(added.on_conflict_do_update(["message_id"], set_={"gone_at": later}), gone)


def _latest(message_id: str, entered: list[tuple[bool, int, int, str]], seen: int) -> dict[str, Any]:
    """What others tell comes before our own note of the send; then the latest, then the life cycle decides."""
    _, at, _, state = max(entered, default=(False, None, 0, None))
    final = any(each in FINAL for *_, each in entered)
    row = {"message_id": message_id, "state": state, "state_at": at, "final": final}
    return {**row, "observed_until": seen}


def _chunks(ids: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
