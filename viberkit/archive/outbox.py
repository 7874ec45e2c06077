"""The outbox: every send is a durable row here before its first byte is sent.

::

    planned ─► queued ─► in_flight ─┬─► accepted
                  ▲                 ├─► rejected      the server refused it (4xx)
                  └── not accepted ─┤
                                    └─► unknown ─┬─► accepted    a callback returns its key
                                                 ├─► requeued    resolved as "resend": a new row is queued
                                                 └─► abandoned   resolved as "abandon"

A row is posted once. Only what was certainly not accepted (no byte sent, 429) is queued again; what may have been
accepted is ``unknown`` and is never sent again automatically. A row in flight whose process has ended, or whose call
was interrupted, becomes unknown too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, func, or_, select, update

from viberkit.archive.derive import micros
from viberkit.archive.dialect import insert
from viberkit.archive.tables import identity, is_in_flight, outbox
from viberkit.models.keys import make_key
from viberkit.models.records import AcceptanceEvidence, SendOutcome

_LOST = "the process ended, or the call was interrupted, while the message was being sent"
#: Insert rows; existing rows stay unchanged.
INSERT = insert(outbox).on_conflict_do_nothing()
_row = update(outbox).where(outbox.c.key == bindparam("row_key"))
_CLAIM = _row.where(outbox.c.state == "queued").values(
    state="in_flight", service_id=bindparam("service"), owner=bindparam("process"), claimed_at=bindparam("at")
)
_open = or_(outbox.c.state == "in_flight", outbox.c.state == "unknown")
_SETTLE = _row.where(_open, outbox.c.owner == bindparam("process")).values(
    state=bindparam("new_state"),
    reason=bindparam("text"),
    message_id=func.coalesce(outbox.c.message_id, bindparam("id")),
    http_status=bindparam("status"),
    settled_at=bindparam("at"),
    owner=None,
)


def now() -> int:
    """Return the current time in microseconds since 1970, UTC."""
    return micros(datetime.now(UTC))


# --- owners ------------------------------------------------------------------------------------------------


def current_owner(connection: Connection) -> str:
    """Return the identity of the thread that began this transaction: the number of its process, and its own."""
    options = connection.get_execution_options()
    return f"{options['process']().number}/{options['thread']}"


def is_sending(connection: Connection, owner: str | None) -> bool:
    """Whether an owner may still be sending: its process runs; of this process, its thread, and not in this call."""
    number, _, thread = (owner or "").partition("/")
    if not (number.isdigit() and thread.isdigit()):
        return False
    options = connection.get_execution_options()
    process = options["process"]()
    # In a forked process, the native id of the main thread may be wrong; on Linux it is the process id.
    threads = {os.getpid(), *(other.native_id for other in threading.enumerate())} - {options["thread"]}
    return process.is_held(int(number)) and (int(number) != process.number or int(thread) in threads)


# --- one send ----------------------------------------------------------------------------------------------


def find_duplicate(connection: Connection, to: str, content: str, *states: str) -> RowMapping | None:
    """Return the latest send, in one of these states, of the same content to the same recipient, in any campaign."""
    same = and_(outbox.c.to == to, outbox.c.content == content)
    query = select(outbox).where(same, outbox.c.state.in_(states)).order_by(outbox.c.ordinal.desc()).limit(1)
    return connection.execute(query).mappings().first()


def next_key(connection: Connection, campaign: str | None, to: str, content: str) -> tuple[str, int]:
    """Return the key and ordinal of the next send of a content; a queued row, which was never sent, is reused."""
    same = and_(outbox.c.campaign.is_not_distinct_from(campaign), outbox.c.to == to, outbox.c.content == content)
    query = select(func.coalesce(func.max(outbox.c.ordinal) + 1, 0)).where(same, outbox.c.state != "queued")
    ordinal = int(connection.execute(query).scalar_one())
    return make_key(campaign, to, content, ordinal, salt(connection)), ordinal


def salt(connection: Connection) -> str:
    """Return the archive's salt, which makes its keys differ from those of other archives."""
    return str(connection.execute(select(identity.c.salt)).scalar_one())


def claim(connection: Connection, keys: Sequence[str], *, service_id: str | None) -> None:
    """Mark queued rows as in flight: from the commit on they may have been sent."""
    if keys:
        shared = {"service": service_id, "process": current_owner(connection), "at": now()}
        connection.execute(_CLAIM, [{"row_key": key, **shared} for key in keys])


def settle(connection: Connection, outcomes: Mapping[str, SendOutcome]) -> None:
    """Store one outcome or more of the caller's rows that have none; a row that a callback has settled stays accepted.

    Of a row that is queued again and claimed by another process, nothing is changed, so that this can be repeated.
    """
    rows, settled_at, process = [], now(), current_owner(connection)
    for key, outcome in outcomes.items():
        row = {"row_key": key, "process": process, "new_state": outcome.state, "text": outcome.reason or None}
        at = None if outcome.state == "queued" else settled_at
        rows.append({**row, "id": outcome.message_id, "status": outcome.http_status, "at": at})
    connection.execute(_SETTLE, rows)


def settle_by_evidence(connection: Connection, evidence: Mapping[str, AcceptanceEvidence]) -> Sequence[RowMapping]:
    """Mark the sends that callbacks prove as accepted; return the rows that this changed, as they were.

    A queued resend of such a message is deleted.
    """
    unsettled = and_(outbox.c.key.in_(list(evidence)), outbox.c.state != "accepted", outbox.c.claimed_at.is_not(None))
    query = select(outbox).where(unsettled).with_for_update()
    rows = connection.execute(query).mappings().all() if evidence else []
    for row in rows:
        if row["state"] == "requeued":
            same = [outbox.c[name].is_not_distinct_from(row[name]) for name in ("campaign", "to", "content")]
            resend = and_(*same, outbox.c.ordinal > row["ordinal"], outbox.c.state.in_(["planned", "queued"]))
            connection.execute(delete(outbox).where(resend))
        proof = evidence[row["key"]]
        reason = "; ".join(filter(None, [row["reason"], "a callback shows that it was accepted"]))
        values = {"state": "accepted", "message_id": proof.message_id, "settled_at": proof.at, "reason": reason}
        connection.execute(update(outbox).where(outbox.c.key == row["key"]).values(**values, owner=None))
    return rows


# --- sends without an outcome ------------------------------------------------------------------------------


def mark_lost(connection: Connection, *, campaign: str | None = None) -> None:
    """Mark rows in flight that nobody is sending as unknown; of a campaign that the caller owns, all in flight."""
    in_flight = is_in_flight if campaign is None else and_(outbox.c.campaign == campaign, is_in_flight)
    owners = connection.execute(select(outbox.c.owner).where(in_flight).distinct()).scalars().all()
    ended = [owner for owner in owners if campaign is not None or not is_sending(connection, owner)]
    if ended:
        lost = update(outbox).where(in_flight, outbox.c.owner.in_(ended))
        connection.execute(lost.values(state="unknown", reason=_LOST, settled_at=now()))  # its owner may yet settle it


def resolve(connection: Connection, keys: Iterable[str], *, resend: bool, reason: str) -> int:
    """Store a decision about unknown rows and return how many there were. A resend is a new row with a new key.

    A rejected row may be resent too, as it is: it was not delivered and not charged.
    """
    mark_lost(connection)
    states = ["unknown", "rejected"] if resend else ["unknown"]
    count = 0
    for key in keys:
        query = select(outbox).where(outbox.c.key == key, outbox.c.state.in_(states)).with_for_update()
        row = connection.execute(query).mappings().first()
        if row is None:
            continue
        count += 1
        state = "abandoned" if not resend else "queued" if row["state"] == "rejected" else "requeued"
        values = {"state": state, "reason": f"{row['reason']}; decided: {reason}"}
        connection.execute(update(outbox).where(outbox.c.key == key).values(**values))
        if state == "requeued":
            new_key, ordinal = next_key(connection, row["campaign"], row["to"], row["content"])
            names = ("campaign", "row", "to", "rate_type", "content", "context", "callback_url")
            resent = {name: row[name] for name in names} | {"key": new_key, "ordinal": ordinal}
            connection.execute(INSERT, [{**resent, "state": "queued", "planned_at": now()}])
    return count
