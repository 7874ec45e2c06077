"""Callbacks and polling together: one row an event, what either missed, and which message a reply answers."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import viberkit as vk
from viberkit.archive import tables as schema
from viberkit.archive.events import paired
from viberkit.errors import InvalidRequest
from viberkit.frames import columns as frames
from viberkit.models.callback import Callback
from viberkit.models.records import Response

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def called(state: str, seconds: float, message_id: str = "m", **more: Any) -> bytes:
    return json.dumps(
        {"event": f"MessageStatus::{state}", "messageId": message_id, "timestamp": at(seconds), **more}
    ).encode()


def history(*told: tuple[str, float], message_id: str = "m", looked: float = 100) -> tuple[str, Response]:
    events = [{"event": f"MessageStatus::{state}", "timestamp": at(seconds)} for state, seconds in told]
    body = json.dumps({"messageId": message_id, "events": events}).encode()
    return message_id, Response(200, body, NOW + timedelta(seconds=looked), {})


def seen(frame: pd.DataFrame, *columns: str) -> list[list[Any]]:
    return frame[list(columns)].astype(object).values.tolist()


# --- one row an event ------------------------------------------------------------------------------------


def test_an_event_told_twice_is_one_row_that_names_both(archive: vk.Archive) -> None:
    archive.keep_callback(called("delivered", 3), NOW + timedelta(seconds=4))
    archive.keep_answers("events", [history(("accepted", 0), ("delivered", 3), looked=60)])
    archive.keep_callback(called("seen", 9), NOW + timedelta(seconds=70))
    events = archive.events()
    assert seen(events, "state", "source") == [
        ["accepted", "history"],
        ["delivered", "history+callback"],
        ["seen", "callback"],
    ]
    heard = ((events["received_at"] - NOW).dt.total_seconds()).tolist()
    assert heard == [60, 4, 70], "received_at is when it was first heard of, not when it happened"
    assert (events["observed_until"] == NOW + timedelta(seconds=70)).all()
    assert [str(events[one.name].dtype) for one in frames.EVENTS] == [one.dtype for one in frames.EVENTS]


def test_every_source_can_be_seen_apart(archive: vk.Archive) -> None:
    archive.keep_callback(called("delivered", 3.5), NOW)
    archive.keep_answers("events", [history(("delivered", 3))])
    assert seen(archive.events(all_sources=True), "source", "happened_at") == [
        ["history", pd.Timestamp(at(3))],
        ["callback", pd.Timestamp(at(3.5))],
    ]
    assert seen(archive.events(), "source", "happened_at") == [["history+callback", pd.Timestamp(at(3))]]


def test_a_callback_that_comes_again_moves_nothing_but_its_last_receipt(archive: vk.Archive) -> None:
    archive.keep_callback(called("dispatched", 1), NOW)
    before = archive.events(), archive.messages()
    archive.keep_callback(called("dispatched", 1), NOW + timedelta(seconds=35))
    for frame, again in zip(before, (archive.events(), archive.messages()), strict=True):
        pd.testing.assert_frame_equal(frame, again)
    assert seen(archive.callbacks(), "received_at", "last_received_at") == [
        [pd.Timestamp(NOW), pd.Timestamp(NOW + timedelta(seconds=35))]
    ]


@pytest.mark.parametrize("late_s", [1, 50])
def test_a_late_accepted_never_hides_delivered(archive: vk.Archive, late_s: int) -> None:
    archive.keep_callback(called("delivered", 3), NOW)
    archive.keep_callback(called("accepted", late_s), NOW)
    assert archive.messages()["state"].tolist() == ["delivered"]
    assert archive.open_messages() == []


def test_a_row_that_no_column_takes_is_set_aside_alone(archive: vk.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    from viberkit.archive import ingest as archive_keeping

    read = archive_keeping.derived.rows

    def with_one_too_large(raw: Any) -> Any:
        made = read(raw)
        for row in made.events:
            row["happened_at"] = 2**70 if row["message_id"] == "bad" else row["happened_at"]
        return made

    monkeypatch.setattr(archive_keeping.derived, "rows", with_one_too_large)
    archive.keep_callbacks([Callback(called("delivered", 1, each), NOW) for each in ("a", "bad", "b")])
    assert archive.events()["message_id"].tolist() == ["a", "b"]
    assert archive.unreadable()["reason"].tolist() == ["cannot be put into the tables: OverflowError"]
    assert archive.derive() == 0


def test_callbacks_show_what_came_and_hide_numbers(archive: vk.Archive) -> None:
    body = json.dumps({"event": "MoMessage", "messageId": "5", "from": "491701234567", "timestamp": at(1)}).encode()
    archive.keep_callbacks([Callback(body, NOW, NOW - timedelta(hours=2), late=True), Callback(b"\xff{", NOW)])
    shown = archive.callbacks()
    assert shown["late"].tolist() == [True, False]
    assert shown["signed_at"].isna().tolist() == [False, True]
    assert "491701234567" not in shown.loc[0, "body"]
    assert "491701234567" in archive.callbacks(unmask=True).loc[0, "body"]
    assert "not JSON" in shown.loc[1, "unreadable"]
    assert shown.loc[1, "body"] == "\\xff{"


def test_nothing_to_keep_is_no_fault(archive: vk.Archive) -> None:
    archive.keep_callbacks([])
    assert archive.keep_answers("events", []) == {}
    assert archive.callbacks().empty


# --- what either missed ----------------------------------------------------------------------------------


def test_gaps_tell_what_callbacks_missed_and_what_polling_did(archive: vk.Archive) -> None:
    archive.keep_callback(called("delivered", 1, "first"), NOW)
    archive.keep_callback(called("seen", 2, "first"), NOW)
    archive.keep_callback(called("seen", 300, "second"), NOW + timedelta(seconds=300))
    archive.keep_callback(called("delivered", 9, "unasked"), NOW)
    archive.keep_answers(
        "events",
        [
            history(("accepted", 0), ("delivered", 1), message_id="first"),
            history(("delivered", 5), message_id="second"),
        ],
    )
    assert seen(archive.gaps(), "message_id", "state", "reported_by", "missed_by", "expected") == [
        ["first", "accepted", "history", "callback", False],  # callbacks never told of accepted: not opted in to
        ["first", "seen", "callback", "history", False],
        ["second", "delivered", "history", "callback", True],
    ]
    assert tuple(archive.gaps().columns) == frames.GAPS.names


def test_without_callbacks_or_without_polling_there_is_nothing_to_expect(archive: vk.Archive) -> None:
    assert archive.gaps().empty
    archive.keep_callback(called("delivered", 1), NOW)
    assert archive.gaps().empty, "what was never polled is no gap"
    archive.keep_answers("events", [("x", history(("accepted", 0), ("failed", 2), message_id="x")[1])])
    gaps = archive.gaps()
    assert not gaps["expected"].any()
    assert seen(gaps, "message_id", "missed_by") == [["x", "callback"], ["x", "callback"]]


def test_collect_leaves_alone_what_callbacks_have_finished(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive
) -> None:
    with_archive = client.with_archive(archive)
    with vk.Listener(archive, secret="a-shared-secret", now=lambda: sandbox.now) as listener:
        listener.configure(client)
        for number in range(40):
            with_archive.send(f"+49170{3_000_000 + number}", vk.Text("hi"), rate_type="transaction")
        sandbox.advance(seconds=2)
    still_open = set(archive.open_messages())
    assert 0 < len(still_open) < 40
    sandbox.advance(days=20)  # the listener is gone: what happens now no callback tells
    asked = len(sandbox.requests)
    assert vk.collect(client, archive, progress=False).loc[0, "asked"] == len(still_open)
    assert {one.path.split("/")[2] for one in sandbox.requests[asked:]} == still_open
    missed = archive.gaps()
    assert set(missed["message_id"]) <= still_open
    assert set(missed["missed_by"]) == {"callback"}
    vk.collect(client, archive, include_final=True, progress=False)
    truth = sandbox.truth().query("state != 'routed'").astype({"state": "str"})
    events = archive.events().astype({"state": "str"})
    key = ["message_id", "state"]
    assert len(events.merge(truth, on=key)) == len(events) == len(truth)
    untold = truth.merge(
        archive.events(all_sources=True).query("source == 'callback'").astype({"state": "str"}), "left", key
    )
    untold = untold[untold["source"].isna()]
    gaps = archive.gaps().astype({"state": "str"})
    assert sorted(map(tuple, gaps[key].values)) == sorted(map(tuple, untold[key].values))
    assert gaps.loc[gaps["state"] == "delivered", "expected"].all()


# --- replies ---------------------------------------------------------------------------------------------


def _write(archive: vk.Archive, message_id: str, seconds: float, sender: str, **more: Any) -> None:
    body = {"event": "MoMessage", "messageId": message_id, "from": sender, "to": "SHOP", "timestamp": at(seconds)}
    body |= {"content": {"contentType": "text", "text": "Hi"}, **more}
    archive.keep_callback(json.dumps(body).encode(), NOW + timedelta(seconds=seconds))


def _send(archive: vk.Archive, message_id: str, seconds: float, to: str, service_id: str = "SHOP") -> None:
    request = {"to": to, "from": service_id, "content": {"contentType": "text", "text": "Hello"}}
    told = json.dumps({"messageId": message_id, "timestamp": at(seconds)}).encode()
    archive.keep_sent(message_id, request, Response(202, told, NOW + timedelta(seconds=seconds), {}))


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
    assert seen(inbound[["answers", "paired_by"]].astype("str").fillna(""), "answers", "paired_by") == [
        ["two", "number"],
        ["one", "reply"],
        ["", ""],
        ["from-before-the-archive", "reply"],
        ["one", "number"],
    ]
    assert inbound["response_s"].fillna(-1).tolist() == [30, 100, -1, -1, 30]
    assert inbound["sender"].str.contains("1234567").sum() == 0
    assert [str(inbound[one.name].dtype) for one in frames.INBOUND if one.name != "message_id"] == [
        one.dtype for one in frames.INBOUND if one.name != "message_id"
    ]


@pytest.mark.parametrize("named", ["", " ", ["one"], {}, None])
def test_a_reply_that_names_nothing_is_paired_by_number(archive: vk.Archive, named: Any) -> None:
    _send(archive, "one", 0, "+491701234567")
    _write(archive, "10", 90, "tel:+49\u00a0170 1234567", context={"messageId": named})
    assert seen(archive.inbound().astype({"paired_by": "str"}), "answers", "paired_by") == [["one", "number"]]


def test_an_id_in_capitals_is_the_same_id(archive: vk.Archive) -> None:
    _send(archive, "one", 0, "+491701234567")
    _write(archive, "10", 90, "491701234567", context={"messageId": "ONE"})
    assert seen(archive.inbound(), "answers", "response_s") == [["one", 90.0]]


def test_what_a_person_wrote_counts_whatever_its_instant_looks_like(archive: vk.Archive) -> None:
    _write(archive, "10", 90, "491701234567", timestamp="soon")
    inbound = archive.inbound().loc[0]
    assert inbound["text"] == "Hi"
    assert pd.isna(inbound["happened_at"])
    assert inbound["received_at"] == NOW + timedelta(seconds=90)


def test_what_is_set_aside_hides_numbers_too(archive: vk.Archive) -> None:
    body = b'{"event": "MoMessage", "from": "491701234567", "text": "\xff"}'
    archive.keep_callback(body, NOW)
    assert b"491701234567" not in archive.unreadable().loc[0, "body"]
    assert archive.unreadable(unmask=True).loc[0, "body"] == body == archive.answers("callback")[0]


def test_pairing_nothing_gives_nothing() -> None:
    inbound = paired(frames.INBOUND.empty(), frames.MESSAGES.empty())
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
def test_whatever_people_send_is_shown(archive: vk.Archive, content: Any, kind: str, text: str | None) -> None:
    _write(archive, "1", 1, "491701234567", content=content)
    row = archive.inbound().astype({"kind": "str"}).loc[0]
    assert row["kind"] == kind
    assert row["text"] == text or (text is None and pd.isna(row["text"]))


def test_media_is_fetched_by_id_or_url_and_the_key_stays_at_home(sandbox: vk.Sandbox, client: vk.Client) -> None:
    media_id = client.upload_media(b"jpg", "a.jpg").media_id
    assert client.download_media(media_id) == client.download_media(f"{sandbox.base_url}/media/{media_id}") == b"jpg"
    asked = len(sandbox.requests)
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
        with pytest.raises(InvalidRequest, match="neither a media id nor a URL"):
            client.download_media(media)
    assert len(sandbox.requests) == asked


# --- archives of before ----------------------------------------------------------------------------------


def test_an_archive_of_the_first_version_is_brought_forward(tmp_path: Path) -> None:
    """Its table of raw answers knew neither signatures nor lateness."""
    path = tmp_path / "old.db"
    with vk.Archive(path) as archive:
        archive.keep_callback(called("delivered", 3), NOW)
        fresh = _columns(path)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE raw DROP COLUMN signed_at")
        connection.execute("ALTER TABLE raw DROP COLUMN late")
        connection.execute("DROP TABLE outbox")
        connection.execute("DROP TABLE campaigns")
        connection.execute("DROP TABLE identity")
        connection.execute("UPDATE viberkit_version SET version = 1")
    connection.close()
    with vk.Archive(path) as archive:
        archive.keep_callback(called("seen", 5), NOW)
        assert archive.events()["state"].tolist() == ["delivered", "seen"]
        assert archive.callbacks()["late"].tolist() == [False, False]
    assert sorted(_columns(path)) == sorted(fresh)
    assert len(schema.MIGRATIONS) == 2


def _columns(path: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    told = connection.execute("SELECT name, type, \"notnull\" FROM pragma_table_info('raw')").fetchall()
    connection.close()
    return told
