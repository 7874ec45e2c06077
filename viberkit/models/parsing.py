"""Parsing of responses and callbacks, in any dialect of the API; no I/O, no clock.

Histories exist in three dialects (the guide's, v2's, v3's) with the same meaning; sends, statuses, stored messages and
callbacks vary too. Every ``read_`` function takes parsed JSON in any dialect, returns a record, and raises
:class:`~viberkit.errors.UnreadableRecord` with the name of the field if it cannot. Unreadable events of a
history are listed beside the others: see :class:`~viberkit.models.records.ParsedRecord`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import responses as reason_phrases
from typing import Any

from viberkit.errors import ApiError, UnreadableRecord, Violation, for_status, quote
from viberkit.models import records
from viberkit.models.content import Content, from_wire, read_array, read_object, unreadable
from viberkit.models.phone import mask_numbers
from viberkit.models.states import parse_state

#: Characters that no database and no file can store: NUL and half a surrogate pair.
_INVALID = re.compile("[\0\ud800-\udfff]")
_DAY_S = 86_400.0
_INSTANT = re.compile(r"\d{4}[\dW-]{3,6}[T ]\d\d[\d:.,]*(?:Z|[+-][\d:.]+)?", re.ASCII)


def parse(body: bytes | str) -> Any:
    """JSON text as Python objects, or :class:`~viberkit.errors.UnreadableRecord`; NaN and Infinity are refused.

    >>> parse(b'{"a": 1}')
    {'a': 1}
    """
    try:
        text = body.decode("utf-8-sig") if isinstance(body, bytes) else body.removeprefix("\ufeff")
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise UnreadableRecord("not JSON: nested too deeply") from None
    except ValueError as error:
        raise UnreadableRecord(f"not JSON: {error}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def excerpt(record: object) -> str:
    """The first 120 characters of a record, phone numbers masked."""
    return mask_numbers((_text(record) or "null")[:1000])[:120]


# --- single values ---------------------------------------------------------------------------------


def parse_instant(value: object, field: str = "timestamp") -> tuple[datetime, bool]:
    """An ISO 8601 text in UTC, and whether it had no time zone (UTC is assumed then).

    >>> parse_instant("2020-07-13T12:19:17.606Z")
    (datetime.datetime(2020, 7, 13, 12, 19, 17, 606000, tzinfo=datetime.timezone.utc), False)
    """
    text = value.strip().upper() if isinstance(value, str) else ""
    try:
        instant = datetime.fromisoformat(text if _INSTANT.fullmatch(text) else "")
        naive = instant.tzinfo is None
        return (instant.replace(tzinfo=UTC) if naive else instant.astimezone(UTC)), naive
    except (ValueError, OverflowError):
        raise unreadable(field, value, "is not an ISO 8601 instant") from None


def parse_http_date(text: str | None) -> datetime | None:
    """The instant of an HTTP header, in UTC; None if it has none."""
    try:
        instant = parsedate_to_datetime(text or "")
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _optional_object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(payload: Mapping[str, Any], *names: str) -> tuple[str, Any]:
    """The first of several fields that is not null: its name and its value."""
    for name in names:
        if payload.get(name) is not None:
            return name, payload[name]
    return names[-1], None


def _id(payload: Mapping[str, Any], *names: str) -> str:
    name, value = _first(payload, *names)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**64:
        return str(value)
    if isinstance(value, str) and value.strip() and not _INVALID.search(value):
        return value
    if value is None:
        raise UnreadableRecord(f"{names[0]}: is missing")
    raise unreadable(name, value, "is not an id")


def _optional_id(value: object) -> str | None:
    with suppress(UnreadableRecord):
        return _id({"id": value}, "id")
    return None


def _text(value: object) -> str | None:
    """An optional text; other JSON in its own notation."""
    if value is None or isinstance(value, str):
        return value and _INVALID.sub("\ufffd", value)
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # not JSON, or more digits or levels than Python writes
        text = quote(value)
    return _INVALID.sub("\ufffd", text)


def _optional_array(value: object) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for item in _optional_array(value) if (text := _text(item)) is not None)


def _optional_instant(payload: Mapping[str, Any], *names: str, lenient: bool = False) -> tuple[datetime | None, bool]:
    """An optional instant; with `lenient` None if it is invalid, because the rest of the record matters more."""
    name, value = _first(payload, *names)
    try:
        return (None, False) if value is None else parse_instant(value, name)
    except UnreadableRecord:
        if not lenient:
            raise
        return None, False


def _state(payload: Mapping[str, Any], *names: str, path: str = "") -> str:
    name, state = _first(payload, *names)
    if state is None:
        raise UnreadableRecord(f"{path}{name}: is missing")
    if not isinstance(state, str) or not state.strip() or _INVALID.search(state):
        raise unreadable(path + name, state, "is not a state")
    return parse_state(state)


def _channel(payload: Mapping[str, Any]) -> str | None:
    return _text(_first(payload, "channel", "deliveryChannel")[1])


# --- responses -------------------------------------------------------------------------------------


def read_accepted(record: object, *, bulk: bool = False) -> records.Accepted:
    """The 202 response to a send or a bulk.

    >>> read_accepted({"messageId": "8fb360a1"})
    Accepted(message_id='8fb360a1', message_ids=('8fb360a1',), accepted_at=None, rate_type=None, context=None)
    >>> read_accepted({"bulkId": "b1", "messageIds": ["m1", "m2"]}, bulk=True).message_ids
    ('m1', 'm2')
    """
    payload = read_object(record)
    accepted_id = _id(payload, "bulkId" if bulk else "messageId")
    listed = read_array(payload.get("messageIds"), "messageIds") if bulk else [accepted_id]
    if not listed:
        raise UnreadableRecord("messageIds: is empty")
    ids = tuple(_id({"messageIds": item}, "messageIds") for item in listed)
    return records.Accepted(accepted_id, ids, _optional_instant(payload, "acceptedAt", "timestamp", lenient=True)[0])


def read_status(record: object) -> records.Status:
    """The current state of a message.

    >>> read_status({"messageId": "8fb360a1", "status": "delivered", "timestamp": "2020-07-13T13:02:53.704Z"}).state
    'delivered'
    """
    payload = read_object(record)
    since, naive = _optional_instant(payload, "timestamp")
    return records.Status(_id(payload, "messageId"), _state(payload, "status"), since, _channel(payload), naive)


def read_message(record: object) -> records.StoredMessage:
    """A stored message, in the shape of the guide (v2) or of the request (v3)."""
    payload = read_object(record)
    channels = _texts(payload.get("channels"))
    channel = _channel(payload) or (channels[0] if channels else None)
    body = _optional_object(payload.get(channel or "viber")) or payload
    return records.StoredMessage(
        message_id=_id(payload, "messageId", "id"),
        to=_text(payload.get("to")),
        channel=channel,
        service_id=_text(body.get("from")),
        rate_type=_text(_first(body, "rateType", "messagePurpose")[1]),
        content=_stored_content(body),
    )


def _stored_content(body: Mapping[str, Any]) -> Content | None:
    content = body.get("content", body)
    if "content" not in body and isinstance(body.get("components"), Sequence):
        content = {"contentType": "components", "components": {"body": body["components"]}}
    with suppress(UnreadableRecord):
        return from_wire(content)
    return None


def read_channel(record: object) -> records.Channel:
    """A channel of the account's configuration."""
    payload = read_object(record)
    channel_id = payload.get("id")
    return records.Channel(
        channel=_text(payload.get("channel")) or "viber",
        service_id=_text(channel_id.get("serviceId") if isinstance(channel_id, Mapping) else channel_id),
        name=_text(payload.get("name")),
        service_type=_text(_optional_object(payload.get("config")).get("serviceType")),
        scopes=_texts(payload.get("scopes")),
        callback=_hide_secrets(payload.get("callback")),
    )


def read_configuration(record: object) -> records.Configuration:
    """The account's configuration."""
    payload = read_object(record)
    config = dict(_optional_object(payload.get("config")))
    return records.Configuration(_texts(payload.get("scopes")), _hide_secrets(payload.get("callback")), config)


def _hide_secrets(callback: object) -> Mapping[str, Any]:
    """A callback setting without the values of its secret and its extra header."""
    setting = dict(_optional_object(callback))
    for part, secret in (("signature", "secret"), ("header", "value")):
        if isinstance(setting.get(part), Mapping) and secret in setting[part]:
            setting[part] = {**setting[part], secret: "***"}
    return setting


def read_media(record: object) -> records.Media:
    """An uploaded file."""
    payload = read_object(record)
    return records.Media(_id(payload, "mediaId"), *(_text(payload.get(name)) for name in ("url", "quota", "usage")))


# --- events ----------------------------------------------------------------------------------------


def read_record(record: object) -> records.ParsedRecord:
    """The events of one response or callback: a history in any dialect, a status, a send, a status callback.

    >>> parsed = read_record({"messageId": "m", "history": [
    ...     {"happendAt": "2020-07-13T12:19:17.606Z", "state": "message-accepted"},
    ...     {"happendAt": "soon", "state": "message-delivered"}]})
    >>> [event.state for event in parsed.events], parsed.skipped[0].reason
    (['accepted'], "history[1].happendAt: 'soon' is not an ISO 8601 instant")
    """
    payload = read_object(record)
    name, items = _first(payload, "history", "events")
    if items is not None:
        return _read_history(payload, name, items)
    if _is_inbound(payload.get("event")):
        raise unreadable("event", payload["event"], "is an inbound message, not a status event")
    message_id = _id(payload, "messageId")
    for name, source in (("event", "callback"), ("status", "status")):
        if payload.get(name) is not None:
            return records.ParsedRecord(message_id, (_event(payload, message_id, "", source),))
    happened_at, naive = _optional_instant(payload, "acceptedAt", "timestamp")
    if happened_at is None:
        raise UnreadableRecord("record: has none of history, events, event, status and timestamp")
    return records.ParsedRecord(message_id, (records.Event(message_id, "accepted", happened_at, "send", naive=naive),))


def inbound_id(record: object) -> str | None:
    """The id of the message from a recipient that a callback reports; None for every other record.

    >>> inbound_id({"event": "MoMessage", "messageId": "5463481551745434076"}), inbound_id([])
    ('5463481551745434076', None)
    """
    payload = _optional_object(record)
    return _optional_id(payload.get("messageId")) if _is_inbound(payload.get("event")) else None


def _is_inbound(event: object) -> bool:
    return isinstance(event, str) and event.startswith(("MoMessage", "InboundMessage"))


def _read_history(payload: Mapping[str, Any], name: str, items: object) -> records.ParsedRecord:
    message_id = _id(payload, "messageId")
    context = _text(payload.get("userContext"))
    events, skipped = [], []
    for index, item in enumerate(read_array(items, name)):
        path = f"{name}[{index}]"
        try:
            events.append(_event(read_object(item, path), message_id, f"{path}.", "history", context))
        except UnreadableRecord as error:
            skipped.append(records.SkippedItem(path, str(error), excerpt(item)))
    return records.ParsedRecord(message_id, tuple(events), tuple(skipped))


def _event(
    payload: Mapping[str, Any], message_id: str, path: str, source: str, context: str | None = None
) -> records.Event:
    name, instant = _first(payload, "happendAt", "happenedAt", "timestamp")
    if instant is None:
        raise UnreadableRecord(f"{path}{name}: is missing")
    happened_at, naive = parse_instant(instant, path + name)
    details = _optional_object(payload.get("details"))
    return records.Event(
        message_id=message_id,
        state=_state(payload, "state", "event", "status", path=path),
        happened_at=happened_at,
        source=source,
        channel=_channel(payload),
        code=_text(details.get("code")),
        detail=_text(details.get("message")),
        sender=_text(details.get("from")),
        user_context=_text(payload.get("userContext")) or context,
        naive=naive,
    )


def read_callback(record: object) -> records.Event | records.Inbound:
    """A callback: a status event of a sent message, or a message from a recipient.

    >>> read_callback({"event": "MessageStatus::delivered", "messageId": "m", "channel": "viber",
    ...                "timestamp": "2020-07-13T12:19:18.967"}).naive
    True
    """
    payload = read_object(record)
    event = payload.get("event")
    if _is_inbound(event) or (not event and "content" in payload):
        return read_inbound(payload)
    if not event:
        raise UnreadableRecord("event: is missing")
    return read_record({name: value for name, value in payload.items() if name not in ("history", "events")}).events[0]


def read_inbound(record: object) -> records.Inbound:
    """A message or postback from a recipient, version 2.x or the 3.0 preview."""
    payload = read_object(record)
    content = _optional_object(payload.get("content"))
    media = _optional_object(content.get("media"))
    kind = _text(_first(content, "contentType", "type")[1]) or "unknown"
    postback = _optional_object(payload.get("postback")).get("data")
    is_postback = postback is not None or str(_text(payload.get("event"))).endswith("::Postback")
    happened_at, naive = _optional_instant(payload, "receivedAt", "timestamp", lenient=True)
    return records.Inbound(
        message_id=_id(payload, "messageId"),
        sender=_text(payload.get("from")),
        to=_text(payload.get("to")),
        channel=_channel(payload),
        happened_at=happened_at,
        kind="postback" if is_postback else _text(media.get("type")) or kind,
        text=_text(content.get("text", media.get("caption") if media else content.get(kind))),  # a location as JSON
        media_id=_text(media.get("mediaId")),
        media_url=_text(media.get("url")),
        reply_to=_optional_id(_optional_object(payload.get("context")).get("messageId")),
        postback=_text(postback),
        naive=naive,
    )


# --- refusals --------------------------------------------------------------------------------------


def error_from_response(response: records.Response, request: str = "") -> ApiError:
    """The error that a response means: from an RFC 7807 body, else from the status alone.

    >>> error_from_response(records.Response(404, b"<html>gone</html>", datetime.now(UTC), {}), "GET /x")
    NotFound(404, 'Not Found', '', ())
    """
    problem = _read_problem(response.body)
    violations = [
        Violation(_text(item.get("field")) or "request", "", _text(item.get("message")) or "is not valid")
        for item in _optional_array(problem.get("violations"))
        if isinstance(item, Mapping)
    ]
    status, delay_s = response.status, retry_after_s(response)
    title = _text(problem.get("title")) or reason_phrases.get(status, "")
    detail = _text(problem.get("detail")) or ""
    return for_status(status)(status, title, detail, violations, request=request, retry_after_s=delay_s)


def is_unknown_message(body: bytes) -> bool:
    """Whether a 404 is about a message, and not a web server's or a framework's about a path.

    >>> is_unknown_message(b'{"title": "Not Found", "status": 404}'), is_unknown_message(b"<h1>nginx</h1>")
    (True, False)
    """
    problem = _read_problem(body)
    detail = _text(problem.get("detail")) or ""
    about_path = "path" in problem or re.search(r"\b(path|route|handler|endpoint)\b", detail, re.IGNORECASE)
    return not about_path and (bool({"title", "detail", "type"} & problem.keys()) or set(problem) == {"status"})


def _read_problem(body: bytes) -> Mapping[str, Any]:
    with suppress(UnreadableRecord):
        return _optional_object(parse(body))
    return {}


def retry_after_s(response: records.Response) -> float | None:
    """Seconds to wait according to the ``Retry-After`` header (a number, or an instant by ``Date``), at most a day."""
    text = (response.headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _DAY_S)
    until, now = parse_http_date(text), parse_http_date(response.headers.get("date")) or response.observed_at
    return min(max(0.0, (until - now).total_seconds()), _DAY_S) if until else None
