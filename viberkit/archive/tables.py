"""The archive's tables and their versions. Instants are integers: microseconds since 1970, UTC.

``raw`` holds every answer and callback verbatim; everything else is derived from it and could be made again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy import UniqueConstraint as Unique

from viberkit.errors import ArchiveError

__all__ = ["MIGRATIONS", "migrate"]

metadata = MetaData()

version = Table("viberkit_version", metadata, Column("version", Integer, nullable=False))

raw = Table(
    "raw",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),  # send, bulk, status, events, message, callback
    Column("message_id", String(128), nullable=False),
    Column("http_status", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("request", LargeBinary),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("signed_at", BigInteger),  # of a callback: when the provider signed it
    Column("late", Boolean, nullable=False, default=False, server_default=false()),  # signed too long before it came
    Column("derived", Boolean, nullable=False, default=False),  # whether its rows below are made
    Column("unreadable", Text),  # why it, or a part of it, could not be read
    Unique("kind", "message_id", "http_status", "digest"),
    Index("raw_pending", "id", sqlite_where=text("NOT derived"), postgresql_where=text("NOT derived")),
)

#: Raw rows whose meaning is not yet in the tables; worded as the partial index is, or SQLite does not use it.
pending = text("NOT raw.derived")

messages = Table(
    "messages",
    metadata,
    Column("message_id", String(128), primary_key=True),
    Column("to", String(32)),
    Column("rate_type", String(16)),
    Column("content_type", String(32)),
    Column("service_id", String(64)),
    Column("channel", String(16)),
    Column("campaign", String(128)),
    Column("bulk_id", String(128)),
    Column("context", String(125)),
    Column("text", Text),
    Column("content", Text),  # as it went out, JSON
    Column("sent_at", BigInteger),
    Column("accepted_at", BigInteger),
    Column("state", String(64)),
    Column("state_at", BigInteger),
    Column("observed_until", BigInteger),
    Column("final", Boolean, nullable=False, default=False),
    Column("gone_at", BigInteger),  # when the server said that it no longer knows it
    Index("not_final", "final"),
)

statuses = Table(
    "statuses",
    metadata,
    Column("message_id", String(128), primary_key=True),
    Column("state", String(64), primary_key=True),
    Column("since", BigInteger, primary_key=True),
    Column("observed_at", BigInteger, nullable=False),
    Column("channel", String(16)),
    Column("naive", Boolean, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("message_id", String(128), primary_key=True),
    Column("state", String(128), primary_key=True),
    Column("happened_at", BigInteger, primary_key=True),
    Column("source", String(16), primary_key=True),
    Column("channel", String(16)),
    Column("code", String(128)),
    Column("detail", Text),
    Column("sender", String(64)),
    Column("user_context", Text),
    Column("received_at", BigInteger, nullable=False),
    Column("naive", Boolean, nullable=False),
)

inbound = Table(
    "inbound",
    metadata,
    Column("message_id", String(128), primary_key=True),
    Column("sender", String(64)),
    Column("to", String(64)),
    Column("channel", String(16)),
    Column("happened_at", BigInteger),
    Column("received_at", BigInteger, nullable=False),
    Column("kind", String(32), primary_key=True),
    Column("text", Text),
    Column("media_id", String(128)),
    Column("media_url", Text),
    Column("reply_to", String(128)),
    Column("postback", Text),
    Column("naive", Boolean, nullable=False),
)

#: What tells this archive's keys from another's, so that a callback about theirs settles nothing here.
identity = Table("identity", metadata, Column("salt", String(32), primary_key=True))

campaigns = Table(
    "campaigns",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("content", Text, nullable=False),  # as it was given, placeholders and all; JSON
    Column("rate_type", String(16), nullable=False),
    Column("context", String(125)),
    Column("callback_url", Text),
    Column("price_low", Float),  # of one message
    Column("price_high", Float),
    Column("currency", String(8)),
    Column("cost_cap", Float),
    Column("confirmed", Text),  # what somebody confirmed last
    Column("planned_at", BigInteger, nullable=False),
    Column("owner", String(255)),  # the process that works it
)

outbox = Table(
    "outbox",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("campaign", String(128)),
    Column("row", Integer),  # of the recipients' table
    Column("to", String(32), nullable=False),
    Column("rate_type", String(16), nullable=False),
    Column("content", Text, nullable=False),  # as it goes out: JSON, of a bulk a list
    Column("ordinal", Integer, nullable=False),
    Column("context", String(125)),
    Column("callback_url", Text),
    Column("service_id", String(64)),
    Column("state", String(16), nullable=False),
    Column("message_id", String(128)),  # of a bulk its id
    Column("http_status", Integer),
    Column("reason", Text),  # why it was refused, is unknown, or was decided so
    Column("owner", String(255)),  # the process that has it in flight
    Column("planned_at", BigInteger, nullable=False),
    Column("claimed_at", BigInteger),
    Column("settled_at", BigInteger),
    Index("outbox_work", "campaign", "state", "row"),
    Index("outbox_recipient", "to"),
    Index("outbox_in_flight", "owner", sqlite_where=text("state = 'in_flight'")),
)

#: Sends that are in flight; worded as the partial index is.
in_flight_now = text("outbox.state = 'in_flight'")


def _callbacks_are_marked(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE raw ADD COLUMN signed_at BIGINT"))
    connection.execute(text("ALTER TABLE raw ADD COLUMN late BOOLEAN NOT NULL DEFAULT 0"))


def _sends_begin_in_an_outbox(connection: Connection) -> None:
    metadata.create_all(connection, tables=[identity, campaigns, outbox])
    _identify(connection)


def _identify(connection: Connection) -> None:
    connection.execute(insert(identity).values(salt=secrets.token_hex(8)))


#: Step n brings an archive from version n to n + 1; a new one begins with the newest. Steps are only ever added.
MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_callbacks_are_marked, _sends_begin_in_an_outbox)


def migrate(connection: Connection, steps: Sequence[Callable[[Connection], None]] = MIGRATIONS) -> None:
    """Bring an archive to the newest version, within the caller's transaction.

    Raises :class:`~viberkit.errors.ArchiveError` for an archive that a newer viberkit has written.
    """
    tables = inspect(connection).get_table_names()
    known = version.name in tables
    if tables and not known:
        raise ArchiveError(
            f"the file is a database, but no archive (it holds {', '.join(tables[:3])}); choose another path"
        )
    newest = 1 + len(steps)
    if not known:
        metadata.create_all(connection)
        _identify(connection)
        connection.execute(insert(version).values(version=newest))
        return
    found = connection.execute(select(version.c.version)).scalar_one()
    if found > newest:
        raise ArchiveError(
            f"the archive is of version {found}, this viberkit knows {newest}; install a newer viberkit to open it"
        )
    for step in steps[found - 1 :]:
        step(connection)
    if found < newest:
        connection.execute(update(version).values(version=newest))
