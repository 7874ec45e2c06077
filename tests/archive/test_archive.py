"""The archive: verbatim storage, idempotent writes, files and versions, concurrent use, facts and polled states."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from support.archives import execute, record_callback, record_sent, url_of
from support.scripted import DATA

import viberkit as vk
from viberkit.archive import engine, ingest, tables
from viberkit.errors import ArchiveError
from viberkit.frames import columns as frames
from viberkit.frames.reader import SkippedRowsWarning
from viberkit.models.records import Response

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "6"))
NewUrl = Callable[[], AbstractContextManager[str]]
NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
REQUEST = {
    "to": "+491701234567",
    "from": "S",
    "channel": "viber",
    "rateType": "transaction",
    "content": {"contentType": "text", "text": "hi"},
}


def response(body: object, at: datetime = NOW, status: int = 200) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, raw, at, {})


def history(message_id: str, *entered: tuple[str, float]) -> dict[str, object]:
    def at(seconds: float) -> str:
        return (NOW + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return {
        "messageId": message_id,
        "events": [{"event": f"MessageStatus::{s}", "timestamp": at(t)} for s, t in entered],
    }


def dump(archive: vk.Archive) -> list[list[tuple[object, ...]]]:
    return [
        execute(url_of(archive), f"SELECT * FROM {table} ORDER BY 1, 2, 3")
        for table in tables.metadata.tables
        if len(tables.metadata.tables[table].columns) > 2
    ]


def test_a_missing_file_is_created_with_a_warning_or_as_requested(tmp_path: Path) -> None:
    path = tmp_path / "typo.db"
    with pytest.raises(ArchiveError, match=r"'.*typo.db' does not exist; pass the path of an archive, or create=True"):
        vk.Archive(path, create=False)
    assert not path.exists()
    with pytest.warns(UserWarning, match=r"archive: '.*typo.db' is a new archive") as caught:
        vk.Archive(path).close()
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for create in (None, True, False):
            vk.Archive(path, create=create).close()
        vk.Archive(f"sqlite:///{tmp_path / 'new.db'}", create=True).close()


@pytest.mark.sqlite
def test_a_new_archive_is_private(archive: vk.Archive) -> None:
    assert stat.S_IMODE(archive.path.stat().st_mode) == 0o600


def test_postgresql_needs_an_extra() -> None:
    code = "import sys; sys.modules['psycopg'] = None; import viberkit as vk; vk.Archive(sys.argv[1])"
    command = [sys.executable, "-c", code, "postgresql://user:a-pass-word@host/db"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "PostgreSQL needs psycopg; pip install 'viberkit[postgres]'" in process.stderr
    assert "a-pass-word" not in process.stderr


def test_opening_an_archive_does_not_import_requests(tmp_path: Path) -> None:
    code = (
        "import sys, viberkit as vk; vk.Archive(sys.argv[1]).close(); print({'requests', 'psycopg'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.db")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_empty_frames_have_their_columns(archive: vk.Archive) -> None:
    for frame, shape in (
        (archive.messages(), frames.MESSAGES),
        (archive.statuses(), frames.STATUSES),
        (archive.inbound(), frames.INBOUND),
        (archive.events(), frames.EVENTS),
    ):
        assert frame.empty
        assert [str(frame[column.name].dtype) for column in shape] == [column.dtype for column in shape]


def test_responses_of_the_guide_are_stored_verbatim_and_read(archive: vk.Archive) -> None:
    body = (DATA / "guide" / "events.response.json").read_bytes()
    assert archive.recorder.record("events", [("8fb360a1-f58c-4af1-932b-8f6651603cd4", response(body))]) == {
        "8fb360a1-f58c-4af1-932b-8f6651603cd4": "changed"
    }
    assert archive.raw_bodies("events") == [body]
    assert archive.events()["state"].tolist() == ["accepted", "routed", "dispatched", "delivered"]
    status = (DATA / "guide" / "status.response.json").read_bytes()
    archive.recorder.record("status", [("1697383a-f16d-4c91-9b75-2b5ee650b9a3", response(status))])
    assert archive.statuses()["state"].tolist() == ["delivered"]
    record_callback(archive, (DATA / "guide" / "inbound.callback.json").read_bytes(), NOW)
    assert archive.inbound().loc[0, ["message_id", "text"]].tolist() == ["5463481551745434076", "Hi!"]
    assert archive.inbound().loc[0, "sender"] == "12345*****89"


def test_a_repeated_response_changes_nothing(archive: vk.Archive) -> None:
    def record_all() -> dict[str, str]:
        record_sent(archive, "m", REQUEST, response({"messageId": "m"}, status=202))
        record_callback(
            archive,
            json.dumps(
                {"event": "MessageStatus::seen", "messageId": "m", "timestamp": "2026-01-05T09:00:00Z"}
            ).encode(),
            NOW,
        )
        return archive.recorder.record("events", [("m", response(history("m", ("accepted", 0), ("delivered", 2))))])

    assert record_all() == {"m": "changed"}
    before = dump(archive)
    assert record_all() == {"m": "unchanged"}
    assert dump(archive) == before


def test_a_later_response_moves_only_the_time_of_observation(archive: vk.Archive) -> None:
    reported = history("m", ("accepted", 0))
    archive.recorder.record("events", [("m", response(reported))])
    events = archive.events()
    archive.recorder.record("events", [("m", response(reported, NOW + timedelta(days=1)))])
    archive.recorder.record("events", [("m", response(reported, NOW + timedelta(hours=1)))])
    again = archive.events()
    assert again.loc[0, "observed_until"] == NOW + timedelta(days=1)
    pd.testing.assert_frame_equal(events.drop(columns="observed_until"), again.drop(columns="observed_until"))


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=3))
@settings(max_examples=EXAMPLES, deadline=None)
def test_order_and_repetition_do_not_matter(new_archive_url: NewUrl, order: list[int], repeated: list[int]) -> None:
    reported = [
        ("events", history("m", ("accepted", 0))),
        ("events", history("m", ("accepted", 0), ("dispatched", 1))),
        ("events", history("m", ("accepted", 0), ("dispatched", 1), ("delivered", 3), ("seen", 9))),
        ("status", {"messageId": "m", "status": "dispatched", "timestamp": "2026-01-05T08:00:01.000Z"}),
        ("callback", {"event": "MessageStatus::delivered", "messageId": "m", "timestamp": "2026-01-05T08:00:03.000Z"}),
    ]
    with new_archive_url() as url, vk.Archive(url) as archive:
        for index in [*order, *repeated]:
            what, body = reported[index]
            if what == "callback":
                record_callback(archive, json.dumps(body).encode(), NOW)
            else:
                archive.recorder.record(what, [("m", response(body))])
        events = archive.events()
        assert events["state"].tolist() == ["accepted", "dispatched", "delivered", "seen"]
        sources = ["history", "history+status", "history+callback", "history"]
        assert events["source"].tolist() == sources
        assert archive.messages()["state"].tolist() == ["seen"]
        assert archive.recorder.open_messages() == []


def test_a_sent_message_is_open_until_it_is_final_or_expired(archive: vk.Archive) -> None:
    for name in ("a", "b", "c"):
        record_sent(archive, name, REQUEST, response({"messageId": name}, status=202))
    assert archive.recorder.open_messages() == ["a", "b", "c"]
    changes = archive.recorder.record(
        "events",
        [
            ("a", response(history("a", ("failed", 1)))),
            ("b", response({"status": 404}, NOW + timedelta(days=91), status=404)),
            ("c", response(b"", status=500)),
        ],
    )
    assert changes == {"a": "changed", "b": "expired", "c": "refused (500)"}
    assert archive.recorder.open_messages() == ["c"]
    events = archive.events()
    assert events.loc[events["message_id"] == "b", ["state", "source"]].to_numpy().tolist() == [["accepted", "send"]]


def test_every_content_of_a_bulk_is_stored(archive: vk.Archive) -> None:
    contents = [
        {"contentType": "text", "text": "one"},
        {"contentType": "image", "image": {"url": "https://example.org/a.png"}},
    ]
    request = {name: value for name, value in REQUEST.items() if name != "content"} | {"messages": contents}
    record_sent(archive, "b", request, response({"bulkId": "b", "messageIds": ["m1", "m2"]}, status=202))
    messages = archive.messages()
    assert messages[["message_id", "content_type", "bulk_id"]].to_numpy().tolist() == [
        ["m1", "text", "b"],
        ["m2", "image", "b"],
    ]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"messageId": "m", "events": 5}', b'{"a": ' * 5000, b"\xff\xfe"]
)
def test_an_unreadable_body_is_stored_and_reported(archive: vk.Archive, body: bytes) -> None:
    changes = archive.recorder.record(
        "events", [("m", response(body)), ("n", response(history("n", ("delivered", 1))))]
    )
    assert changes["m"].startswith("unreadable: ")
    assert changes["n"] == "changed"
    record_callback(archive, body, NOW)
    assert archive.unreadable()["body"].tolist() == [body, body]
    assert archive.events()["message_id"].tolist() == ["n"]


def test_the_readable_events_of_a_history_are_stored(archive: vk.Archive) -> None:
    reported = history("m", ("accepted", 0), ("delivered", 1))
    reported["events"][0]["timestamp"] = "yesterday"  # type: ignore[index]
    archive.recorder.record("events", [("m", response(reported))])
    assert archive.events()["state"].tolist() == ["delivered"]
    assert "yesterday" in archive.unreadable()["reason"].item()


# --- files, versions, processes -------------------------------------------------------------------------


def test_other_files_are_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, but long enough to look like one " * 10)
    for target, words in (
        (tmp_path / "text.db", "another kind of file"),
        (tmp_path, "cannot be opened"),
        (tmp_path / "no" / "folder.db", "cannot be opened"),
        (":memory:", "is not the path of a SQLite file"),
        ("mysql://user:secret@host/db", "is not the path of a SQLite file"),
    ):
        with pytest.raises(ArchiveError, match=words) as caught:
            vk.Archive(target)
        assert "secret" not in str(caught.value)


def test_an_archive_of_a_newer_version_is_refused(archive: vk.Archive) -> None:
    execute(url_of(archive), "UPDATE viberkit_version SET version = 99")
    with pytest.raises(ArchiveError, match="install a newer viberkit"):
        vk.Archive(url_of(archive))


@pytest.mark.sqlite
def test_migrations_are_applied_once(archive: vk.Archive) -> None:
    archive.recorder.record("events", [("m", response(history("m", ("delivered", 1))))])
    new_engine = create_engine(f"sqlite:///{archive.path}")
    steps = (
        *tables.MIGRATIONS,
        lambda connection: connection.execute(text("ALTER TABLE messages ADD COLUMN colour TEXT")),
    )
    for _ in range(2):  # the second time does nothing
        with new_engine.begin() as connection:
            tables.migrate(connection, steps)
    with new_engine.begin() as connection:
        assert connection.execute(text("SELECT message_id, colour FROM messages")).all() == [("m", None)]
        assert connection.execute(text("SELECT version FROM viberkit_version")).scalar_one() == 1 + len(steps)
    new_engine.dispose()


@pytest.mark.sqlite
def test_the_query_of_pending_records_uses_its_index(archive: vk.Archive) -> None:
    """Otherwise every transaction would scan the whole of ``raw``."""
    query = str(ingest.PENDING.compile(dialect=sqlite_dialect(), compile_kwargs={"literal_binds": True}))
    with sqlite3.connect(archive.path) as connection:
        reported = connection.execute(f"EXPLAIN QUERY PLAN {query.replace(':size', '5')}").fetchall()
    connection.close()
    assert "raw_pending" in str(reported)


def test_journal_modes() -> None:
    safe = {(3, 40, 1): "DELETE", (3, 44, 6): "WAL", (3, 45, 0): "DELETE", (3, 50, 6): "DELETE", (3, 50, 7): "WAL"}
    safe |= {(3, 51, 2): "DELETE", (3, 51, 3): "WAL", (3, 52, 0): "WAL"}
    assert {version: engine.journal_mode(version)[0] for version in safe} == safe


def _write_some(path: str, name: str, count: int) -> None:
    with vk.Archive(path) as archive:
        for number in range(count):
            archive.recorder.record(
                "events", [(f"{name}{number}", response(history(f"{name}{number}", ("delivered", number))))]
            )


def test_several_processes_share_an_archive(archive_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_some, args=(archive_url, name, 5)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with vk.Archive(archive_url) as archive:
        assert len(archive.events()) == 15
        assert archive.messages()["message_id"].nunique() == 15


def test_many_threads_share_an_archive(archive: vk.Archive) -> None:
    def record_all(number: int) -> None:
        archive.recorder.record("events", [(f"m{number}", response(history(f"m{number}", ("delivered", number))))])
        archive.messages()

    with ThreadPoolExecutor(48) as pool:
        list(pool.map(record_all, range(96)))
    assert len(archive.events()) == 96


def test_a_forked_process_opens_its_own_connections(archive: vk.Archive) -> None:
    archive.recorder.record("events", [("m", response(history("m", ("delivered", 1))))])
    child = multiprocessing.get_context("fork").Process(target=record_callback, args=(archive, b"{}", NOW))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert len(archive.unreadable()) == 1


def test_a_404_counts_only_from_the_api_and_without_a_newer_history(archive: vk.Archive) -> None:
    for name in ("proxy", "older", "newer"):
        record_sent(archive, name, REQUEST, response({"messageId": name}, status=202))
    still_open = response(history("x", ("accepted", 0)))
    gone = {"title": "Not Found", "status": 404}
    changes = archive.recorder.record(
        "events", [("proxy", response(b"<h1>nginx</h1>", NOW + timedelta(days=1), status=404))]
    )
    assert changes == {"proxy": "refused (404)"}
    for name, days in (("older", 1), ("newer", 3)):
        archive.recorder.record("events", [(name, response(gone, NOW + timedelta(days=days), status=404))])
        reported = Response(200, still_open.body.replace(b'"x"', f'"{name}"'.encode()), NOW + timedelta(days=2), {})
        archive.recorder.record("events", [(name, reported)])
    assert sorted(archive.recorder.open_messages()) == ["older", "proxy"]


def test_a_response_about_another_message_is_unreadable(archive: vk.Archive) -> None:
    record_sent(archive, "abc", REQUEST, response({"messageId": "abc"}, status=202))
    changes = archive.recorder.record("events", [("abc", response(history("xyz", ("delivered", 1))))])
    assert changes["abc"].startswith("unreadable: messageId: the response is about 'xyz'")
    assert archive.events()["state"].tolist() == ["accepted"]
    archive.recorder.record("events", [("abc", response(history("ABC", ("delivered", 1))))])
    assert archive.events()["message_id"].unique().tolist() == ["abc"]
    assert archive.recorder.open_messages() == []


def test_another_database_is_not_changed(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "crm.db") as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = (tmp_path / "crm.db").read_bytes()
    with pytest.raises(ArchiveError, match="not an archive"):
        vk.Archive(tmp_path / "crm.db")
    assert (tmp_path / "crm.db").read_bytes() == before


def test_a_message_and_a_postback_may_share_an_id(archive: vk.Archive) -> None:
    for more in (
        {"event": "MoMessage", "content": {"contentType": "text", "text": "Hi"}},
        {"event": "MoMessage::Postback", "postback": {"data": "yes"}},
    ):
        record_callback(
            archive, json.dumps({"messageId": "5", "timestamp": "2026-01-05T08:00:00Z", **more}).encode(), NOW
        )
    assert sorted(archive.inbound()["kind"]) == ["postback", "text"]


# --- facts about messages ---------------------------------------------------------------------------------


def test_events_have_the_facts_of_their_message_and_no_phone_number(archive: vk.Archive) -> None:
    for name, to in (("a", "+491701234567"), ("b", "12042345678"), ("c", "nobody"), ("d", None)):
        record_sent(archive, name, {**REQUEST, "to": to}, response({"messageId": name}, status=202))
    archive.recorder.record("events", [("a", response(history("a", ("dispatched", 1), ("delivered", 2))))])
    record_callback(
        archive,
        json.dumps({"event": "MessageStatus::seen", "messageId": "x", "timestamp": "2026-01-05T09:00:00Z"}).encode(),
        NOW,
    )
    for events in (archive.events(), archive.events(all_sources=True)):
        reported = events.drop_duplicates("message_id").astype("str").fillna("-")
        reported = reported.set_index("message_id")[["rate_type", "content_type", "service_id", "campaign", "country"]]
        assert reported.loc["a"].tolist() == ["transaction", "text", "S", "-", "DE"]
        assert reported["country"].to_dict() == {"a": "DE", "b": "CA", "c": "-", "d": "-", "x": "-"}
        assert {str(events[name].dtype) for name in reported} == {"category"}
        assert "to" not in events
        assert "1701234567" not in events.to_csv()
    for numbers in (False, True):
        messages = archive.messages(unmask=numbers).set_index("message_id")
        assert messages["country"].astype("str").fillna("-").to_dict() == reported["country"].to_dict()
    latency = vk.latency(vk.transitions(archive.events()), by="country", quantiles=0.5)
    assert latency.loc[latency["n"] > 0, "country"].tolist() == ["DE", "DE"]


def test_events_are_ordered_by_send_then_time_then_life_cycle(archive: vk.Archive) -> None:
    record_sent(archive, "late", REQUEST, response({"messageId": "late"}, NOW + timedelta(seconds=5), status=202))
    record_sent(archive, "a-early", REQUEST, response({"messageId": "a-early"}, NOW, status=202))
    record_sent(archive, "b-early", REQUEST, response({"messageId": "b-early"}, NOW, status=202))
    archive.recorder.record("events", [("a-early", response(history("a-early", ("seen", 3), ("delivered", 3))))])
    assert archive.events()[["message_id", "state"]].to_numpy().tolist() == [
        *(["a-early", "accepted"], ["a-early", "delivered"], ["a-early", "seen"]),
        *(["b-early", "accepted"], ["late", "accepted"]),
    ]


# --- times known only from polls --------------------------------------------------------------------------


def poll(archive: vk.Archive, state: str, seconds: float, message_id: str = "m", **more: object) -> None:
    reported = {"messageId": message_id, "status": state, **more}
    archive.recorder.record("status", [(message_id, response(reported, NOW + timedelta(seconds=seconds)))])


def bounds(archive: vk.Archive, **options: bool) -> list[list[object]]:
    """State, source, seconds and the bound in seconds."""
    events = archive.events(**options)
    for name in ("happened_at", "not_before"):
        events[name] = (events[name] - NOW).dt.total_seconds()
    reported = events[["state", "source", "happened_at", "not_before"]].astype(object)
    return reported.where(reported.notna(), None).to_numpy().tolist()


def test_a_state_known_only_from_polling_has_a_lower_bound(archive: vk.Archive) -> None:
    record_sent(archive, "m", REQUEST, response({"messageId": "m"}, status=202))
    for seconds in (10, 20, 30):
        poll(archive, "dispatched", seconds)
    for seconds in (50, 40, 60):
        poll(archive, "delivered", seconds, channel="viber")
    expected = [
        ["accepted", "send", 0.0, None],
        ["dispatched", "status", 10.0, 0.0],
        ["delivered", "status", 40.0, 30.0],  # the same response at 10, 20 and 30 s is one row of raw
    ]
    assert bounds(archive) == bounds(archive, all_sources=True) == expected
    events = archive.events()
    assert events["channel"].astype("str").tolist() == ["viber", "nan", "viber"] or events["channel"].notna().sum() == 2
    assert (events["received_at"] == events["happened_at"]).all()
    assert [str(events[column.name].dtype) for column in frames.EVENTS] == [column.dtype for column in frames.EVENTS]
    journeys = vk.journeys(events)
    assert journeys["delivered_not_before"].tolist() == [pd.Timestamp(NOW + timedelta(seconds=30))]
    assert vk.quality(events).set_index("check").loc["polled", ["count", "value_s"]].tolist() == [2, 10.0]


def test_a_history_or_callback_replaces_a_polled_state(archive: vk.Archive) -> None:
    record_sent(archive, "m", REQUEST, response({"messageId": "m"}, status=202))
    poll(archive, "delivered", 60)
    assert archive.recorder.open_messages() == ["m"], "its history has the exact time"
    assert bounds(archive)[1] == ["delivered", "status", 60.0, 0.0]
    archive.recorder.record("events", [("m", response(history("m", ("accepted", 0), ("delivered", 3))))])
    assert bounds(archive) == [["accepted", "history+send", 0.0, None], ["delivered", "history", 3.0, None]]
    assert archive.recorder.open_messages() == []
    poll(archive, "seen", 90)
    record_callback(
        archive,
        json.dumps({"event": "MessageStatus::seen", "messageId": "m", "timestamp": "2026-01-05T08:00:09Z"}).encode(),
        NOW,
    )
    assert bounds(archive)[2] == ["seen", "callback", 9.0, None]


def test_the_bound_is_the_latest_earlier_observation(archive: vk.Archive) -> None:
    record_sent(archive, "m", REQUEST, response({"messageId": "m"}, status=202))
    archive.recorder.record("events", [("m", response(history("m", ("dispatched", 5)), NOW + timedelta(seconds=20)))])
    poll(archive, "delivered", 60)
    assert bounds(archive)[-1] == ["delivered", "status", 60.0, 20.0], "the history at 20 s does not contain it"
    poll(archive, "dispatched", 40, timestamp="2026-01-05T08:00:05.000Z")
    assert bounds(archive)[-1] == ["delivered", "status", 60.0, 40.0]
    poll(archive, "dispatched", 80)  # a lagging server shows nothing about earlier states
    assert bounds(archive)[-1] == ["delivered", "status", 60.0, 40.0]
    record_callback(
        archive,
        json.dumps({"event": "MessageStatus::seen", "messageId": "m", "timestamp": "2026-01-05T08:00:30Z"}).encode(),
        NOW + timedelta(seconds=70),
    )
    polled = next(row for row in bounds(archive) if row[0] == "delivered")
    assert polled == ["delivered", "status", 60.0, 20.0], (
        "seen at 30 s: it was delivered before, whatever the poll at 40 s shows"
    )


def test_a_polled_state_without_an_earlier_observation_has_no_bound(archive: vk.Archive) -> None:
    poll(archive, "delivered", 60)
    events = archive.events()
    assert events["not_before"].tolist() == [pd.Timestamp(0, tz="UTC")], "NaT would mean an exact time"
    assert vk.journeys(events)["delivered_not_before"].notna().all()


def test_collect_replaces_polled_states_by_the_history(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive
) -> None:
    message_id = client.with_archive(archive).send("+491701234567", vk.Text("hi"), rate_type="transaction").message_id
    sandbox.advance(days=20)
    reported = json.dumps({"messageId": message_id, "status": "delivered"}).encode()
    archive.recorder.record("status", [(message_id, Response(200, reported, sandbox.now, {}))])
    assert "status" in set(archive.events()["source"])
    assert vk.collect(client, archive, progress=False).to_frame().loc[0, ["requested", "final"]].tolist() == [1, 1]
    assert archive.events()["not_before"].isna().all()


LOOKS = st.tuples(
    st.sampled_from(["status", "timed", "events", "callback"]),
    st.sampled_from(["accepted", "dispatched", "delivered", "seen", "failed", "unknown", "teleported"]),
    st.integers(0, 30),
    st.integers(0, 30),
)


@given(st.lists(LOOKS, max_size=8), st.booleans(), st.randoms())
@settings(max_examples=EXAMPLES, deadline=None)
def test_bounds_are_earlier_and_independent_of_the_order_of_arrival(
    new_archive_url: NewUrl, observations: list, sent: bool, random: object
) -> None:  # type: ignore[type-arg]
    def read_after() -> pd.DataFrame:
        with new_archive_url() as url, vk.Archive(url) as archive:
            if sent:
                record_sent(archive, "m", REQUEST, response({"messageId": "m"}, status=202))
            for what, state, seconds, seen in observations:
                stamp = (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
                event = {"event": state, "messageId": "m", "timestamp": stamp}
                if what == "callback":
                    record_callback(archive, json.dumps(event).encode(), NOW + timedelta(seconds=seen))
                elif what == "events":
                    reported = response({"messageId": "m", "events": [event]}, NOW + timedelta(seconds=seen))
                    archive.recorder.record("events", [("m", reported)])
                else:
                    poll(archive, state, seen, **({"timestamp": stamp} if what == "timed" else {}))
            merged, all_sources = archive.events(), archive.events(all_sources=True)
        polled = merged[merged["not_before"].notna()]
        assert (polled["not_before"] <= polled["happened_at"]).all()
        assert (polled["source"] == "status").all()
        states = {state for what, state, _, _ in observations if what in ("status", "timed", "events", "callback")}
        assert set(merged["state"]) == states | ({"accepted"} if sent else set())
        exact = {state for what, state, _, _ in observations if what != "status"} | ({"accepted"} if sent else set())
        assert set(polled["state"]) == states - exact
        assert all_sources["not_before"].notna().sum() == len(polled)
        return merged.drop(columns=["observed_until"])

    first = read_after()
    random.shuffle(observations)
    again = read_after()
    columns = ["message_id", "state", "source", "happened_at"]
    texts = {"state": "str", "source": "str"}
    one, other = (frame[columns].astype(texts).sort_values(columns, ignore_index=True) for frame in (first, again))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("name", ["events.parquet", "events.csv", "events.jsonl", "events.jsonl.gz"])
def test_files_of_events_have_the_bounds(archive: vk.Archive, name: str) -> None:
    record_sent(archive, "m", REQUEST, response({"messageId": "m"}, status=202))
    poll(archive, "delivered", 60)
    record_sent(archive, "17", REQUEST, response({"messageId": "17"}, status=202))
    events = archive.events()
    if name.endswith("parquet"):
        events.to_parquet(name, index=False)
    elif name.endswith("csv"):
        events.to_csv(name, index=False)
    else:
        events.to_json(name, orient="records", lines=True, date_format="iso", date_unit="us")
    read = vk.read_events(name)
    assert read.attrs["skipped"] == []
    assert read["not_before"].notna().sum() == 1
    for column in events:
        assert read[column].astype("str").fillna("-").tolist() == events[column].astype("str").fillna("-").tolist()
    assert [str(read[column.name].dtype) for column in frames.EVENTS] == [column.dtype for column in frames.EVENTS]
    journeys = [vk.journeys(frame)["delivered_not_before"].tolist() for frame in (read, events)]
    assert journeys[0] == journeys[1]


def test_unreadable_lines_of_a_file_are_skipped(tmp_path: Path) -> None:
    good = '{"message_id": "m", "state": "seen", "happened_at": "2026-01-05T08:00:00Z", "mine": 5}'
    (tmp_path / "e.jsonl").write_text(f'\n{good}\n{{"message_id": 17}}\n[1]\n{{"a":\n{good}\n')
    with pytest.warns(SkippedRowsWarning, match="3 of 5"):
        read = vk.read_events(tmp_path / "e.jsonl")
    assert read["mine"].tolist() == [5, 5]
    assert [skipped["line"] for skipped in read.attrs["skipped"]] == [3, 4, 5]


# --- network file systems ---------------------------------------------------------------------------------


def test_a_file_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("detected on Linux only")
    assert engine.network_file_system(tmp_path / "a.db") == ""
    number = int(subprocess.check_output(["stat", "-f", "-c", "%t", str(tmp_path)]), 16)
    monkeypatch.setattr(engine, "_NETWORK", {number: "NFS"})  # the file system of this folder, as if it were one
    with pytest.raises(ArchiveError, match=r"network file system \(NFS\), .* use a folder of this computer"):
        vk.Archive(tmp_path / "a.db", create=True)
    assert not (tmp_path / "a.db").exists()
    vk.Archive(tmp_path / "a.db", create=True, allow_network=True).close()
    monkeypatch.setenv("VIBERKIT_ALLOW_NETWORK", "1")
    vk.Archive(tmp_path / "a.db", create=False).close()


# --- damaged and read-only archives -----------------------------------------------------------------------


@pytest.mark.sqlite
@pytest.mark.parametrize("table", ["viberkit_version", "identity"])
@pytest.mark.parametrize("damage", ["DELETE FROM {}", "INSERT INTO {} VALUES (7)", "UPDATE {} SET rowid = rowid"])
def test_damaged_tables_are_reported(archive: vk.Archive, table: str, damage: str) -> None:
    column = {"viberkit_version": "version", "identity": "salt"}[table]
    with sqlite3.connect(archive.path) as connection:
        if damage.startswith("UPDATE"):
            connection.execute(f"CREATE TABLE copy AS SELECT x'00' AS {column}")
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"ALTER TABLE copy RENAME TO {table}")
        else:
            connection.execute(damage.format(table))
    connection.close()
    with pytest.raises(ArchiveError, match=rf"is damaged: {table}\.{column} .*; restore a copy"):
        vk.Archive(archive.path)


@pytest.fixture
def read_only(archive: vk.Archive, tmp_path: Path) -> Iterator[Path]:
    """An archive on a file system that is mounted read-only."""
    archive.recorder.record("events", [("m", response(history("m", ("delivered", 1))))])
    folder = tmp_path / "read # only?"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system cannot be mounted here (only root can)")
    archive.close()
    shutil.copy(archive.path, folder / "a.db")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield folder / "a.db"
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.sqlite
def test_a_read_only_archive_is_read(read_only: Path) -> None:
    with vk.Archive(read_only) as archive:
        assert archive.events()["state"].tolist() == ["delivered"]
        assert archive.recorder.open_messages() == []
        for frame in (archive.messages(), archive.statuses(), archive.inbound(), archive.outbox(), archive.callbacks()):
            assert isinstance(frame, pd.DataFrame)
        assert len(archive.gaps()) == 1
        with pytest.raises(ArchiveError, match="readonly database; the file or its folder is read-only"):
            record_callback(archive, b"{}", NOW)
