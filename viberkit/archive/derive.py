"""The rows of the archive's tables that a raw record gives. Pure, so that the rows can be derived again at any time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from viberkit.errors import UnreadableRecord
from viberkit.models import parsing
from viberkit.models.callback import normalize
from viberkit.models.content import from_wire, kind
from viberkit.models.keys import find_key
from viberkit.models.parsing import is_unknown_message
from viberkit.models.records import AcceptanceEvidence, Event, Inbound

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One row of the table of raw responses and callbacks; instants in microseconds."""

    id: int
    kind: str
    message_id: str
    http_status: int
    body: bytes
    request: bytes | None
    first_seen: int
    last_seen: int

    @property
    def observed_at(self) -> int:
        """When it showed the state of its messages; a repeated callback shows nothing new."""
        return self.first_seen if self.kind == "callback" else self.last_seen


@dataclass(slots=True)
class DerivedRows:
    """The rows that one raw record gives, by table, and why it, or a part of it, could not be read.

    ``observed`` are the messages whose state it shows, ``evidence`` the sends that it proves, by their keys in the
    outbox; ``expired`` is true if the server no longer has the message.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    inbound: list[dict[str, Any]] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)
    evidence: dict[str, AcceptanceEvidence] = field(default_factory=dict)
    expired: bool = False
    unreadable: str | None = None


def micros(instant: datetime) -> int:
    """Return the microseconds since 1970, UTC.

    >>> micros(datetime.fromisoformat("1970-01-01T00:00:01.5+00:00"))
    1500000
    """
    return (instant - _EPOCH) // _MICROSECOND


def derive_rows(raw: RawRecord) -> DerivedRows:
    """Return the rows of a raw record; what cannot be read is reported in ``unreadable``, never raised."""
    rows = DerivedRows()
    try:
        if raw.kind in ("send", "bulk"):
            _add_sent(raw, rows)
        elif raw.kind == "callback":
            _add_callback(raw, rows)
        elif raw.http_status in (404, 410):  # stored messages are deleted after 48 hours, long before the history
            rows.expired = raw.kind != "message" and is_unknown_message(raw.body)
        elif 200 <= raw.http_status < 300:
            _add_response(raw, rows)
    except UnreadableRecord as error:
        rows.unreadable = str(error)
    except Exception as error:  # noqa: BLE001 - the raw record is stored; a bug in reading it must not stop the others
        rows.unreadable = f"{type(error).__name__}: {error}"
    return rows


def _add_sent(raw: RawRecord, rows: DerivedRows) -> None:
    request = json.loads(raw.request or b"{}")
    is_bulk = raw.kind == "bulk"
    accepted = parsing.read_accepted(parsing.parse(raw.body), bulk=is_bulk)
    contents = request.get("messages", []) if is_bulk else [request.get("content")]
    accepted_at = micros(accepted.accepted_at) if accepted.accepted_at else raw.first_seen
    context, channel = request.get("context"), request.get("channel")
    if key := find_key(context):
        rows.evidence[key] = AcceptanceEvidence(accepted.message_id, accepted_at, called_back=False)
        context = context.removeprefix(key).removeprefix(" ") or None
    shared = {"to": request.get("to"), "rate_type": request.get("rateType"), "service_id": request.get("from")}
    shared |= {"channel": channel, "bulk_id": accepted.message_id if is_bulk else None, "context": context}
    shared |= {"sent_at": raw.first_seen, "accepted_at": accepted_at}
    for index, message_id in enumerate(accepted.message_ids):
        content = contents[index] if index < len(contents) else None
        rows.messages.append({"message_id": message_id, **shared, **content_facts(content)})
        event = Event(message_id, "accepted", _EPOCH + accepted_at * _MICROSECOND, "send", channel=channel)
        _add_event(event, raw, rows)


def content_facts(wire: Any) -> dict[str, str | None]:
    """Return the columns of a message that depend on its content in JSON form: its type, text and JSON text."""
    try:
        content: Any = from_wire(wire)
    except UnreadableRecord:
        content = None
    facts = {"content_type": kind(content) if content else None, "text": getattr(content, "text", None)}
    return {**facts, "content": json.dumps(wire, ensure_ascii=False)}


def _add_callback(raw: RawRecord, rows: DerivedRows) -> None:
    callback = parsing.read_callback(normalize(parsing.parse(raw.body)))
    if isinstance(callback, Inbound):
        rows.inbound.append({**_fields(callback), "received_at": raw.first_seen})
        return
    _add_event(callback, raw, rows)
    if key := find_key(callback.user_context):
        rows.evidence[key] = AcceptanceEvidence(callback.message_id, raw.first_seen, called_back=True)


def _add_response(raw: RawRecord, rows: DerivedRows) -> None:
    payload = parsing.parse(raw.body)
    if raw.kind == "message":
        stored = parsing.read_message(payload)
        facts = {name: getattr(stored, name) for name in ("to", "rate_type", "service_id", "channel")}
        content_type = kind(stored.content) if stored.content else None
        rows.messages.append({"message_id": raw.message_id, **facts, "content_type": content_type})
        return
    if raw.kind == "status":
        status = parsing.read_status(payload)
        _check_message(raw, status.message_id)
        since = micros(status.since) if status.since else raw.first_seen
        row = {"message_id": raw.message_id, "state": status.state, "since": since, "observed_at": raw.first_seen}
        rows.statuses.append({**row, "channel": status.channel, "naive": status.naive})
        if status.since is None:
            rows.observed.append(raw.message_id)
            return
    record = parsing.read_record(payload)
    _check_message(raw, record.message_id)
    rows.observed.append(raw.message_id)
    for event in record.events:
        rows.events.append({**_fields(event), "message_id": raw.message_id, "received_at": raw.first_seen})
    rows.unreadable = "; ".join(item.reason for item in record.skipped) or None


def _check_message(raw: RawRecord, message_id: str) -> None:
    """Refuse a response about another message than the requested one; only the case of the id may differ."""
    if message_id.lower() != raw.message_id.lower():
        raise UnreadableRecord(f"messageId: the response is about {message_id!r}, not {raw.message_id!r}")


def _add_event(event: Event, raw: RawRecord, rows: DerivedRows) -> None:
    rows.events.append({**_fields(event), "received_at": raw.first_seen})
    rows.observed.append(event.message_id)


def _fields(record: Event | Inbound) -> Mapping[str, Any]:
    """Return the fields of a record by name, its instant in microseconds."""
    fields = {name: getattr(record, name) for name in record.__slots__}
    return fields | {"happened_at": micros(record.happened_at) if record.happened_at else None}
