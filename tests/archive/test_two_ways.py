"""Callbacks and histories together: one row per event, gaps of either source, and which message a reply answers."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.archives import record_callback, record_sent

import viberkit as vk
from viberkit.archive import engine, ingest, tables
from viberkit.archive.events import pair_replies
from viberkit.errors import InvalidRequest
from viberkit.frames import columns as frames
from viberkit.models.callback import Callback
from viberkit.models.records import Response

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def callback_body(state: str, seconds: float, message_id: str = "m", **more: Any) -> bytes:
    return json.dumps(
        {"event": f"MessageStatus::{state}", "messageId": message_id, "timestamp": at(seconds), **more}
    ).encode()


def history(*events: tuple[str, float], message_id: str = "m", observed_s: float = 100) -> tuple[str, Response]:
    events = [{"event": f"MessageStatus::{state}", "timestamp": at(seconds)} for state, seconds in events]
    body = json.dumps({"messageId": message_id, "events": events}).encode()
    return message_id, Response(200, body, NOW + timedelta(seconds=observed_s), {})


def values_of(frame: pd.DataFrame, *columns: str) -> list[list[Any]]:
    return frame[list(columns)].astype(object).values.tolist()


# --- one row per event ------------------------------------------------------------------------------------


def test_an_event_of_two_sources_is_one_row_that_names_both(archive: vk.Archive) -> None:
    record_callback(archive, callback_body("delivered", 3), NOW + timedelta(seconds=4))
    archive.recorder.record("events", [history(("accepted", 0), ("delivered", 3), observed_s=60)])
    record_callback(archive, callback_body("seen", 9), NOW + timedelta(seconds=70))
    events = archive.events()
    assert values_of(events, "state", "source") == [
        ["accepted", "history"],
        ["delivered", "history+callback"],
        ["seen", "callback"],
    ]
    heard = ((events["received_at"] - NOW).dt.total_seconds()).tolist()
    assert heard == [60, 4, 70], "received_at is the first receipt, not the time of the event"
    assert (events["observed_until"] == NOW + timedelta(seconds=70)).all()
    assert [str(events[column.name].dtype) for column in frames.EVENTS] == [column.dtype for column in frames.EVENTS]


def test_all_sources_have_rows_of_their_own_on_request(archive: vk.Archive) -> None:
    record_callback(archive, callback_body("delivered", 3.5), NOW)
    archive.recorder.record("events", [history(("delivered", 3))])
    assert values_of(archive.events(all_sources=True), "source", "happened_at") == [
        ["history", pd.Timestamp(at(3))],
        ["callback", pd.Timestamp(at(3.5))],
    ]
    assert values_of(archive.events(), "source", "happened_at") == [["history+callback", pd.Timestamp(at(3))]]


def test_a_repeated_callback_changes_only_its_last_receipt(archive: vk.Archive) -> None:
    record_callback(archive, callback_body("dispatched", 1), NOW)
    before = archive.events(), archive.messages()
    record_callback(archive, callback_body("dispatched", 1), NOW + timedelta(seconds=35))
    for frame, again in zip(before, (archive.events(), archive.messages()), strict=True):
        pd.testing.assert_frame_equal(frame, again)
    assert values_of(archive.callbacks(), "received_at", "last_received_at") == [
        [pd.Timestamp(NOW), pd.Timestamp(NOW + timedelta(seconds=35))]
    ]


@pytest.mark.parametrize("late_s", [1, 50])
def test_a_late_accepted_never_hides_delivered(archive: vk.Archive, late_s: int) -> None:
    record_callback(archive, callback_body("delivered", 3), NOW)
    record_callback(archive, callback_body("accepted", late_s), NOW)
    assert archive.messages()["state"].tolist() == ["delivered"]
    assert archive.recorder.open_messages() == []


def test_a_value_that_no_column_can_hold_does_not_stop_the_others(
    archive: vk.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    derive_rows = ingest.derive_rows

    def too_large(raw: Any) -> Any:
        rows = derive_rows(raw)
        for row in rows.events:
            row["happened_at"] = 2**70 if row["message_id"] == "bad" else row["happened_at"]
        return rows

    monkeypatch.setattr(ingest, "derive_rows", too_large)
    archive.recorder.record_callbacks(
        [Callback(callback_body("delivered", 1, message_id), NOW) for message_id in ("a", "bad", "b")]
    )
    assert archive.events()["message_id"].tolist() == ["a", "b"]
    reason = "cannot be stored in the tables: " + ("DataError" if archive.path is None else "OverflowError")
    assert archive.unreadable()["reason"].tolist() == [reason]
    assert archive.recorder.derive() == 0


def test_callbacks_are_shown_with_masked_numbers(archive: vk.Archive) -> None:
    body = json.dumps({"event": "MoMessage", "messageId": "5", "from": "491701234567", "timestamp": at(1)}).encode()
    archive.recorder.record_callbacks(
        [Callback(body, NOW, NOW - timedelta(hours=2), late=True), Callback(b"\xff{", NOW)]
    )
    shown = archive.callbacks()
    assert shown["late"].tolist() == [True, False]
    assert shown["signed_at"].isna().tolist() == [False, True]
    assert "491701234567" not in shown.loc[0, "body"]
    assert "491701234567" in archive.callbacks(unmask=True).loc[0, "body"]
    assert "not JSON" in shown.loc[1, "unreadable"]
    assert shown.loc[1, "body"] == "\\xff{"


def test_recording_nothing_is_allowed(archive: vk.Archive) -> None:
    archive.recorder.record_callbacks([])
    assert archive.recorder.record("events", []) == {}
    assert archive.callbacks().empty


# --- gaps ----------------------------------------------------------------------------------


def test_gaps_list_what_callbacks_and_histories_missed(archive: vk.Archive) -> None:
    record_callback(archive, callback_body("delivered", 1, "first"), NOW)
    record_callback(archive, callback_body("seen", 2, "first"), NOW)
    record_callback(archive, callback_body("seen", 300, "second"), NOW + timedelta(seconds=300))
    record_callback(archive, callback_body("delivered", 9, "unasked"), NOW)
    archive.recorder.record(
        "events",
        [
            history(("accepted", 0), ("delivered", 1), message_id="first"),
            history(("delivered", 5), message_id="second"),
        ],
    )
    assert values_of(archive.gaps(), "message_id", "state", "reported_by", "missed_by", "expected") == [
        ["first", "accepted", "history", "callback", False],  # no callback ever reported accepted
        ["first", "seen", "callback", "history", False],
        ["second", "delivered", "history", "callback", True],
    ]
    assert tuple(archive.gaps().columns) == frames.GAPS.names


def test_nothing_is_expected_of_a_source_that_reported_nothing(archive: vk.Archive) -> None:
    assert archive.gaps().empty
    record_callback(archive, callback_body("delivered", 1), NOW)
    assert archive.gaps().empty, "without a history there is nothing to compare with"
    archive.recorder.record("events", [("x", history(("accepted", 0), ("failed", 2), message_id="x")[1])])
    gaps = archive.gaps()
    assert not gaps["expected"].any()
    assert values_of(gaps, "message_id", "missed_by") == [["x", "callback"], ["x", "callback"]]


def test_collect_fetches_each_history_once_after_the_message_is_final(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive
) -> None:
    with_archive = client.with_archive(archive)
    with vk.Listener(archive, secret="a-shared-secret", now=lambda: sandbox.now) as listener:
        listener.configure(client)
        for number in range(40):
            with_archive.send(f"+49170{3_000_000 + number}", vk.Text("hi"), rate_type="transaction")
        sandbox.advance(seconds=2)
    still_open = set(archive.recorder.open_messages())
    assert 0 < len(still_open) < 40
    sandbox.advance(days=20)  # without a listener
    assert vk.collect(client, archive, progress=False).requested == 40, "callbacks report only some states"
    still_open = set(archive.recorder.open_messages())
    requests = len(sandbox.requests)
    assert vk.collect(client, archive, progress=False).requested == len(still_open)
    assert {request.path.split("/")[2] for request in sandbox.requests[requests:]} == still_open
    truth = sandbox.truth().query("state != 'routed'").astype({"state": "str"})
    events = archive.events().astype({"state": "str"})
    key = ["message_id", "state"]
    assert len(events.merge(truth, on=key)) == len(events) == len(truth)
    called_back = archive.events(all_sources=True).query("source == 'callback'").astype({"state": "str"})
    missed = truth.merge(called_back, "left", key)
    missed = missed[missed["source"].isna()]
    gaps = archive.gaps().astype({"state": "str"})
    assert sorted(map(tuple, gaps[key].values)) == sorted(map(tuple, missed[key].values))
    assert set(gaps["missed_by"]) == {"callback"}
    assert gaps.loc[gaps["state"] == "delivered", "expected"].all()
    assert vk.collect(client, archive, include_final=True, progress=False).requested == 40


# --- replies ---------------------------------------------------------------------------------------------


def _write(archive: vk.Archive, message_id: str, seconds: float, sender: str, **more: Any) -> None:
    body = {"event": "MoMessage", "messageId": message_id, "from": sender, "to": "SHOP", "timestamp": at(seconds)}
    body |= {"content": {"contentType": "text", "text": "Hi"}, **more}
    record_callback(archive, json.dumps(body).encode(), NOW + timedelta(seconds=seconds))


def _send(archive: vk.Archive, message_id: str, seconds: float, to: str, service_id: str = "SHOP") -> None:
    request = {"to": to, "from": service_id, "content": {"contentType": "text", "text": "Hello"}}
    events = json.dumps({"messageId": message_id, "timestamp": at(seconds)}).encode()
    record_sent(archive, message_id, request, Response(202, events, NOW + timedelta(seconds=seconds), {}))


def test_a_reply_is_paired_by_its_context_else_by_number(archive: vk.Archive) -> None:
    _send(archive, "one", 0, "+491701234567")
    _send(archive, "two", 60, "+491701234567")
    _send(archive, "other-shop", 70, "+491701234567", "BAKERY")
    _send(archive, "after", 500, "+491701234567")
    _write(archive, "10", 90, "491701234567")
    _write(archive, "11", 100, "00491701234567", context={"messageId": "one"})
    _write(archive, "12", 110, "491709999999")
    _write(archive, "13", 120, "491701234567", context={"messageId": "from-before-the-archive"})
    _write(archive, "14", 30, "+491701234567")
    inbound = archive.inbound().set_index("message_id").loc[["10", "11", "12", "13", "14"]]
    assert values_of(inbound[["answers", "paired_by"]].astype("str").fillna(""), "answers", "paired_by") == [
        ["two", "number"],
        ["one", "reply"],
        ["", ""],
        ["from-before-the-archive", "reply"],
        ["one", "number"],
    ]
    assert inbound["response_s"].fillna(-1).tolist() == [30, 100, -1, -1, 30]
    assert inbound["sender"].str.contains("1234567").sum() == 0
    assert [str(inbound[column.name].dtype) for column in frames.INBOUND if column.name != "message_id"] == [
        column.dtype for column in frames.INBOUND if column.name != "message_id"
    ]


@pytest.mark.parametrize("named", ["", " ", ["one"], {}, None])
def test_a_reply_without_a_valid_reference_is_paired_by_number(archive: vk.Archive, named: Any) -> None:
    _send(archive, "one", 0, "+491701234567")
    _write(archive, "10", 90, "tel:+49\u00a0170 1234567", context={"messageId": named})
    assert values_of(archive.inbound().astype({"paired_by": "str"}), "answers", "paired_by") == [["one", "number"]]


def test_ids_are_compared_without_case(archive: vk.Archive) -> None:
    _send(archive, "one", 0, "+491701234567")
    _write(archive, "10", 90, "491701234567", context={"messageId": "ONE"})
    assert values_of(archive.inbound(), "answers", "response_s") == [["one", 90.0]]


def test_an_inbound_message_with_an_invalid_time_is_read(archive: vk.Archive) -> None:
    _write(archive, "10", 90, "491701234567", timestamp="soon")
    inbound = archive.inbound().loc[0]
    assert inbound["text"] == "Hi"
    assert pd.isna(inbound["happened_at"])
    assert inbound["received_at"] == NOW + timedelta(seconds=90)


def test_unreadable_bodies_are_shown_with_masked_numbers(archive: vk.Archive) -> None:
    body = b'{"event": "MoMessage", "from": "491701234567", "text": "\xff"}'
    record_callback(archive, body, NOW)
    assert b"491701234567" not in archive.unreadable().loc[0, "body"]
    assert archive.unreadable(unmask=True).loc[0, "body"] == body == archive.raw_bodies("callback")[0]


def test_pairing_empty_frames_returns_an_empty_frame() -> None:
    inbound = pair_replies(frames.INBOUND.empty(), frames.MESSAGES.empty())
    assert inbound.empty
    assert {"answers", "paired_by", "response_s"} <= set(inbound.columns)


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        ({"contentType": "location", "location": {"lat": 1.5, "long": 2}}, "location", '{"lat":1.5,"long":2}'),
        ({"contentType": "reaction", "reaction": {"emoji": "👍"}}, "reaction", '{"emoji":"👍"}'),
        ({"contentType": "contacts", "contacts": [{"name": "A"}]}, "contacts", '[{"name":"A"}]'),
        ({"contentType": "media", "media": {"type": "voice", "mediaId": "a1"}}, "voice", None),
        ({"contentType": "media", "media": {"type": "image", "mediaId": "a1", "caption": "Look"}}, "image", "Look"),
        ({"contentType": "unknown"}, "unknown", None),
    ],
)
def test_every_kind_of_inbound_content_is_shown(archive: vk.Archive, content: Any, kind: str, text: str | None) -> None:
    _write(archive, "1", 1, "491701234567", content=content)
    row = archive.inbound().astype({"kind": "str"}).loc[0]
    assert row["kind"] == kind
    assert row["text"] == text or (text is None and pd.isna(row["text"]))


def test_media_is_fetched_only_from_the_api(sandbox: vk.Sandbox, client: vk.Client) -> None:
    media_id = client.account.upload_media(b"jpg", "a.jpg").media_id
    by_url = client.account.download_media(f"{sandbox.base_url}/media/{media_id}")
    assert client.account.download_media(media_id) == by_url == b"jpg"
    n_requests = len(sandbox.requests)
    evil = ["https://evil.example/media/1", f"{sandbox.base_url}@evil.example/media/1", "http://127.0.0.1:1/media/1"]
    evil += [
        f"{sandbox.base_url}/media/../configurations",
        f"{sandbox.base_url}/configurations",
        f"{sandbox.base_url}/media/%2e%2e/configurations",
        ".",
        "..",
        "",
        None,
    ]
    for media in evil:
        with pytest.raises(InvalidRequest, match=r"neither a media id nor a URL|is not an id"):
            client.account.download_media(media)
    assert len(sandbox.requests) == n_requests


# --- archives of earlier versions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", [("DELETE", "EXTRA"), ("WAL", "FULL")])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_archive_of_an_earlier_version_is_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, journal: tuple[str, str]
) -> None:
    """The table of raw records of the first has no columns for signatures and lateness; none has countries."""
    monkeypatch.setattr(engine, "journal_mode", lambda: journal)
    path = tmp_path / "old.db"
    with vk.Archive(path) as archive:
        record_callback(archive, callback_body("delivered", 3), NOW)
        new = _columns(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE messages SET \"to\" = '+4366412345678'")
        connection.execute("ALTER TABLE messages DROP COLUMN country")
        if version < 3:
            connection.execute("DROP TABLE listening")
        if version == 1:
            connection.execute("ALTER TABLE raw DROP COLUMN signed_at")
            connection.execute("ALTER TABLE raw DROP COLUMN late")
            connection.execute("DROP TABLE outbox")
            connection.execute("DROP TABLE campaigns")
            connection.execute("DROP TABLE identity")
        connection.execute(f"UPDATE viberkit_version SET version = {version}")
    connection.close()
    with vk.Archive(path) as archive:
        record_callback(archive, callback_body("seen", 5), NOW)
        assert archive.events()["state"].tolist() == ["delivered", "seen"]
        assert archive.callbacks()["late"].tolist() == [False, False]
        assert archive.messages()["country"].tolist() == ["AT"]
        assert archive.listening().empty
        archive.recorder.record_callbacks([], NOW)
        assert archive.listening()["last_at"].tolist() == [NOW]
    assert sorted(_columns(path)) == sorted(new)
    assert len(tables.MIGRATIONS) == 3


def _columns(path: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    events = connection.execute("SELECT name, type, \"notnull\" FROM pragma_table_info('raw')").fetchall()
    connection.close()
    return events
