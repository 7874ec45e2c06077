"""What a raw answer means, as rows of the archive's tables. Pure, so that they can always be made again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from viberkit.errors import UnreadableRecord
from viberkit.models import parsing as wire
from viberkit.models.content import from_wire, kind
from viberkit.models.keys import find_key
from viberkit.models.parsing import is_unknown_message
from viberkit.models.records import AcceptanceEvidence, Event, Inbound

__all__ = ["Raw", "Rows", "content_facts", "micros", "rows"]

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Raw:
    """One row of the table of raw answers; instants in microseconds."""

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
        """When it last showed where its messages stand: a callback that comes again tells what it told before."""
        return self.first_seen if self.kind == "callback" else self.last_seen


@dataclass(slots=True)
class Rows:
    """The rows that one raw answer gives, by table, and why it, or a part of it, could not be read.

    ``observed`` are the messages whose state it shows, ``keys`` the sends that it proves, by their keys in the
    outbox, ``gone`` whether the server no longer knows its message.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    inbound: list[dict[str, Any]] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)
    keys: dict[str, AcceptanceEvidence] = field(default_factory=dict)
    gone: bool = False
    unreadable: str | None = None


def micros(instant: datetime) -> int:
    """Microseconds since 1970, UTC.

    >>> micros(datetime.fromisoformat("1970-01-01T00:00:01.5+00:00"))
    1500000
    """
    return (instant - _EPOCH) // _MICROSECOND


def rows(raw: Raw) -> Rows:
    """What a raw answer gives; what cannot be read is said in ``unreadable``, never raised."""
    made = Rows()
    try:
        if raw.kind in ("send", "bulk"):
            _sent(raw, made)
        elif raw.kind == "callback":
            _called_back(raw, made)
        elif raw.http_status in (404, 410):  # bodies go after 48 hours, long before the history
            made.gone = raw.kind != "message" and is_unknown_message(raw.body)
        elif 200 <= raw.http_status < 300:
            _answered(raw, made)
    except UnreadableRecord as fault:
        made.unreadable = str(fault)
    except Exception as bug:  # noqa: BLE001 - the raw answer is kept; a fault in reading it must not stop the others
        made.unreadable = f"{type(bug).__name__}: {bug}"
    return made


def _sent(raw: Raw, made: Rows) -> None:
    request = json.loads(raw.request or b"{}")
    told = wire.parse(raw.body)
    if raw.kind == "bulk":
        bulk = wire.read_bulk(told)
        ids, accepted, bulk_id = bulk.message_ids, bulk.accepted_at, bulk.bulk_id
        contents = request.get("messages", [])
    else:
        single = wire.read_accepted(told)
        ids, accepted, bulk_id = (single.message_id,), single.accepted_at, None
        contents = [request.get("content")]
    accepted_at = micros(accepted) if accepted else raw.first_seen
    context = request.get("context")
    if key := find_key(context):
        made.keys[key] = AcceptanceEvidence(bulk_id or ids[0], accepted_at, called_back=False)
        context = context.removeprefix(key).removeprefix(" ") or None
    for place, message_id in enumerate(ids):
        wired = contents[place] if place < len(contents) else None
        row = {
            "message_id": message_id,
            "to": request.get("to"),
            "rate_type": request.get("rateType"),
            "service_id": request.get("from"),
            "channel": request.get("channel"),
            "bulk_id": bulk_id,
            "context": context,
            "sent_at": raw.first_seen,
            "accepted_at": accepted_at,
            **content_facts(wired),
        }
        made.messages.append(row)
        born = Event(
            message_id, "accepted", _EPOCH + accepted_at * _MICROSECOND, "send", channel=request.get("channel")
        )
        made.events.append(_event_row(born, raw.first_seen))
        made.observed.append(message_id)


def content_facts(wired: Any) -> dict[str, Any]:
    """What a messages' row says of a content as it went out."""
    try:
        content: Any = from_wire(wired)
    except UnreadableRecord:
        content = None
    told = {"content_type": kind(content) if content else None, "text": getattr(content, "text", None)}
    return {**told, "content": json.dumps(wired, ensure_ascii=False)}


def _called_back(raw: Raw, made: Rows) -> None:
    told = wire.read_callback(wire.parse(raw.body))
    if isinstance(told, Inbound):
        names = "message_id sender to channel kind text media_id media_url reply_to postback naive".split()
        happened_at = micros(told.happened_at) if told.happened_at else None
        row = {name: getattr(told, name) for name in names}
        made.inbound.append({**row, "happened_at": happened_at, "received_at": raw.first_seen})
        return
    made.events.append(_event_row(told, raw.first_seen))
    made.observed.append(told.message_id)
    if key := find_key(told.user_context):
        made.keys[key] = AcceptanceEvidence(told.message_id, raw.first_seen, called_back=True)


def _answered(raw: Raw, made: Rows) -> None:
    told = wire.parse(raw.body)
    if raw.kind == "message":
        stored = wire.read_message(told)
        facts = {
            "to": stored.to,
            "rate_type": stored.rate_type,
            "service_id": stored.service_id,
            "channel": stored.channel,
        }
        content_type = kind(stored.content) if stored.content else None
        made.messages.append({"message_id": raw.message_id, **facts, "content_type": content_type})
        return
    if raw.kind == "status":
        status = wire.read_status(told)
        _same(raw, status.message_id)
        since = micros(status.since) if status.since else raw.first_seen
        row = {"message_id": raw.message_id, "state": status.state, "since": since, "observed_at": raw.first_seen}
        made.statuses.append({**row, "channel": status.channel, "naive": status.naive})
        if status.since is None:
            made.observed.append(raw.message_id)
            return
    reading = wire.read_record(told)
    _same(raw, reading.message_id)
    made.observed.append(raw.message_id)
    mine = {"message_id": raw.message_id}
    made.events += [_event_row(one, raw.first_seen) | mine for one in reading.events]
    made.unreadable = "; ".join(aside.reason for aside in reading.skipped) or None


def _same(raw: Raw, message_id: str) -> None:
    """An answer counts for the message that was asked for; only the case of its id may differ."""
    if message_id.lower() != raw.message_id.lower():
        raise UnreadableRecord(f"messageId: the answer is about {message_id!r}, not {raw.message_id!r}")


def _event_row(told: Event, received: int) -> dict[str, Any]:
    names = ("message_id", "state", "source", "channel", "code", "detail", "sender", "user_context", "naive")
    row = {name: getattr(told, name) for name in names}
    return {**row, "happened_at": micros(told.happened_at), "received_at": received}
