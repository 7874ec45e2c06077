"""Parsing: the examples of the guide, three dialects with one meaning, and input that must not break a reader."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from viberkit.errors import ApiError, UnreadableRecord, for_status
from viberkit.models import parsing, states, validation
from viberkit.models.content import Text, from_wire
from viberkit.models.parsing import error_from_response
from viberkit.models.phone import mask_numbers
from viberkit.models.records import Accepted, Event, Inbound, ParsedRecord, Response

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "20"))
many = settings(max_examples=EXAMPLES, deadline=None)
GUIDE = Path(__file__).parent.parent.parent / "data" / "guide"
ID = "8fb360a1-f58c-4af1-932b-8f6651603cd4"
AT = "2020-07-13T12:19:18.967Z"
MOMENT = datetime(2020, 7, 13, 12, 19, 18, 967000, UTC)


def of_type(value: object) -> str:
    """The test id of a value that cannot be printed."""
    return type(value).__name__


def error(status: int, body: bytes, request: str = "") -> ApiError:
    return error_from_response(Response(status, body, MOMENT, {"retry-after": "3"}), request)


def guide(name: str) -> Any:
    return parsing.parse((GUIDE / name).read_bytes())


# --- the guide's examples --------------------------------------------------------------------------------


def test_the_guides_history() -> None:
    parsed = parsing.read_record(guide("events.response.json"))
    assert parsed.message_id == ID
    assert parsed.skipped == ()
    assert [(event.state, event.happened_at.strftime("%T.%f")[:12]) for event in parsed.events] == [
        ("accepted", "12:19:17.606"),
        ("routed", "12:19:17.644"),
        ("dispatched", "12:19:17.781"),
        ("delivered", "12:19:18.967"),
    ]
    assert [event.channel for event in parsed.events] == [None, "viber", "viber", "viber"]
    assert [event.sender for event in parsed.events] == [None, None, None, "123456789"]
    assert {(event.source, event.naive, event.message_id) for event in parsed.events} == {("history", False, ID)}
    assert "123456789" not in repr(parsed)


def test_the_guides_status() -> None:
    record = guide("status.response.json")
    status = parsing.read_status(record)
    assert (status.state, status.channel, status.message_id) == ("delivered", "viber", record["messageId"])
    assert status.since == datetime(2020, 7, 13, 13, 2, 53, 704000, UTC)
    (event,) = parsing.read_record(record).events
    assert (event.state, event.happened_at, event.source) == ("delivered", status.since, "status")


def test_the_guides_answer_to_a_send() -> None:
    record = guide("send.response-202.json")
    assert parsing.read_accepted(record) == Accepted(ID, (ID,), None)
    with pytest.raises(UnreadableRecord, match="has none of"):
        parsing.read_record(record)  # without an instant there is no event


def test_the_guides_stored_message() -> None:
    message = parsing.read_message(guide("message.response.json"))
    assert (message.message_id, message.to, message.channel) == (ID, "123456789", "viber")
    assert (message.service_id, message.rate_type, message.content) == ("SERVICE_ID", "promotion", Text("Your message"))
    assert "123456789" not in repr(message)


def test_the_guides_inbound_callback() -> None:
    message = parsing.read_callback(guide("inbound.callback.json"))
    assert isinstance(message, Inbound)
    assert (message.message_id, message.kind, message.text) == ("5463481551745434076", "text", "Hi!")
    assert (message.sender, message.to) == ("123456789", "VIBER_ID")
    assert message.happened_at == datetime(2020, 7, 13, 15, 14, 44, tzinfo=UTC)
    assert "123456789" not in repr(message)


def test_the_guides_requests() -> None:
    assert from_wire(guide("send-text.request.json")["content"]) == Text("Hello world!")
    image = from_wire(guide("send-image.request.json")["content"])
    assert validation.violations(image, "promotion") == []
    configured = parsing.read_configuration({"callback": guide("callbacks.request.json"), "scopes": [None, "a"]})
    assert configured.callback["eventFilter"] == ["InboundMessage"]
    assert configured.scopes == ("a",)


def test_every_example_of_the_guide_is_tested_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for path in GUIDE.glob("*.json"):
        assert source.count(f'guide("{path.name}")') == 1, f"{path.name}: no test reads it"


# --- three dialects with one meaning ----------------------------------------------------------------------

#: The names of each state in each dialect; None where the dialect has none.
STATE_NAMES = {
    #                  guide                        v2                    v3 and callbacks
    "accepted": ("message-accepted", "accepted", "MessageStatus::accepted"),
    "routed": ("message-routing-success", None, None),
    "dispatched": ("message-dispatching-success", "dispatched", "MessageStatus::dispatched"),
    "delivered": ("message-delivered", "success", "MessageStatus::delivered"),
    "seen": ("message-seen", None, "MessageStatus::seen"),
    "channel_failed": ("message-dispatching-failed", "dispatching_failed", "MessageStatus::channelFailed"),
    "failed": ("message-failed", "failed", "MessageStatus::failed"),
    "deleted": (None, None, "MessageStatus::deleted"),
    "unknown": (None, "unknown", "MessageStatus::unknown"),
}
STATUSES = "accepted dispatched delivered seen failed deleted unknown".split()


def as_guide(message_id: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [
        {"happendAt": event["at"], "state": event["names"][0], "deliveryChannel": event["channel"]} for event in events
    ]
    return {"messageId": message_id, "history": with_details(rows, events)}


def as_v2(message_id: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [{"happenedAt": event["at"], "state": event["names"][1], "channel": event["channel"]} for event in events]
    return {"messageId": message_id, "history": with_details(rows, events)}


def as_v3(message_id: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [{"timestamp": event["at"], "event": event["names"][2], "channel": event["channel"]} for event in events]
    return {"messageId": message_id, "events": with_details(rows, events)}


def with_details(rows: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row, event in zip(rows, events, strict=True):
        if event["code"] or event["sender"]:
            row["details"] = {"code": event["code"], "message": "why", "from": event["sender"]}
        if row.get("channel", row.get("deliveryChannel")) is None:
            row.pop("channel", None)
            row.pop("deliveryChannel", None)
    return rows


def format_instant(moment: datetime, style: str) -> str:
    """An instant in one of the styles of servers."""
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    if style == "offset":
        return moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(timespec="milliseconds")
    return {"Z": text + "Z", "z": text.replace("T", "t") + "z", "+00:00": text + "+00:00", "naive": text}[style]


moments = st.integers(0, 4_000_000_000_000).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
message_ids = st.uuids().map(str) | st.integers(0, 10**30).map(str)
event_lists = st.lists(
    st.fixed_dictionaries(
        {
            "state": st.sampled_from(list(STATE_NAMES)),
            "moment": moments,
            "style": st.sampled_from(["Z", "z", "+00:00", "offset", "naive"]),
            "channel": st.none() | st.sampled_from(["viber", "sms"]),
            "code": st.none() | st.sampled_from(["viber::error::USER_BLOCKED", "1️⃣"]),
            "sender": st.none() | st.just("VIBER_ID"),
        }
    ),
    max_size=8,
)


@many
@given(message_ids, event_lists)
def test_three_dialects_one_meaning(message_id: str, events: list[dict[str, Any]]) -> None:
    for event in events:
        event["names"], event["at"] = STATE_NAMES[event["state"]], format_instant(event["moment"], event["style"])
    for column, dialect in enumerate([as_guide, as_v2, as_v3]):
        supported = [event for event in events if event["names"][column]]
        parsed = parsing.read_record(json.loads(json.dumps(dialect(message_id, supported))))
        assert parsed == ParsedRecord(
            message_id,
            tuple(
                Event(
                    message_id,
                    event["state"],
                    event["moment"],
                    "history",
                    event["channel"],
                    event["code"],
                    "why" if event["code"] or event["sender"] else None,
                    event["sender"],
                    naive=event["style"] == "naive",
                )
                for event in supported
            ),
        )
        assert all(event.happened_at.tzinfo is UTC for event in parsed.events)


@many
@given(message_ids, event_lists)
def test_a_callback_means_what_the_history_means(message_id: str, events: list[dict[str, Any]]) -> None:
    for event in events:
        event["names"], event["at"] = STATE_NAMES[event["state"]], format_instant(event["moment"], event["style"])
    events = [event for event in events if event["names"][2]]
    record = as_v3(message_id, events)
    history = parsing.read_record(record).events
    for row, event in zip(record["events"], history, strict=True):
        callback = parsing.read_callback({"messageId": message_id, "userContext": "ref", **row})
        assert isinstance(callback, Event)
        assert (callback.state, callback.happened_at, callback.naive) == (event.state, event.happened_at, event.naive)
        assert (callback.channel, callback.code, callback.sender) == (event.channel, event.code, event.sender)
        assert (callback.source, callback.user_context) == ("callback", "ref")


@pytest.mark.parametrize(("state", "names"), STATE_NAMES.items())
def test_states_and_their_names(state: str, names: tuple[str | None, ...]) -> None:
    for name in names:
        assert name is None or states.parse_state(name) == state
    assert states.parse_state(state) == state
    assert (state in states.FINAL) == (state in {"delivered", "seen", "failed"})
    assert states.rank(state) == states.ORDER.index(state)


def test_states_by_analogy() -> None:
    assert states.parse_state("message-failed") == "failed"
    assert states.parse_state("message-routing-failed") == "channel_failed"
    assert "expired" in states.FINAL
    assert set(states.NAMES.values()) == set(states.ORDER)
    with pytest.raises(TypeError):
        states.NAMES["x"] = "y"  # type: ignore[index]


@pytest.mark.parametrize(
    "name", ["message-teleported", "MessageStatus::Parked", " delivered", "DELIVERED", "送達", "💥"]
)
def test_an_unrecognised_state_is_unchanged(name: str) -> None:
    for item in [{"happendAt": AT, "state": name}, {"timestamp": AT, "event": name}]:
        for key in ("history", "events"):
            events = parsing.read_record({"messageId": ID, key: [item]}).events
            assert [event.state for event in events] == [name]
    assert parsing.read_status({"messageId": ID, "status": name, "timestamp": AT}).state == name


@given(st.text(min_size=1).filter(str.strip))
def test_any_text_has_a_state_and_a_rank(name: str) -> None:
    assert 0 <= states.rank(states.parse_state(name)) <= len(states.ORDER)
    assert states.parse_state(states.parse_state(name)) == states.parse_state(name)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("deprecated", [{}, {"status": "accepted"}])
def test_status_callbacks_of_every_status(status: str, deprecated: dict[str, str]) -> None:
    result = parsing.read_callback(
        {"event": f"MessageStatus::{status}", "messageId": ID, "channel": "viber", "timestamp": AT[:-1], **deprecated}
    )
    assert result == Event(ID, status, MOMENT, "callback", "viber", naive=True)


def test_a_failed_callback_carries_its_reason() -> None:
    details = {"code": "viber::error::SRVC_NOT_VIBER_USER", "message": "not a Viber user"}
    for event, state in [("MessageStatus::channelFailed", "channel_failed"), ("MessageStatus::failed", "failed")]:
        result = parsing.read_callback({"event": event, "messageId": ID, "timestamp": AT, "details": details})
        assert isinstance(result, Event)
        assert (result.state, result.code, result.detail) == (state, details["code"], details["message"])


@pytest.mark.parametrize("name", ["MoMessage", "InboundMessage"])
def test_inbound_messages(name: str) -> None:
    base = {"messageId": 5463481551745434076, "from": "+491701234567", "to": "S", "channel": "viber", "timestamp": AT}
    base["event"] = name

    def read(content: object, **more: object) -> Inbound:
        result = parsing.read_callback({**base, "content": content, **more})
        assert isinstance(result, Inbound)
        assert result.message_id == "5463481551745434076"
        assert result.happened_at == MOMENT
        assert "1701234567" not in repr(result)
        return result

    text = read({"contentType": "text", "text": "Hi 👋"}, context={"messageId": ID})
    assert (text.kind, text.text, text.reply_to) == ("text", "Hi 👋", ID)
    media = read({"contentType": "media", "media": {"type": "image", "url": "u", "mediaId": "m", "caption": "c"}})
    assert (media.kind, media.text, media.media_id, media.media_url) == ("image", "c", "m", "u")
    for kind in ("location", "contacts", "reaction", "unknown"):
        assert read({"contentType": kind, kind: {}}).kind == kind
    for odd in (None, "text", []):
        assert read(odd).kind == "unknown"
    with pytest.raises(UnreadableRecord, match="inbound message, not a status event"):
        parsing.read_record(base)


@pytest.mark.parametrize("postback", [{"data": "yes"}, {"data": ""}, {"data": None}, {}, None])
def test_postbacks(postback: object) -> None:
    record = {"event": "MoMessage::Postback", "messageId": "1", "timestamp": AT, "postback": postback}
    result = parsing.read_callback(record)
    assert isinstance(result, Inbound)
    assert result.kind == "postback"
    assert result.postback == (postback.get("data") if isinstance(postback, dict) else None)


# --- ids and instants ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 5463481551745434076, 2**63, 10**40, -1])
def test_a_decimal_id_stays_exact(number: int) -> None:
    for value in (number, str(number)):
        record = {"messageId": value, "timestamp": AT, "status": "seen", "messageIds": [value], "bulkId": value}
        body = json.dumps(record | {"mediaId": value}).encode()
        parsed = parsing.parse(body)
        for reader in (
            parsing.read_record,
            parsing.read_status,
            parsing.read_accepted,
            parsing.read_message,
            parsing.read_inbound,
        ):
            assert reader(parsed).message_id == str(number)
        assert parsing.read_accepted(parsed, bulk=True) == Accepted(str(number), (str(number),), MOMENT)
        assert parsing.read_media(parsed).media_id == str(number)
    assert parsing.read_record({"messageId": "007", "timestamp": AT}).message_id == "007"


@pytest.mark.parametrize(
    "bad", [None, "", "  ", True, False, 1.5, 1e300, [], {}, "a\0b", "\ud800", 10**5000, "…\udfff"], ids=of_type
)
def test_an_invalid_id_is_refused_with_its_field(bad: object) -> None:
    for reader in (parsing.read_record, parsing.read_status, parsing.read_accepted, parsing.read_inbound):
        with pytest.raises(UnreadableRecord, match=r"^messageId: "):
            reader({"messageId": bad, "timestamp": AT, "status": "seen"})
    with pytest.raises(UnreadableRecord, match=r"^messageIds: "):
        parsing.read_accepted({"bulkId": "b", "messageIds": ["m", bad]}, bulk=True)
    with pytest.raises(UnreadableRecord, match=r"^mediaId: "):
        parsing.read_media({"mediaId": bad})


@pytest.mark.parametrize(
    ("text", "moment", "naive"),
    [
        (AT, MOMENT, False),
        (AT.lower(), MOMENT, False),
        (f"  {AT}\n", MOMENT, False),
        ("2020-07-13T12:19:18.967", MOMENT, True),
        ("2020-07-13 12:19:18.967", MOMENT, True),
        ("2020-07-13T14:19:18.967+02:00", MOMENT, False),
        ("2020-07-13T14:19:18.967+0200", MOMENT, False),
        ("2020-07-13T00:19:18.967-12:00", MOMENT, False),
        ("2020-07-13T12:19:18.967000999Z", MOMENT, False),
        ("2020-07-13T12:19:18,967Z", MOMENT, False),
        ("20200713T121918.967Z", MOMENT, False),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC), False),
        ("9999-12-31T23:59:59.999999+14:00", datetime.max.replace(tzinfo=UTC) - timedelta(hours=14), False),
        ("0001-01-01T00:00:00", datetime.min.replace(tzinfo=UTC), True),
    ],
)
def test_instants(text: str, moment: datetime, naive: bool) -> None:
    assert parsing.parse_instant(text) == (moment, naive)


@pytest.mark.parametrize(
    "text",
    [
        *(None, True, 0, 1594642758967, 1.5, [], {}, "", " ", "T", "now", "2020-07-13", "12:19:18Z", "1594642758967"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-05:00", "10000-01-01T00:00:00Z"),
        *("2020-13-01T00:00:00Z", "2020-02-30T00:00:00Z", "2020-07-13T25:00:00Z", "2020-07-13T12:60:00Z"),
        *("2020-07-13T12:19:18+24:00", "2020-07-13T12:19:18ZZ", "2020-07-13T12:19:18 UTC", "2020-07-13x12:19:18 "),
        *("٢٠٢٠-٠٧-١٣T١٢:١٩:١٨Z", "2020-07-13\ud80012:19:18Z", "2020-07-13T12:19:18\0", "x" * 10_000, 10**5000),
    ],
    ids=of_type,
)
def test_an_invalid_instant_is_refused_with_its_field(text: object) -> None:
    with pytest.raises(UnreadableRecord, match=r"^history\[0\]\.happendAt: "):
        parsing.parse_instant(text, "history[0].happendAt")


@many
@given(st.datetimes(timezones=st.none() | st.timezones(), allow_imaginary=False), st.sampled_from("T "))
def test_every_instant_of_python_is_parsed(moment: datetime, between: str) -> None:
    try:
        expected = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        with pytest.raises(UnreadableRecord):
            parsing.parse_instant(moment.isoformat(between))
    else:
        assert parsing.parse_instant(moment.isoformat(between)) == (expected, moment.tzinfo is None)


def test_a_broken_instant_does_not_hide_a_paid_sends_id() -> None:
    for record in ({"timestamp": "soon"}, {"acceptedAt": 5}, {"timestamp": None}):
        assert parsing.read_accepted({"messageId": ID, **record}) == Accepted(ID, (ID,), None)
        assert parsing.read_accepted({"bulkId": "b", "messageIds": [ID], **record}, bulk=True) == Accepted(
            "b", (ID,), None
        )
    assert parsing.read_accepted({"messageId": ID, "acceptedAt": AT}).accepted_at == MOMENT


# --- other responses --------------------------------------------------------------------------------------


def test_a_stored_message_shaped_as_the_request() -> None:
    request = {"messageId": ID, "to": "+491701234567", "from": "S", "channel": "viber", "rateType": "session"}
    stored = parsing.read_message({**request, "content": {"contentType": "text", "text": "Hi"}})
    assert (stored.service_id, stored.rate_type, stored.content) == ("S", "session", Text("Hi"))
    for odd in ({"contentType": "sticker"}, None, 5, {"contentType": "components", "components": {"body": []}}):
        assert parsing.read_message({**request, "content": odd}).content is None
    assert parsing.read_message({**request, "components": []}).content is None


def test_channels_and_configurations_hide_their_secrets() -> None:
    signature, header = {"secret": "very-secret", "method": "HS256"}, {"key": "X-Token", "value": "very-secret"}
    callback = {"callbackVersion": "2.13", "signature": signature, "header": header}
    channel = parsing.read_channel(
        {
            "channel": "viber",
            "id": {"serviceId": "S"},
            "name": "n",
            "scopes": ["a"],
            "callback": callback,
            "config": {"serviceType": "two-way"},
        }
    )
    assert (channel.service_id, channel.service_type, channel.scopes) == ("S", "two-way", ("a",))
    result = parsing.read_configuration({"scopes": [], "callback": callback, "config": {}})
    for shown in (channel, result):
        assert "very-secret" not in repr(shown)
        assert shown.callback["header"] == {"key": "X-Token", "value": "***"}
    assert callback["signature"] == {"secret": "very-secret", "method": "HS256"}, "the input was changed"


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 408, 409, 410, 415, 422, 429, 500, 501, 503, 302, 200]
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"violations": 5}', b'{"violations": [5, {}]}'])
def test_a_response_without_a_problem_is_an_error_by_its_status(status: int, body: bytes) -> None:
    result = error(status, body, "GET /x")
    assert type(result) is for_status(status)
    assert (result.status, result.request, result.retry_after_s) == (status, "GET /x", 3.0)
    assert str(result).startswith(f"GET /x: {status}")
    assert str(result).count("\n") == 0


def test_a_problem_has_the_text_of_the_server() -> None:
    violation = {"field": "validate.request.content.contentType", "message": "must not be empty"}
    body = {
        "type": "about:blank",
        "title": "Constraint Violation",
        "status": 400,
        "detail": "d",
        "violations": [violation],
    }
    assert str(error(400, json.dumps(body).encode(), "POST /messages")) == (
        "POST /messages: 400 Constraint Violation; d; validate.request.content.contentType: must not be empty"
    )


# --- input that must not break a reader -------------------------------------------------------------------

READERS: list[Callable[[object], object]] = [
    parsing.read_record,
    parsing.read_status,
    parsing.read_message,
    parsing.read_callback,
    parsing.read_inbound,
    parsing.read_accepted,
    functools.partial(parsing.read_accepted, bulk=True),
    parsing.read_channel,
    parsing.read_configuration,
    parsing.read_media,
    from_wire,
]
HUGE = 10**5000
DEEP: Any = []
for _ in range(50_000):
    DEEP = [DEEP]


def attempt(reader: Callable[[Any], Any], value: Any) -> tuple[Any, str]:
    """The result of a reader, or the reason why it cannot read a value; any other exception fails the test."""
    try:
        return reader(value), ""
    except UnreadableRecord as error:
        assert str(error).encode()  # no half surrogate pairs  # noqa: PT017
        return None, str(error)


def check_readers(record: object) -> None:
    """Every reader returns a record or raises UnreadableRecord; no row of a history is lost; all texts are valid."""
    for reader in READERS:
        result, reason = attempt(reader, record)
        assert "\n" not in reason
        if isinstance(result, ParsedRecord) and isinstance(record, Mapping):
            rows = next((rows for rows in (record.get("history"), record.get("events")) if rows is not None), [None])
            assert len(rows) == len(result.events) + len(result.skipped)
            for event in result.events:
                assert event.happened_at.tzinfo is UTC
                assert "\0".join([event.message_id, event.state, event.code or "", event.detail or ""]).encode()
            for item in result.skipped:
                assert (item.field + item.reason + item.text).encode()
                assert len(item.text) <= 120
            hash(result)
    assert len(parsing.excerpt(record)) <= 120


FIELD_NAMES = (
    "messageId id history events event state status happendAt happenedAt timestamp acceptedAt receivedAt details code "
    "message from to channel channels deliveryChannel userContext content contentType type text image file video list "
    "carousel components body button items options url callback caption primaryButton label actionUrl media mediaId "
    "messageIds bulkId scopes config serviceType signature secret header value postback data context viber violations"
).split()
VALUES = [
    AT,
    AT[:-1],
    ID,
    "MoMessage",
    "MoMessage::Postback",
    "MessageStatus::seen",
    "text",
    "components",
    "image",
    "\0",
]
leaves = (
    st.sampled_from(VALUES)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=12)
    | st.sampled_from([10**4000, "\ud800", "\udfff\ud800", "9999-12-31T23:59:59-05:00", "+49 170 1234567"])
)
keys = st.sampled_from(FIELD_NAMES) | st.text(st.characters(), max_size=4)
shapes = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
)
rows = st.dictionaries(
    st.sampled_from("happendAt happenedAt timestamp state event status channel details userContext".split()),
    leaves | shapes,
    max_size=6,
)
histories = st.builds(
    lambda name, rest, listed: {**rest, "messageId": ID, name: listed},
    st.sampled_from(["history", "events"]),
    st.dictionaries(keys.filter(lambda key: key not in ("history", "events")), shapes, max_size=2),
    st.lists(rows | shapes, max_size=8),
)


@many
@given(shapes | st.dictionaries(keys, shapes, max_size=8))
def test_readers_accept_any_json(record: object) -> None:
    check_readers(record)


@many
@given(histories)
def test_every_row_is_an_event_or_skipped(record: dict[str, Any]) -> None:
    parsed = parsing.read_record(record)
    listed = record["history"] if "history" in record else record["events"]
    assert len(listed) == len(parsed.events) + len(parsed.skipped)
    skipped = [int(re.findall(r"\[(\d+)\]", item.field)[0]) for item in parsed.skipped]
    read = [row for index, row in enumerate(listed) if index not in skipped]
    for row, event in zip(read, parsed.events, strict=True):
        names = [row.get(name) for name in ("state", "event", "status")]
        assert event.state == states.parse_state(next(name for name in names if name is not None))
    check_readers(record)


@many
@given(st.binary(max_size=60) | shapes.map(lambda shape: json.dumps(shape, default=str)[:400].encode()))
@example(b"\xef\xbb\xbf{}")
@example(b'{"a": NaN}')
@example(b'{"a": -Infinity}')
@example(b"[" * 200_000)
@example(b'{"a":' * 200_000)
@example(b"9" * 5000)
@example(b"\xff\xfe{\x00}\x00")
@example(b'"\\ud800"')
def test_the_parser_accepts_any_bytes(body: bytes) -> None:
    record, reason = attempt(parsing.parse, body)
    assert not reason or reason.startswith("not JSON: ")
    check_readers(record)
    for status in (400, 404, 503, 202):
        assert str(error(status, body)).encode()


@many
@given(st.dictionaries(st.sampled_from("type title status detail violations".split()), shapes), st.integers(0, 999))
def test_any_problem_is_an_error(body: dict[str, Any], status: int) -> None:
    result = error(status, json.dumps(body).encode())
    assert isinstance(result, ApiError)
    assert str(result).encode()


@many
@given(st.text(st.characters(), max_size=40))
def test_any_text_is_an_instant_or_refused(text: str) -> None:
    for value in (text, AT[:10] + text, text + AT, AT[:-1] + text):
        result, reason = attempt(parsing.parse_instant, value)
        assert reason or result[0].tzinfo is UTC


@pytest.mark.parametrize(
    "bad",
    [DEEP, HUGE, [HUGE], {"a": HUGE}, float("nan"), float("inf"), "\ud800", "\0", "\ufeff", (), {1: 2}],
    ids=of_type,
)
def test_invalid_values_in_every_field(bad: Any) -> None:
    check_readers(bad)
    check_readers(dict.fromkeys(FIELD_NAMES, bad))
    row = {"happendAt": AT, "state": "message-delivered", "details": {}, "channel": "viber"}
    base = {"messageId": ID, "event": "MoMessage", "timestamp": AT, "content": {}, "channels": ["viber"], "viber": {}}
    for name in [*row, "userContext"]:
        check_readers({"messageId": ID, "history": [row, {**row, name: bad}, bad, {**row, "details": {"code": bad}}]})
    for name in FIELD_NAMES:
        for inner in (base, base["content"], base["viber"]):
            check_readers(
                {**base, **({name: bad} if inner is base else {"content": {name: bad}, "viber": {name: bad}})}
            )
        check_readers({**base, "event": "MessageStatus::seen", name: bad})


def test_unusual_json() -> None:
    assert parsing.parse(b'\xef\xbb\xbf{"a": 1}') == parsing.parse('\ufeff{"a": 1}') == {"a": 1}
    twice = parsing.parse(b'{"messageId": "a", "messageId": "b", "timestamp": "%s"}' % AT.encode())
    assert parsing.read_record(twice).message_id == "b"
    for bad in (b"", b" ", b"{", b"{}{}", b"NaN", b"[Infinity]", b"\x00", b"'a'", b"{a: 1}", b"9" * 5000, b"[" * 10**6):
        with pytest.raises(UnreadableRecord, match=r"^not JSON: "):
            parsing.parse(bad)
    for depth in range(800, 1100, 7):  # about as deep as Python allows
        for body in ("[" * depth + "]" * depth, '{"history":' * depth + "1" + "}" * depth):
            record, _ = attempt(parsing.parse, body)
            check_readers(record)
            check_readers({"messageId": ID, "history": [record], "content": record})


def test_one_bad_row_never_stops_the_others() -> None:
    good = {"happendAt": AT, "state": "message-delivered"}
    bad = [
        None,
        5,
        "x",
        [],
        {},
        {"state": "a"},
        {"happendAt": AT},
        {**good, "state": 5},
        {**good, "happendAt": 5},
        DEEP,
    ]
    parsed = parsing.read_record({"messageId": ID, "history": [good, *bad, good]})
    assert len(parsed.events) == 2
    assert [item.field for item in parsed.skipped] == [f"history[{index}]" for index in range(1, len(bad) + 1)]
    for name, odd in [("history", "x"), ("events", 5), ("history", {}), ("events", True)]:
        with pytest.raises(UnreadableRecord, match=rf"^{name}: "):
            parsing.read_record({"messageId": ID, name: odd})


def test_the_context_of_a_history_applies_to_its_events() -> None:
    rows = [{"happenedAt": AT, "state": "success"}, {"happenedAt": AT, "state": "success", "userContext": "own"}]
    parsed = parsing.read_record({"messageId": ID, "userContext": "all", "history": rows})
    assert [event.user_context for event in parsed.events] == ["all", "own"]


@pytest.mark.parametrize(
    "number", ["+491701234567", "00491701234567", "491701234567", "+49 170 1234567", "+49-170-123 4567"]
)
def test_no_phone_number_is_quoted(number: str) -> None:
    digits = "".join(filter(str.isdigit, number))
    for record in (
        number,
        {"messageId": ID, "history": number},
        {"messageId": ID, "status": [number]},
        [{"to": number}],
    ):
        with pytest.raises(UnreadableRecord) as caught:
            parsing.read_record(record)
        assert digits[-7:] not in re.sub(r"\D", "", str(caught.value))
    pad = "x " * 55
    for item in (number, {"to": number}, [number], f"{pad}{number}", {"pad": "x" * 96, "to": number}):
        (skipped,) = parsing.read_record({"messageId": ID, "history": [item]}).skipped
        assert digits[-7:] not in re.sub(r"\D", "", skipped.text + skipped.reason)
        assert digits[:8] not in re.sub(r"\D", "", skipped.text + skipped.reason)


def test_ids_and_instants_are_not_masked() -> None:
    for text in (ID, "5463481551745434076", AT, "2020-07-13 12:19:18.967000", "error 12345678"):
        assert mask_numbers(text) == text
