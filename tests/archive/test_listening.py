"""Until when messages are observed by a listener: its heartbeats, its gaps, and callbacks that stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from support.archives import record_callback
from support.faults import FaultySandbox
from support.scripted import ScriptedServer

import viberkit as vk
from viberkit.archive.events import observed_until
from viberkit.errors import UnknownOutcome
from viberkit.models.callback import Callback, normalize
from viberkit.models.records import Response, SendOutcome

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
TO = "+491701234567"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def listen(archive: vk.Archive, *beats: float) -> None:
    """One listening period with these heartbeats."""
    period = 0
    for beat in beats:
        period = archive.recorder.record_callbacks([], at(beat), period)


def call_back(archive: vk.Archive, message_id: str, state: str, seconds: float) -> None:
    """One callback, and its event at the same time."""
    archive.recorder.record_callbacks([callback(message_id, state, seconds)])


def callback(message_id: str, state: str, seconds: float) -> Callback:
    instant = at(seconds).isoformat()
    body = {"event": f"MessageStatus::{state}", "messageId": message_id, "timestamp": instant}
    return Callback(json.dumps(body).encode(), at(seconds))


def send(archive: vk.Archive, *messages: tuple[str, float], service_id: str = "SHOP") -> None:
    """Sends that were accepted, by id and time."""
    request = {"to": TO, "from": service_id, "rateType": "session", "content": {"contentType": "text", "text": "Hi"}}
    sends = []
    for message_id, seconds in messages:
        body = json.dumps({"messageId": message_id, "acceptedAt": at(seconds).isoformat()}).encode()
        outcome = SendOutcome("accepted", message_id=message_id, http_status=202)
        sends.append((message_id, outcome, request, Response(202, body, at(seconds), {})))
    archive.recorder.settle(sends)


def poll(archive: vk.Archive, message_id: str, seconds: float) -> None:
    events = [{"event": "MessageStatus::accepted", "timestamp": at(0).isoformat()}]
    body = json.dumps({"messageId": message_id, "events": events}).encode()
    archive.recorder.record("events", [(message_id, Response(200, body, at(seconds), {}))])


def observed_s(archive: vk.Archive) -> dict[str, float]:
    """Until when each message was observed, in seconds; all frames agree."""
    messages, journeys = archive.messages(), vk.journeys(archive.events())
    seconds = [
        dict(zip(frame["message_id"], (frame["observed_until"] - NOW).dt.total_seconds(), strict=True))
        for frame in (messages, journeys)
    ]
    assert seconds[0] == seconds[1]
    return seconds[0]


def test_a_message_known_by_callbacks_is_observed_until_the_last_heartbeat(archive: vk.Archive) -> None:
    listen(archive, 0, 10, 3600)
    call_back(archive, "a", "accepted", 5)
    call_back(archive, "b", "delivered", 100)
    assert observed_s(archive) == {"a": 3600, "b": 3600}
    assert vk.journeys(archive.events()).set_index("message_id").loc["a", "outcome"] == "open"
    listening = archive.listening()
    assert [str(dtype) for dtype in listening.dtypes] == ["datetime64[us, UTC]"] * 2
    assert listening.values.tolist() == [[pd.Timestamp(at(0)), pd.Timestamp(at(3600))]]


def test_the_observation_ends_where_the_listener_was_not_there(archive: vk.Archive) -> None:
    listen(archive, 0, 100)
    listen(archive, 110, 1000)
    call_back(archive, "before", "accepted", 5)
    call_back(archive, "both", "accepted", 6)
    call_back(archive, "both", "dispatched", 115)
    call_back(archive, "between", "accepted", 105)
    call_back(archive, "polled", "accepted", 7)
    poll(archive, "polled", 200)
    call_back(archive, "polled later", "accepted", 8)
    poll(archive, "polled later", 2000)
    assert observed_s(archive) == {"before": 100, "both": 1000, "between": 105, "polled": 1000, "polled later": 2000}


def test_a_message_without_callbacks_is_observed_if_others_of_its_service_id_get_theirs(archive: vk.Archive) -> None:
    """Otherwise those that are not delivered would be left out of every estimate."""
    listen(archive, 0, 1000)
    listen(archive, 5000, 9000)
    send(archive, ("delivered", 1), ("open", 2), ("open in another period", 6000))
    send(archive, ("other", 3), service_id="OTHER")
    assert observed_s(archive)["open"] == 2
    call_back(archive, "other", "accepted", 4)
    assert observed_s(archive) == {"delivered": 1, "open": 2, "other": 1000, "open in another period": 6000}
    call_back(archive, "delivered", "delivered", 20)
    assert observed_s(archive) == {"delivered": 1000, "open": 1000, "other": 1000, "open in another period": 6000}


def test_periods_that_overlap_are_one(archive: vk.Archive) -> None:
    listen(archive, 0, 100)
    listen(archive, 90, 95)
    listen(archive, 50, 300)
    listen(archive, 301, 400)
    call_back(archive, "a", "accepted", 5)
    assert observed_s(archive) == {"a": 300}


def test_without_a_listener_nothing_changes(archive: vk.Archive) -> None:
    call_back(archive, "a", "accepted", 5)
    send(archive, ("b", 6))
    assert archive.listening().empty
    assert observed_s(archive) == {"a": 5, "b": 6}


def test_a_heartbeat_does_not_pass_callbacks_that_are_not_read_yet(archive: vk.Archive) -> None:
    bodies = [f'{{"event": "MessageStatus::accepted", "messageId": "{n}"}}'.encode() for n in range(100)]
    callbacks = [Callback(body, at(10 + n)) for n, body in enumerate(bodies)]
    period = archive.recorder.record_callbacks(callbacks, at(1000))
    last = (archive.listening()["last_at"].iloc[0] - NOW).total_seconds()
    assert 10 < last < 110
    while archive.recorder.derive(500):
        pass
    archive.recorder.record_callbacks([], at(1001), period)
    archive.recorder.record_callbacks([], at(900), period)  # a clock that was set back
    assert archive.listening()["last_at"].tolist() == [at(1001)]


seconds = st.integers(0, 60)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(seconds, seconds).map(sorted), max_size=6),
    st.lists(st.tuples(seconds, st.sampled_from(["S", "T"]), st.sampled_from([None, "accepted", "delivered"]))),
)
def test_any_periods_and_messages(periods: list[Sequence[int]], rows: list[tuple[int, str, str | None]]) -> None:
    """The same rules in plain Python."""
    listening = pd.DataFrame(sorted(periods), columns=["began_at", "last_at"])
    listening = listening.apply(lambda column: pd.to_datetime(column, unit="s", utc=True).astype("datetime64[us, UTC]"))
    ids = [str(index) for index in range(len(rows))]
    until = pd.Series(pd.to_datetime([row[0] for row in rows], unit="s", utc=True)).astype("datetime64[us, UTC]")
    messages = pd.DataFrame({"message_id": ids, "observed_until": until, "service_id": [row[1] for row in rows]})
    events = pd.DataFrame({"message_id": ids, "state": [row[2] for row in rows], "received_at": until})
    events = events.dropna(subset=["state"]).assign(source="callback")

    def span(instant: int) -> tuple[int, int] | None:
        """The first and last second of the connected periods around an instant."""
        covered = {second for begin, end in periods for second in range(2 * begin, 2 * end + 1)}
        if 2 * instant not in covered:
            return None
        first = last = 2 * instant
        while first - 1 in covered:
            first -= 1
        while last + 1 in covered:
            last += 1
        return first, last // 2

    final = {(service_id, span(second)) for second, service_id, state in rows if state == "delivered"}
    expected = []
    for second, service_id, state in rows:
        found = span(second)
        extends = found is not None and (state is not None or (service_id, found) in final)
        expected.append(found[1] if found is not None and extends else second)
    result = observed_until(messages, events, listening)
    assert [int(instant.timestamp()) for instant in result] == expected


# --- the check of a silence --------------------------------------------------------------------------------


def silence(archive: vk.Archive) -> dict[str, Any]:
    result = vk.quality(archive.events(all_sources=True))
    return dict(result[result["check"] == "silence"].iloc[0])


@pytest.mark.parametrize("stopped", [None, 40])
def test_callbacks_that_stopped_as_against_traffic_that_stopped(archive: vk.Archive, stopped: int | None) -> None:
    listen(archive, 0, 100_000)
    send(archive, *((f"m{number}", 60 * number) for number in range(50)))
    delivered = [callback(f"m{number}", "delivered", 60 * number + 2 + number % 3) for number in range(stopped or 50)]
    archive.recorder.record_callbacks(delivered)
    found = silence(archive)
    if stopped is None:
        assert (found["count"], found["of"]) == (0, 49), "the listener lives, and nothing was sent since"
    else:
        assert (found["count"], found["of"], found["example"]) == (10, 49, "m40")
        assert found["value_s"] == 100_000 - (60 * 39 + 2)


def test_a_silence_that_ended(archive: vk.Archive) -> None:
    send(archive, *((f"m{number}", 60 * number) for number in range(60)))
    heard = [number for number in range(60) if not 20 <= number < 30]
    archive.recorder.record_callbacks([callback(f"m{number}", "delivered", 60 * number + 2) for number in heard])
    found = silence(archive)
    assert (found["count"], found["example"], found["value_s"]) == (10, "m20", 60 * 11.0)


@pytest.mark.parametrize("rate_s", [0.01, 1, 600])
def test_messages_that_are_slow_are_no_silence(archive: vk.Archive, rate_s: float) -> None:
    """Bursts before the first callback, a few phones that are off, and traffic that pauses."""
    sent = [(f"m{number}", rate_s * number + 86_400 * (number >= 100)) for number in range(200)]
    send(archive, *sent)
    delivered = [callback(sent[n][0], "delivered", sent[n][1] + 2 + n % 7) for n in range(200) if n % 20]
    archive.recorder.record_callbacks(delivered)
    while archive.recorder.derive(500):
        pass
    assert silence(archive)["count"] == 0


def test_a_log_without_callbacks_of_their_own_is_not_checked(archive: vk.Archive) -> None:
    send(archive, ("m", 0))
    assert "Not checked" in silence(archive)["effect"]
    call_back(archive, "other", "delivered", 2)
    assert "Not checked" in silence(archive)["effect"]
    result = vk.quality(archive.events())
    assert "Not checked" in result[result["check"] == "silence"]["effect"].iloc[0]


# --- bulks whose outcome is unknown ------------------------------------------------------------------------


def test_messages_that_may_be_an_unknown_bulk_are_suggested(archive: vk.Archive) -> None:
    contents = [vk.Text("one"), vk.Text("two")]
    with FaultySandbox(seed=1, speed=0, start=datetime.now(UTC)) as sandbox:
        client, another_system = sandbox.client(archive=archive), sandbox.client()
        assert archive.suggest_outcomes().empty
        with vk.Listener(archive, now=lambda: sandbox.now) as listener:
            listener.configure(client, events=["accepted", "delivered"])
            client.send(TO, vk.Text("known"), rate_type="session")
            fault = sandbox.fault("garble", method="POST", times=1)
            with pytest.raises(UnknownOutcome):
                client.bulk(TO, contents, rate_type="session")
            fault.clear()
            other = another_system.send("+43664123456", vk.Text("of another system"), rate_type="session")
            sandbox.advance(minutes=20)
            another_system.send(TO, vk.Text("much later"), rate_type="session")
            sandbox.advance(minutes=1)
        assert sorted(archive.outbox()["state"]) == ["accepted", "unknown"]
        ids = sandbox.truth()["message_id"].drop_duplicates().tolist()
        suggested = archive.suggest_outcomes()
        names = ["key", "to", "claimed_at", "message_id", "happened_at", "after_s", "same_recipient"]
        assert list(suggested.columns) == names
        assert sorted(suggested["message_id"]) == sorted(ids[1:4]), "not the known one, and not the one much later"
        assert not suggested["same_recipient"].any()
        assert set(suggested["to"]) == {"+4917*****67"}
        for message_id in suggested["message_id"]:
            client.message(message_id)
        suggested = archive.suggest_outcomes()
        assert sorted(suggested["message_id"]) == sorted(ids[1:3])
        assert suggested["same_recipient"].all()
        assert other.message_id == ids[3]
        assert (archive.outbox()["state"] == "unknown").sum() == 1, "nothing is settled"


@pytest.mark.parametrize("ids", [b"[]", b"null", b'"m"', b"[null]"])
def test_a_bulk_without_readable_ids_keeps_its_own(scripted: ScriptedServer, archive: vk.Archive, ids: bytes) -> None:
    scripted.respond_with((202, {}, b'{"bulkId": "the-bulk", "messageIds": ' + ids + b"}"))
    contents = [vk.Text("one"), vk.Text("two")]
    with vk.Client("the-key-of-the-account", "SHOP", base_url=scripted.url) as client:
        for sender in (client, client.with_archive(archive)):
            with pytest.raises(UnknownOutcome, match=r"could not be read: .* \(bulk the-bulk\)") as caught:
                sender.bulk(TO, contents, rate_type="session")
            assert (caught.value.bulk_id, caught.value.status) == ("the-bulk", 202)
        for body in (b"{}", b"[]", b'{"bulkId": ""}', b"no"):
            scripted.respond_with((202, {}, body))
            with pytest.raises(UnknownOutcome) as caught:
                client.bulk(TO, contents, rate_type="session")
            assert caught.value.bulk_id is None
    row = archive.outbox().iloc[0]
    assert (row["state"], row["message_id"]) == ("unknown", "the-bulk")


# --- media of callbacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "document", "audio", "voice", "video", "sticker"])
@pytest.mark.parametrize("event", ["MoMessage", "InboundMessage"])
def test_media_of_both_versions_have_an_id(archive: vk.Archive, kind: str, event: str) -> None:
    media = {"url": "https://example.org/media/7", "mediaId": "7", "caption": "=a cat"}
    contents: list[dict[str, Any]] = [
        {"contentType": kind, kind: media},
        {"contentType": "media", "media": {"type": kind, **media}},
        {"contentType": kind, kind: {"mediaId": "7"}},
    ]
    for number, content in enumerate(contents):
        body = {
            "event": event,
            "messageId": str(number),
            "from": TO,
            "content": content,
            "timestamp": at(0).isoformat(),
        }
        record_callback(archive, json.dumps(body).encode(), at(1))
    columns = ["kind", "media_id", "media_url", "text"]
    rows = archive.inbound().sort_values("message_id")[columns].astype(object).where(lambda frame: frame.notna(), None)
    same = [kind, "7", "https://example.org/media/7", "=a cat"]
    assert rows.values.tolist() == [same, same, [kind, "7", None, None]]
    assert archive.unreadable().empty


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["content", "contentType", "image", "media", "url", "mediaId"]), inner)
        ),
    )
)
def test_any_callback_can_be_normalized(record: Any) -> None:
    before = json.dumps(record)
    normalize(record)
    assert json.dumps(record) == before
