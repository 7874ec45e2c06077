"""Any answer or callback, in any dialect of the API, to plain records. Pure: no I/O, no clock.

Histories come in three dialects (the guide's, v2's, v3's) that mean the same; sends, statuses, stored
messages and callbacks vary too. Every reader here takes parsed JSON, accepts all dialects, and raises
:class:`~viberkit.errors.UnreadableRecord` naming the field where it cannot read one. A history with an
unreadable event keeps the others: :class:`Reading` carries what was set aside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from viberkit.errors import ApiError, UnreadableRecord, Violation, for_status
from viberkit.errors import quote as plain_quote
from viberkit.models.content import Content, from_wire
from viberkit.models.phone import mask_numbers
from viberkit.models.records import (
    AcceptedBulk,
    AcceptedMessage,
    Channel,
    Configuration,
    Event,
    Inbound,
    Media,
    ParsedRecord,
    Response,
    SkippedItem,
    Status,
    StoredMessage,
)
from viberkit.models.states import parse_state

__all__ = [
    "error_from_response",
    "excerpt",
    "instant",
    "is_unknown_message",
    "parse",
    "parse_http_date",
    "read_accepted",
    "read_bulk",
    "read_callback",
    "read_channel",
    "read_configuration",
    "read_inbound",
    "read_media",
    "read_message",
    "read_record",
    "read_status",
    "retry_after_s",
    "text_of",
]


def parse(body: bytes | str) -> Any:
    """JSON text to Python, or :class:`~viberkit.errors.UnreadableRecord`; NaN and Infinity are refused.

    >>> parse(b'{"a": 1}')
    {'a': 1}
    """
    try:
        text = body.decode("utf-8-sig") if isinstance(body, bytes) else body.removeprefix("\ufeff")
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as fault:
        why = "nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise UnreadableRecord(f"not JSON: {why}") from None


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


#: What no database and no file can carry: NUL, and half a surrogate pair.
_BROKEN = re.compile("[\0\ud800-\udfff]")


def excerpt(record: object) -> str:
    """The beginning of a record, as it may be shown: 120 characters, phone numbers masked."""
    return mask_numbers((text_of(record) or "null")[:1000])[:120]


def quote(value: object) -> str:
    """A value as an error quotes it, phone numbers masked."""
    return mask_numbers(plain_quote(value))


_INSTANT = re.compile(r"\d{4}[\dW-]{3,6}[T ]\d\d[\d:.,]*(?:Z|[+-][\d:.]+)?", re.ASCII)


def instant(value: object, field: str = "timestamp") -> tuple[datetime, bool]:
    """An ISO 8601 text to UTC, and whether it came without a zone (then it was taken as UTC).

    >>> instant("2020-07-13T12:19:17.606Z")
    (datetime.datetime(2020, 7, 13, 12, 19, 17, 606000, tzinfo=datetime.timezone.utc), False)
    """
    if not isinstance(value, str) or not _INSTANT.fullmatch(told := value.strip().upper()):
        raise UnreadableRecord(f"{field}: {quote(value)} is not an ISO 8601 instant")
    try:
        read = datetime.fromisoformat(told)
        naive = read.tzinfo is None
        return (read.replace(tzinfo=UTC) if naive else read.astimezone(UTC)), naive
    except (ValueError, OverflowError):
        raise UnreadableRecord(f"{field}: {quote(value)} is not an ISO 8601 instant") from None


def _id(given: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = given.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**64:
            return str(value)
        if isinstance(value, str) and value.strip() and not _BROKEN.search(value):
            return value
        if value is not None:
            raise UnreadableRecord(f"{name}: {quote(value)} is not an id")
    raise UnreadableRecord(f"{names[0]}: is missing")


def _maybe_id(value: object) -> str | None:
    """An optional id: a text that is not blank, or a whole number."""
    try:
        return _id({"id": value}, "id")
    except UnreadableRecord:
        return None


def text_of(value: object) -> str | None:
    """An optional text; other JSON keeps its own notation."""
    if value is None or isinstance(value, str):
        return value and _BROKEN.sub("\ufffd", value)
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # not JSON, or more digits or levels than Python writes
        text = plain_quote(value)
    return _BROKEN.sub("\ufffd", text)


def _first(given: Mapping[str, Any], *names: str) -> tuple[str, Any]:
    """The first of several names that holds something, and what it holds."""
    for name in names:
        if given.get(name) is not None:
            return name, given[name]
    return names[-1], None


def _object(record: object, what: str = "record") -> Mapping[str, Any]:
    if not isinstance(record, Mapping):
        raise UnreadableRecord(f"{what}: {quote(record)} is not a JSON object")
    return record


def _maybe_object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return tuple(text for one in listed if (text := text_of(one)) is not None)


def _maybe_instant(given: Mapping[str, Any], *names: str) -> tuple[datetime | None, bool]:
    name, value = _first(given, *names)
    return (None, False) if value is None else instant(value, name)


def read_accepted(record: object) -> AcceptedMessage:
    """The 202 of a send.

    >>> read_accepted({"messageId": "8fb360a1"})
    AcceptedMessage(message_id='8fb360a1', accepted_at=None)
    """
    given = _object(record)
    return AcceptedMessage(_id(given, "messageId"), _lenient_instant(given, "acceptedAt", "timestamp"))


def read_bulk(record: object) -> AcceptedBulk:
    """The 202 of a bulk."""
    given = _object(record)
    ids = given.get("messageIds")
    if not isinstance(ids, Sequence) or isinstance(ids, str) or not ids:
        raise UnreadableRecord(f"messageIds: {quote(ids)} is not a list of ids")
    read = tuple(_id({"messageIds": one}, "messageIds") for one in ids)
    return AcceptedBulk(_id(given, "bulkId"), read, _lenient_instant(given, "acceptedAt", "timestamp"))


def _lenient_instant(given: Mapping[str, Any], *names: str) -> datetime | None:
    """When a paid send's answer has an id, a broken instant beside it must not hide that."""
    try:
        return _maybe_instant(given, *names)[0]
    except UnreadableRecord:
        return None


def read_status(record: object) -> Status:
    """Where a message stands.

    >>> read_status({"messageId": "8fb360a1", "status": "delivered", "timestamp": "2020-07-13T13:02:53.704Z"}).state
    'delivered'
    """
    given = _object(record)
    since, naive = _maybe_instant(given, "timestamp")
    return Status(_id(given, "messageId"), _state(given, "status"), since, _channel(given), naive)


def read_message(record: object) -> StoredMessage:
    """A stored message, shaped as the guide (v2) or as the request (v3) has it."""
    given = _object(record)
    channels = _texts(given.get("channels"))
    channel = _channel(given) or (channels[0] if channels else None)
    body = _maybe_object(given.get(channel or "viber")) or given
    return StoredMessage(
        message_id=_id(given, "messageId", "id"),
        to=text_of(given.get("to")),
        channel=channel,
        service_id=text_of(body.get("from")),
        rate_type=text_of(_first(body, "rateType", "messagePurpose")[1]),
        content=_stored_content(body),
    )


def _stored_content(body: Mapping[str, Any]) -> Content | None:
    try:
        if "content" in body:
            return from_wire(body["content"])
        if isinstance(parts := body.get("components"), Sequence):
            return from_wire({"contentType": "components", "components": {"body": parts}})
        return from_wire(body)
    except UnreadableRecord:
        return None


def read_channel(record: object) -> Channel:
    """One channel of the account's configuration."""
    given = _object(record)
    named = given.get("id")
    return Channel(
        channel=text_of(given.get("channel")) or "viber",
        service_id=text_of(named.get("serviceId") if isinstance(named, Mapping) else named),
        name=text_of(given.get("name")),
        service_type=text_of(_maybe_object(given.get("config")).get("serviceType")),
        scopes=_texts(given.get("scopes")),
        callback=_without_secrets(_maybe_object(given.get("callback"))),
    )


def read_configuration(record: object) -> Configuration:
    """The account's configuration."""
    given = _object(record)
    callback = _without_secrets(_maybe_object(given.get("callback")))
    return Configuration(_texts(given.get("scopes")), callback, dict(_maybe_object(given.get("config"))))


def _without_secrets(callback: Mapping[str, Any]) -> Mapping[str, Any]:
    """A callback configuration as it may be shown: the secret and the extra header's value hidden."""
    shown = dict(callback)
    for part, hidden in (("signature", "secret"), ("header", "value")):
        if isinstance(shown.get(part), Mapping) and hidden in shown[part]:
            shown[part] = {**shown[part], hidden: "***"}
    return shown


def read_media(record: object) -> Media:
    """An uploaded file."""
    given = _object(record)
    return Media(
        _id(given, "mediaId"), text_of(given.get("url")), text_of(given.get("quota")), text_of(given.get("usage"))
    )


def read_record(record: object) -> ParsedRecord:
    """The events of one answer or callback: a history in any dialect, a status, a send, a status callback.

    >>> reading = read_record({"messageId": "m", "history": [
    ...     {"happendAt": "2020-07-13T12:19:17.606Z", "state": "message-accepted"},
    ...     {"happendAt": "soon", "state": "message-delivered"}]})
    >>> [event.state for event in reading.events], reading.skipped[0].reason
    (['accepted'], "history[1].happendAt: 'soon' is not an ISO 8601 instant")
    """
    given = _object(record)
    name = "history" if given.get("history") is not None else "events"
    if given.get(name) is not None:
        return _read_history(given, name)
    if _is_inbound(given.get("event")):
        raise UnreadableRecord(f"event: {quote(given['event'])} is an inbound message, not a status event")
    message_id = _id(given, "messageId")
    for name, source in (("event", "callback"), ("status", "status")):
        if given.get(name) is not None:
            return ParsedRecord(message_id, (_event(given, message_id, "", source),))
    happened_at, naive = _maybe_instant(given, "acceptedAt", "timestamp")
    if happened_at is None:
        raise UnreadableRecord("record: holds neither history, events, event, status nor an instant")
    return ParsedRecord(message_id, (Event(message_id, "accepted", happened_at, "send", naive=naive),))


def _is_inbound(event: object) -> bool:
    return isinstance(event, str) and event.startswith(("MoMessage", "InboundMessage"))


def _read_history(given: Mapping[str, Any], name: str) -> ParsedRecord:
    message_id = _id(given, "messageId")
    items = given[name]
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise UnreadableRecord(f"{name}: {quote(items)} is not a list of events")
    context = text_of(given.get("userContext"))
    events, aside = [], []
    for place, item in enumerate(items):
        where = f"{name}[{place}]"
        try:
            events.append(_event(_object(item, where), message_id, f"{where}.", "history", context))
        except UnreadableRecord as fault:
            aside.append(SkippedItem(where, str(fault), excerpt(item)))
    return ParsedRecord(message_id, tuple(events), tuple(aside))


def _event(given: Mapping[str, Any], message_id: str, where: str, source: str, context: str | None = None) -> Event:
    name, at = _first(given, "happendAt", "happenedAt", "timestamp")
    if at is None:
        raise UnreadableRecord(f"{where}{name}: is missing")
    happened_at, naive = instant(at, where + name)
    details = _maybe_object(given.get("details"))
    return Event(
        message_id=message_id,
        state=_state(given, "state", "event", "status", where=where),
        happened_at=happened_at,
        source=source,
        channel=_channel(given),
        code=text_of(details.get("code")),
        detail=text_of(details.get("message")),
        sender=text_of(details.get("from")),
        user_context=text_of(given.get("userContext")) or context,
        naive=naive,
    )


def _state(given: Mapping[str, Any], *names: str, where: str = "") -> str:
    name, state = _first(given, *names)
    if not isinstance(state, str) or not state.strip() or _BROKEN.search(state):
        why = "is missing" if state is None else f"{quote(state)} is not a state"
        raise UnreadableRecord(f"{where}{name}: {why}")
    return parse_state(state)


def _channel(given: Mapping[str, Any]) -> str | None:
    return text_of(_first(given, "channel", "deliveryChannel")[1])


def read_callback(record: object) -> Event | Inbound:
    """A callback: a status event of a sent message, or something from a recipient.

    >>> read_callback({"event": "MessageStatus::delivered", "messageId": "m", "channel": "viber",
    ...                "timestamp": "2020-07-13T12:19:18.967"}).naive
    True
    """
    given = _object(record)
    event = given.get("event")
    if _is_inbound(event) or (not event and "content" in given):
        return read_inbound(given)
    if not event:
        raise UnreadableRecord("event: is missing")
    return read_record({key: value for key, value in given.items() if key not in ("history", "events")}).events[0]


def read_inbound(record: object) -> Inbound:
    """A message or postback from a recipient, version 2.x or the 3.0 preview."""
    given = _object(record)
    content = _maybe_object(given.get("content"))
    media = _maybe_object(content.get("media"))
    kind = text_of(_first(content, "contentType", "type")[1]) or "unknown"
    postback = _maybe_object(given.get("postback")).get("data")
    pressed = postback is not None or str(text_of(given.get("event"))).endswith("::Postback")
    try:
        happened_at, naive = _maybe_instant(given, "receivedAt", "timestamp")
    except UnreadableRecord:  # what a person wrote counts, whenever it was
        happened_at, naive = None, False
    return Inbound(
        message_id=_id(given, "messageId"),
        sender=text_of(given.get("from")),
        to=text_of(given.get("to")),
        channel=_channel(given),
        happened_at=happened_at,
        kind="postback" if pressed else text_of(media.get("type")) or kind,
        text=text_of(content.get("text", media.get("caption") if media else content.get(kind))),  # a place: as JSON
        media_id=text_of(media.get("mediaId")),
        media_url=text_of(media.get("url")),
        reply_to=_maybe_id(_maybe_object(given.get("context")).get("messageId")),
        postback=text_of(postback),
        naive=naive,
    )


def parse_http_date(text: str | None) -> datetime | None:
    """The instant of an HTTP date, in UTC; None where there is none."""
    try:
        parsed = parsedate_to_datetime(text or "")
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after_s(response: Response) -> float | None:
    """Seconds to wait according to the ``Retry-After`` header: a number, or an instant by the server's clock."""
    text = (response.headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    until = parse_http_date(text)
    return max(0.0, (until - response.observed_at).total_seconds()) if until else None


def error_from_response(response: Response, request: str = "") -> ApiError:
    """The error that a response means: from an RFC 7807 body, else from the status alone.

    >>> error_from_response(Response(404, b"<html>gone</html>", datetime.now(UTC), {}), "GET /x")
    NotFound(404, 'Not Found', '', ())
    """
    problem = _problem(response.body)
    listed = problem.get("violations")
    violations = [
        Violation(text_of(item.get("field")) or "request", "", text_of(item.get("message")) or "is not valid")
        for item in (listed if isinstance(listed, list) else [])
        if isinstance(item, Mapping)
    ]
    return for_status(response.status)(
        response.status,
        text_of(problem.get("title")) or _PHRASES.get(response.status, ""),
        text_of(problem.get("detail")) or "",
        violations,
        request=request,
        retry_after_s=retry_after_s(response),
    )


_PHRASES = {int(status): status.phrase for status in HTTPStatus}


def is_unknown_message(body: bytes) -> bool:
    """Whether a 404 is the API's word on a message, and not a web server's or a framework's on a path.

    >>> is_unknown_message(b'{"title": "Not Found", "status": 404}'), is_unknown_message(b"<h1>nginx</h1>")
    (True, False)
    """
    problem = _problem(body)
    about_path = "path" in problem or re.search(
        r"\b(path|route|handler|endpoint)\b", text_of(problem.get("detail")) or "", re.I
    )
    return not about_path and (bool({"title", "detail", "type"} & problem.keys()) or set(problem) == {"status"})


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        given = parse(body)
    except UnreadableRecord:
        given = None
    return given if isinstance(given, Mapping) else {}
