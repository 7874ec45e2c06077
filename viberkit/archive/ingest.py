"""How responses and callbacks are written: verbatim first, then the rows derived from them, in one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, func, select, update
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, ProgrammingError

from viberkit.archive import outbox, tables
from viberkit.archive.derive import DerivedRows, RawRecord, content_facts, derive_rows, micros
from viberkit.archive.dialect import Insert, greatest, insert, json_each, least
from viberkit.archive.engine import lock
from viberkit.models.callback import Callback
from viberkit.models.phone import country
from viberkit.models.records import AcceptanceEvidence, Response, SendOutcome
from viberkit.models.states import FINAL, rank

#: Key, outcome, request as it was sent, and response.
SettledSend = tuple[str, SendOutcome, Mapping[str, Any], Response | None]
_Derived = Sequence[tuple[RawRecord, DerivedRows]]

_BATCH = 500
#: What SQLAlchemy or sqlite3 raises for a value that a column cannot hold; a full disk or a lock raises others.
_INVALID_VALUE = (IntegrityError, DataError, InterfaceError, ProgrammingError, OverflowError, ValueError, TypeError)


# Statements are built once: building one takes longer than executing it.
_raw, _event, _message, _send = tables.raw.c, tables.events.c, tables.messages.c, tables.outbox.c
_insert_raw = insert(tables.raw)
_new = _insert_raw.excluded
_observed_later = and_(_raw.kind != "callback", _new.last_seen > _raw.last_seen)
_WRITE_RAW = _insert_raw.on_conflict_do_update(
    index_elements=["kind", "message_id", "http_status", "digest"],
    set_={
        "first_seen": least(_raw.first_seen, _new.first_seen),
        "last_seen": greatest(_raw.last_seen, _new.last_seen),
        "late": least(_raw.late, _new.late),
        "derived": and_(_raw.derived, ~_observed_later, _new.first_seen >= _raw.first_seen),
    },
)
_MARK_DERIVED = update(tables.raw).where(_raw.id == bindparam("row_id"))
_MARK_DERIVED = _MARK_DERIVED.values(derived=True, unreadable=bindparam("reason"))
PENDING = select(_raw.digest, *(_raw[name] for name in RawRecord.__slots__)).where(tables.is_pending)
PENDING = PENDING.order_by(_raw.id).limit(bindparam("size")).with_for_update(skip_locked=True)
# The ids are a JSON array, because the number of parameters is limited.
_ids = select(json_each(bindparam("ids")).table_valued("value").c.value)
#: The digests of the bodies that are stored of some messages.
DIGESTS = select(_raw.digest).where(_raw.message_id.in_(_ids))
_SENT = select(_send.message_id, _send.key).where(_send.message_id.in_(_ids))
_EVENTS = select(_event.message_id, _event.state, _event.happened_at, _event.source).where(_event.message_id.in_(_ids))
_campaign = select(_send.campaign).where(_send.key == bindparam("row_key")).scalar_subquery()
_NAME_CAMPAIGN = update(tables.messages).where(_message.message_id == bindparam("id")).values(campaign=_campaign)


def response_row(kind: str, message_id: str, response: Response, request: bytes | None = None) -> dict[str, Any]:
    """Return a response as a row of ``raw``."""
    seen_at = micros(response.observed_at)
    return _raw_row(kind, message_id, response.status, response.body, seen_at, request=request)


def callback_row(callback: Callback) -> dict[str, Any]:
    """Return a callback as a row of ``raw``."""
    signed_at = micros(callback.signed_at) if callback.signed_at else None
    seen_at = micros(callback.received_at)
    return _raw_row("callback", "", 200, callback.body, seen_at, signed_at=signed_at, late=callback.late)


def _raw_row(kind: str, message_id: str, status: int, body: bytes, seen_at: int, **values: Any) -> dict[str, Any]:
    row = {"kind": kind, "message_id": message_id, "http_status": status, "digest": hashlib.sha256(body).hexdigest()}
    row |= {"body": body, "request": None, "first_seen": seen_at, "last_seen": seen_at}
    return {**row, "signed_at": None, "late": False, "derived": False, **values}


def store(connection: Connection, rows: Sequence[Mapping[str, Any]], limit: int | None = None) -> dict[str, str | None]:
    """Insert raw rows, and derive what is pending (:func:`derive_pending`).

    Of an existing row only the first and last time of receipt change. A repeated response shows its message at a later
    instant and is derived again; a repeated callback shows nothing new.
    """
    if limit is None:
        lock(connection, "derive")
    if rows:
        connection.execute(_WRITE_RAW, rows)
    return derive_pending(connection, limit)


def extend_listening(connection: Connection, period: int, at: int) -> int:
    """Extend a listening period to a heartbeat, or begin one if there is none with this id; return its id.

    It does not extend over callbacks that are not derived yet, because the tables do not show them.
    """
    pending_from = connection.execute(select(func.min(_raw.first_seen)).where(tables.is_pending)).scalar()
    listening, at = tables.listening, min(at, pending_from or at)
    later = update(listening).where(listening.c.id == period).values(last_at=greatest(listening.c.last_at, at))
    if connection.execute(later).rowcount:
        return period
    inserted = connection.execute(insert(listening).values(began_at=at, last_at=at)).inserted_primary_key
    return int((inserted or (0,))[0])


def settle(connection: Connection, sends: Sequence[SettledSend]) -> dict[str, SendOutcome]:
    """Store the outcomes of sends in the outbox, and the responses of the accepted ones; return the outcomes.

    A response with the id of another send does not settle this send, whose outcome is unknown then.
    """
    if not sends:
        return {}
    lock(connection, "derive")
    rows, outcomes = [], {key: outcome for key, outcome, *_ in sends}
    ids = [outcome.message_id for outcome in outcomes.values() if outcome.state == "accepted"]
    sent: dict[str | None, str] = dict(connection.execute(_SENT, {"ids": json.dumps(ids)}).fetchall()) if ids else {}
    for key, outcome, request, response in sends:
        if outcome.state == "accepted" and response is not None and outcome.message_id:
            if sent.setdefault(outcome.message_id, key) != key:
                reason = f"the server responded with the id of another send, {outcome.message_id}"
                outcomes[key] = SendOutcome("unknown", reason, http_status=outcome.http_status)
                continue
            body = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
            kind = "bulk" if "messages" in request else "send"
            rows.append(response_row(kind, outcome.message_id, response, body))
    outbox.settle(connection, outcomes)
    store(connection, rows)
    return outcomes


def derive_pending(connection: Connection, limit: int | None = None) -> dict[str, str | None]:
    """Derive the rows of pending raw records, the oldest first, at most ``limit``.

    Returns why each could not be read, or None, by digest. A record that the tables cannot hold is marked as
    unreadable and does not stop the others.
    """
    reasons: dict[str, str | None] = {}
    if not lock(connection, "derive", wait=limit is None):  # another process derives them
        return reasons
    while limit is None or limit > 0:
        size = _BATCH if limit is None else min(limit, _BATCH)
        pending = connection.execute(PENDING, {"size": size}).fetchall()
        derived = [(raw, derive_rows(raw)) for raw in (RawRecord(*row[1:]) for row in pending)]
        _write_valid(connection, derived)
        reasons |= {row[0]: rows.unreadable for row, (_, rows) in zip(pending, derived, strict=True)}
        limit = None if limit is None else limit - size
        if len(pending) < size:
            break
    return reasons


def _write_valid(connection: Connection, derived: _Derived) -> None:
    """Write rows; if the tables cannot hold a value, write the records one by one, without the one that has it."""
    try:
        with connection.begin_nested():
            _write(connection, derived)
    except _INVALID_VALUE as error:
        if len(derived) > 1:
            for record in derived:
                _write_valid(connection, [record])
        else:
            raw, rows = derived[0]
            rows.unreadable = f"cannot be stored in the tables: {type(error).__name__}"
            _write(connection, [(raw, DerivedRows(unreadable=rows.unreadable))])


def _write(connection: Connection, derived: _Derived) -> None:
    _upsert_messages(connection, [row for _, rows in derived for row in rows.messages])
    for table in (tables.statuses, tables.events, tables.inbound):
        if new := [row for _, rows in derived for row in getattr(rows, table.name)]:
            connection.execute(_merge_statement(table), new)
    _apply_evidence(connection, {key: proof for _, rows in derived for key, proof in rows.evidence.items()})
    _update_latest(connection, derived)
    if derived:
        marks = [{"row_id": raw.id, "reason": rows.unreadable} for raw, rows in derived]
        connection.execute(_MARK_DERIVED, marks)


def _apply_evidence(connection: Connection, evidence: Mapping[str, AcceptanceEvidence]) -> None:
    """Name the campaign of messages whose send was answered; settle the sends that only callbacks prove."""
    answered = [{"row_key": key, "id": proof.message_id} for key, proof in evidence.items() if not proof.called_back]
    if answered:
        connection.execute(_NAME_CAMPAIGN, answered)
    called_back = {key: proof for key, proof in evidence.items() if proof.called_back}
    for row in outbox.settle_by_evidence(connection, called_back):
        facts = {name: row[name] for name in ("to", "rate_type", "service_id", "context", "campaign")}
        content = json.loads(row["content"])
        if isinstance(content, dict):  # of a bulk, the callback does not name the part
            facts |= content_facts(content)
        message_id = called_back[row["key"]].message_id
        _upsert_messages(connection, [{"message_id": message_id, "sent_at": row["claimed_at"], **facts}])


def _upsert_messages(connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Insert messages, or fill the columns that have no value yet; the state is replaced, observations only get later.

    All rows with the same columns are written together.
    """
    rows_by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        full = {**row, "country": country(row["to"])} if "to" in row else row
        rows_by_columns.setdefault(tuple(full), []).append(full)
    for names, group in rows_by_columns.items():
        connection.execute(_upsert_statement(names), group)


@cache
def _upsert_statement(names: tuple[str, ...]) -> Insert:
    table = tables.messages
    statement = insert(table)
    values: dict[str, Any] = {}
    for name in set(names) - {"message_id"}:
        old, new = table.c[name], statement.excluded[name]
        values[name] = new if name in ("state", "state_at", "final") else func.coalesce(old, new)
        if name in ("observed_until", "gone_at"):
            values[name] = greatest(func.coalesce(old, 0), new)
    return statement.on_conflict_do_update(index_elements=["message_id"], set_=values)


@cache
def _merge_statement(table: Table) -> Insert:
    """Insert rows; a row reported again fills missing columns, whatever the order of the two reports.

    The earliest receipt is stored and, of two texts, the greater one.
    """
    statement = insert(table)
    if table is tables.statuses:
        return statement.on_conflict_do_nothing()
    values: dict[str, Any] = {}
    for column in table.c:
        if not column.primary_key:
            old, new = table.c[column.name], statement.excluded[column.name]
            pick = least if column.name in ("received_at", "naive") else greatest
            values[column.name] = pick(func.coalesce(old, new), func.coalesce(new, old))
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)


def _update_latest(connection: Connection, derived: _Derived) -> None:
    """Bring the messages' latest state and time of observation up to date with their events."""
    observed: dict[str, int] = {}
    for raw, rows in derived:
        for message_id in rows.observed:
            observed[message_id] = max(observed.get(message_id, 0), raw.observed_at)
    events: dict[str, list[tuple[bool, bool, int, int, str]]] = {}
    for message_id, state, at, source in connection.execute(_EVENTS, {"ids": json.dumps(list(observed))}):
        events.setdefault(message_id, []).append((source != "send", state in FINAL, at, rank(state), state))
    latest = []
    for message_id, observed_until in observed.items():
        # Reported events come before the local record of the send, a final state before others however late those are
        # reported, then the latest, then the later one in the life cycle.
        _, final, at, _, state = max(events.get(message_id, []), default=(False, False, None, 0, None))
        row = {"message_id": message_id, "observed_until": observed_until}
        latest.append({**row, "state": state, "state_at": at, "final": final})
    expired = [{"message_id": raw.message_id, "gone_at": raw.last_seen} for raw, rows in derived if rows.expired]
    _upsert_messages(connection, [*latest, *expired])
