"""The archive's tables and their versions. Instants are integers: microseconds since 1970, UTC.

``raw`` holds every response and callback verbatim; messages, statuses, events and inbound are derived from it and
could be derived again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Integer, Table

from viberkit.archive.dialect import rowid, text_type
from viberkit.archive.engine import lock
from viberkit.archive.roles import create_views
from viberkit.errors import ArchiveError
from viberkit.models.phone import country

metadata = sa.MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")
_CHUNK = 10_000  # rows that a migration reads at once


def _columns(kind: Any, *names: str, **options: Any) -> list[Column[Any]]:
    return [Column(name, kind, **options) for name in names]


def _where(condition: str) -> dict[str, Any]:
    """Return the condition of a partial index."""
    return {f"{name}_where": sa.text(condition) for name in ("sqlite", "postgresql")}


version = Table("viberkit_version", metadata, Column("version", Integer, nullable=False))

raw = Table(
    "raw",
    metadata,
    Column("id", _Id, primary_key=True),
    # kind: send, bulk, status, events, message or callback
    *_columns(text_type, "kind", "message_id", "digest", nullable=False),
    Column("http_status", Integer, nullable=False),
    Column("body", sa.LargeBinary, nullable=False),
    Column("request", sa.LargeBinary),
    *_columns(BigInteger, "first_seen", "last_seen", nullable=False),
    Column("signed_at", BigInteger),  # of a callback: when the provider signed it
    Column("late", Boolean, nullable=False, default=False, server_default=sa.false()),  # signed too long before receipt
    Column("derived", Boolean, nullable=False, default=False),  # whether its rows in the other tables are written
    Column("unreadable", text_type),  # why it, or a part of it, could not be read
    sa.UniqueConstraint("kind", "message_id", "http_status", "digest"),
    sa.Index("raw_pending", "id", **_where("NOT derived")),
)

#: Raw rows that are not derived yet; SQLite uses the partial index only for a condition with the same text.
is_pending = sa.text("NOT raw.derived")

#: The kind of a raw row, without its index: SQLite then reads a range of ids instead of all rows of the kind.
raw_kind = raw.c.kind.concat(sa.literal_column("''"))

# content: as it was sent, JSON; gone_at: when the server reported that it no longer has the message; country: of to.
messages = Table(
    "messages",
    metadata,
    Column("message_id", text_type, primary_key=True),
    *_columns(text_type, "to", "rate_type", "content_type", "service_id", "channel", "campaign", "bulk_id", "context"),
    *_columns(text_type, "text", "content", "state", "country"),
    *_columns(BigInteger, "sent_at", "accepted_at", "state_at", "observed_until", "gone_at"),
    Column("final", Boolean, nullable=False, default=False),
    sa.Index("not_final", "final"),
)

# Responses to status requests; since: the reported time, or observed_at if none was reported.
statuses = Table(
    "statuses",
    metadata,
    *_columns(text_type, "message_id", "state", primary_key=True),
    Column("since", BigInteger, primary_key=True),
    Column("observed_at", BigInteger, nullable=False),
    Column("channel", text_type),
    Column("naive", Boolean, nullable=False),
)

events = Table(
    "events",
    metadata,
    *_columns(text_type, "message_id", "state", primary_key=True),
    Column("happened_at", BigInteger, primary_key=True),
    Column("source", text_type, primary_key=True),
    *_columns(text_type, "channel", "code", "detail", "sender", "user_context"),
    Column("received_at", BigInteger, nullable=False),
    Column("naive", Boolean, nullable=False),
)

inbound = Table(
    "inbound",
    metadata,
    *_columns(text_type, "message_id", "kind", primary_key=True),
    *_columns(text_type, "sender", "to", "channel", "text", "media_id", "media_url", "reply_to", "postback"),
    Column("happened_at", BigInteger),
    Column("received_at", BigInteger, nullable=False),
    Column("naive", Boolean, nullable=False),
)

# A listener ran from began_at to last_at, its last heartbeat, and could store callbacks.
_period = Column("id", _Id, primary_key=True)
listening = Table("listening", metadata, _period, *_columns(BigInteger, "began_at", "last_at", nullable=False))

#: The salt makes this archive's keys differ from another's, so that callbacks about its sends settle nothing here.
identity = Table("identity", metadata, Column("salt", text_type, primary_key=True))

# content: as it was passed, with placeholders, JSON; prices: of one message; confirmed: the last confirmation; owner:
# the process that is sending it.
campaigns = Table(
    "campaigns",
    metadata,
    Column("name", text_type, primary_key=True),
    *_columns(text_type, "content", "rate_type", nullable=False),
    *_columns(text_type, "context", "callback_url", "currency", "confirmed", "owner"),
    *_columns(sa.Float, "price_low", "price_high", "cost_cap"),
    Column("planned_at", BigInteger, nullable=False),
)

# row: of the recipients' table; content: as it is sent, JSON, of a bulk a list; message_id: of a bulk its id; reason:
# why it was rejected or is unknown, and decisions about it; owner: the process that is sending it.
outbox = Table(
    "outbox",
    metadata,
    Column("key", text_type, primary_key=True),
    Column("row", Integer),
    *_columns(text_type, "to", "rate_type", "content", "state", nullable=False),
    *_columns(text_type, "campaign", "context", "callback_url", "service_id", "message_id", "reason", "owner"),
    *_columns(BigInteger, "ordinal", "planned_at", nullable=False),
    *_columns(BigInteger, "http_status", "claimed_at", "settled_at"),
    sa.Index("outbox_work", "campaign", "state", "row"),
    sa.Index("outbox_recipient", "to"),
    sa.Index("outbox_message", "message_id"),
    sa.Index("outbox_in_flight", "owner", **_where("state = 'in_flight'")),
)

#: Sends in flight; the text is that of the partial index.
is_in_flight = sa.text("outbox.state = 'in_flight'")


def _create(connection: sa.Connection, *tables: Table) -> None:
    """Create some tables, or all, and the salt."""
    metadata.create_all(connection, tables=tables or None)
    if connection.dialect.name == "postgresql":  # the order of insertion, which SQLite has in a column of this name
        for table in metadata.tables:
            definition = "rowid BIGINT GENERATED BY DEFAULT AS IDENTITY UNIQUE"
            connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {definition}"))
        create_views(connection, metadata)
    connection.execute(sa.insert(identity).values(salt=secrets.token_hex(8)))


def _add_signatures_and_outbox(connection: sa.Connection) -> None:
    connection.execute(sa.text("ALTER TABLE raw ADD COLUMN signed_at BIGINT"))
    connection.execute(sa.text("ALTER TABLE raw ADD COLUMN late BOOLEAN NOT NULL DEFAULT 0"))
    _create(connection, identity, campaigns, outbox)


def _add_countries(connection: sa.Connection) -> None:
    connection.execute(sa.text(f"ALTER TABLE messages ADD COLUMN country {text_type.compile(connection.dialect)}"))
    position = rowid(messages)
    write = sa.update(messages).where(position == sa.bindparam("row")).values(country=sa.bindparam("country"))
    query, last = sa.select(position, messages.c.to).order_by(position).limit(_CHUNK), 0
    while rows := connection.execute(query.where(position > last)).all():
        connection.execute(write, [{"row": row, "country": country(to)} for row, to in rows])
        last = rows[-1][0]


#: Step n brings an archive from version n to n + 1; a new archive has the newest version. Steps are only ever added.
MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_add_signatures_and_outbox, listening.create, _add_countries)


def migrate(connection: sa.Connection, steps: Sequence[Callable[[sa.Connection], None]] = MIGRATIONS) -> None:
    """Bring an archive to the newest version, within the caller's transaction, which only checks it if it only reads.

    Raises :class:`~viberkit.errors.ArchiveError` for an archive that is damaged or that a newer viberkit has written.
    """
    write = connection.get_execution_options().get("write", True)
    if write:
        lock(connection, "migrate")
    inspector, newest = sa.inspect(connection), 1 + len(steps)
    tables = inspector.get_table_names() + inspector.get_view_names()  # a reader of PostgreSQL sees views
    if not tables and write:
        _create(connection)
        connection.execute(sa.insert(version).values(version=newest))
        return
    if version.name not in tables:
        raise ArchiveError(f"it is not an archive (its tables: {', '.join(tables[:3])}); choose another path")
    current = _single(connection, version.c.version, int)
    if current < 0:
        raise ArchiveError("the archive is an unfinished copy; run viberkit archive copy again")
    if current > newest:
        raise ArchiveError(f"the archive has version {current}, newer than {newest}; install a newer viberkit")
    if current < newest:
        if not write:
            raise ArchiveError(f"the archive has version {current}; open it once where it can be written")
        for step in steps[current - 1 :]:
            step(connection)
        if connection.dialect.name == "postgresql":
            create_views(connection, metadata)
        connection.execute(sa.update(version).values(version=newest))
    _single(connection, identity.c.salt, str)


def _single(connection: sa.Connection, column: Column[Any], kind: type) -> Any:
    """Return the only value of a table that has one row."""
    values = connection.execute(sa.select(column)).scalars().all()
    if len(values) != 1 or type(values[0]) is not kind or values[0] == kind():
        raise ArchiveError(f"the archive is damaged: {column} has {values[:3]} instead of one value; restore a copy")
    return values[0]
