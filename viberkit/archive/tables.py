"""The archive's tables and their versions. Instants are integers: microseconds since 1970, UTC.

``raw`` holds every response and callback verbatim; messages, statuses, events and inbound are derived from it and
could be derived again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Table, Text

from viberkit.errors import ArchiveError

__all__ = ["MIGRATIONS", "migrate"]

metadata = sa.MetaData()

version = Table("viberkit_version", metadata, Column("version", Integer, nullable=False))

raw = Table(
    "raw",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),  # send, bulk, status, events, message, callback
    Column("message_id", String(128), nullable=False),
    Column("http_status", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("body", sa.LargeBinary, nullable=False),
    Column("request", sa.LargeBinary),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("signed_at", BigInteger),  # of a callback: when the provider signed it
    Column("late", Boolean, nullable=False, default=False, server_default=sa.false()),  # signed too long before receipt
    Column("derived", Boolean, nullable=False, default=False),  # whether its rows in the other tables are written
    Column("unreadable", Text),  # why it, or a part of it, could not be read
    sa.UniqueConstraint("kind", "message_id", "http_status", "digest"),
    sa.Index("raw_pending", "id", sqlite_where=sa.text("NOT derived")),
)

#: Raw rows that are not derived yet; SQLite uses the partial index only for a condition with the same text.
is_pending = sa.text("NOT raw.derived")

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
    Column("content", Text),  # as it was sent, JSON
    Column("sent_at", BigInteger),
    Column("accepted_at", BigInteger),
    Column("state", String(64)),
    Column("state_at", BigInteger),
    Column("observed_until", BigInteger),
    Column("final", Boolean, nullable=False, default=False),
    Column("gone_at", BigInteger),  # when the server reported that it no longer has it
    sa.Index("not_final", "final"),
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

#: The salt makes this archive's keys differ from another's, so that a callback about theirs settles nothing here.
identity = Table("identity", metadata, Column("salt", String(32), primary_key=True))

campaigns = Table(
    "campaigns",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("content", Text, nullable=False),  # as it was passed, with placeholders; JSON
    Column("rate_type", String(16), nullable=False),
    Column("context", String(125)),
    Column("callback_url", Text),
    Column("price_low", sa.Float),  # of one message
    Column("price_high", sa.Float),
    Column("currency", String(8)),
    Column("cost_cap", sa.Float),
    Column("confirmed", Text),  # the last confirmation
    Column("planned_at", BigInteger, nullable=False),
    Column("owner", String(255)),  # the process that is sending it
)

outbox = Table(
    "outbox",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("campaign", String(128)),
    Column("row", Integer),  # of the recipients' table
    Column("to", String(32), nullable=False),
    Column("rate_type", String(16), nullable=False),
    Column("content", Text, nullable=False),  # as it is sent: JSON, of a bulk a list
    Column("ordinal", Integer, nullable=False),
    Column("context", String(125)),
    Column("callback_url", Text),
    Column("service_id", String(64)),
    Column("state", String(16), nullable=False),
    Column("message_id", String(128)),  # of a bulk its id
    Column("http_status", Integer),
    Column("reason", Text),  # why it was rejected or is unknown, and decisions about it
    Column("owner", String(255)),  # the process that is sending it
    Column("planned_at", BigInteger, nullable=False),
    Column("claimed_at", BigInteger),
    Column("settled_at", BigInteger),
    sa.Index("outbox_work", "campaign", "state", "row"),
    sa.Index("outbox_recipient", "to"),
    sa.Index("outbox_in_flight", "owner", sqlite_where=sa.text("state = 'in_flight'")),
)

#: Sends in flight; the text is that of the partial index.
is_in_flight = sa.text("outbox.state = 'in_flight'")


def _add_signatures(connection: sa.Connection) -> None:
    connection.execute(sa.text("ALTER TABLE raw ADD COLUMN signed_at BIGINT"))
    connection.execute(sa.text("ALTER TABLE raw ADD COLUMN late BOOLEAN NOT NULL DEFAULT 0"))


def _add_outbox(connection: sa.Connection) -> None:
    metadata.create_all(connection, tables=[identity, campaigns, outbox])
    _insert_salt(connection)


def _insert_salt(connection: sa.Connection) -> None:
    connection.execute(sa.insert(identity).values(salt=secrets.token_hex(8)))


#: Step n brings an archive from version n to n + 1; a new archive has the newest version. Steps are only ever added.
MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (_add_signatures, _add_outbox)


def migrate(connection: sa.Connection, steps: Sequence[Callable[[sa.Connection], None]] = MIGRATIONS) -> None:
    """Bring an archive to the newest version, within the caller's transaction.

    Raises :class:`~viberkit.errors.ArchiveError` for an archive that a newer viberkit has written.
    """
    tables = sa.inspect(connection).get_table_names()
    newest = 1 + len(steps)
    if not tables:
        metadata.create_all(connection)
        _insert_salt(connection)
        connection.execute(sa.insert(version).values(version=newest))
        return
    if version.name not in tables:
        raise ArchiveError(
            f"the file is a database but not an archive (its tables: {', '.join(tables[:3])}); choose another path"
        )
    current = connection.execute(sa.select(version.c.version)).scalar_one()
    if current > newest:
        raise ArchiveError(
            f"the archive has version {current}, this viberkit reads up to {newest}; install a newer viberkit"
        )
    for step in steps[current - 1 :]:
        step(connection)
    if current < newest:
        connection.execute(sa.update(version).values(version=newest))
