"""The archive: verbatim, idempotent, shared by processes, and honest about what it could not read."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from support.scripted import DATA

import viberkit as vk
from viberkit.archive import ingest as archive_keeping
from viberkit.archive import tables as schema
from viberkit.archive.engine import journal_mode
from viberkit.errors import ArchiveError
from viberkit.frames import columns as frames
from viberkit.frames.reader import SetAsideWarning
from viberkit.models.records import Response

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
REQUEST = {
    "to": "+491701234567",
    "from": "S",
    "channel": "viber",
    "rateType": "transaction",
    "content": {"contentType": "text", "text": "hi"},
}


def answer(body: object, at: datetime = NOW, status: int = 200) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, raw, at, {})


def history(message_id: str, *entered: tuple[str, float]) -> dict[str, object]:
    def at(seconds: float) -> str:
        return (NOW + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return {
        "messageId": message_id,
        "events": [{"event": f"MessageStatus::{s}", "timestamp": at(t)} for s, t in entered],
    }


def dump(archive: vk.Archive) -> list[str]:
    with sqlite3.connect(archive.path) as connection:
        lines = list(connection.iterdump())
    connection.close()
    return lines


def test_a_new_archive_is_private(archive: vk.Archive) -> None:
    assert stat.S_IMODE(archive.path.stat().st_mode) == 0o600


def test_empty_frames_have_their_columns(archive: vk.Archive) -> None:
    for frame, shape in (
        (archive.messages(), frames.MESSAGES),
        (archive.statuses(), frames.STATUSES),
        (archive.inbound(), frames.INBOUND),
        (archive.events(), frames.EVENTS),
    ):
        assert frame.empty
        assert [str(frame[column.name].dtype) for column in shape] == [column.dtype for column in shape]


def test_the_guides_answers_are_kept_verbatim_and_read(archive: vk.Archive) -> None:
    body = (DATA / "guide" / "events.response.json").read_bytes()
    assert archive.keep_answers("events", [("8fb360a1-f58c-4af1-932b-8f6651603cd4", answer(body))]) == {
        "8fb360a1-f58c-4af1-932b-8f6651603cd4": "changed"
    }
    assert archive.answers("events") == [body]
    assert archive.events()["state"].tolist() == ["accepted", "routed", "dispatched", "delivered"]
    status = (DATA / "guide" / "status.response.json").read_bytes()
    archive.keep_answers("status", [("1697383a-f16d-4c91-9b75-2b5ee650b9a3", answer(status))])
    assert archive.statuses()["state"].tolist() == ["delivered"]
    archive.keep_callback((DATA / "guide" / "inbound.callback.json").read_bytes(), NOW)
    assert archive.inbound().loc[0, ["message_id", "text"]].tolist() == ["5463481551745434076", "Hi!"]
    assert archive.inbound().loc[0, "sender"] == "12345*****89"


def test_the_same_answer_twice_changes_nothing(archive: vk.Archive) -> None:
    def keep() -> dict[str, str]:
        archive.keep_sent("m", REQUEST, answer({"messageId": "m"}, status=202))
        archive.keep_callback(
            json.dumps(
                {"event": "MessageStatus::seen", "messageId": "m", "timestamp": "2026-01-05T09:00:00Z"}
            ).encode(),
            NOW,
        )
        return archive.keep_answers("events", [("m", answer(history("m", ("accepted", 0), ("delivered", 2))))])

    assert keep() == {"m": "changed"}
    before = dump(archive)
    assert keep() == {"m": "same"}
    assert dump(archive) == before


def test_looking_again_moves_only_the_observation(archive: vk.Archive) -> None:
    told = history("m", ("accepted", 0))
    archive.keep_answers("events", [("m", answer(told))])
    events = archive.events()
    archive.keep_answers("events", [("m", answer(told, NOW + timedelta(days=1)))])
    archive.keep_answers("events", [("m", answer(told, NOW + timedelta(hours=1)))])
    again = archive.events()
    assert again.loc[0, "observed_until"] == NOW + timedelta(days=1)
    pd.testing.assert_frame_equal(events.drop(columns="observed_until"), again.drop(columns="observed_until"))


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=3))
@settings(max_examples=25, deadline=None)
def test_order_and_repetition_do_not_matter(order: list[int], repeated: list[int]) -> None:
    import tempfile

    told = [
        ("events", history("m", ("accepted", 0))),
        ("events", history("m", ("accepted", 0), ("dispatched", 1))),
        ("events", history("m", ("accepted", 0), ("dispatched", 1), ("delivered", 3), ("seen", 9))),
        ("status", {"messageId": "m", "status": "dispatched", "timestamp": "2026-01-05T08:00:01.000Z"}),
        ("callback", {"event": "MessageStatus::delivered", "messageId": "m", "timestamp": "2026-01-05T08:00:03.000Z"}),
    ]
    with tempfile.TemporaryDirectory() as folder, vk.Archive(Path(folder) / "a.db") as archive:
        for place in [*order, *repeated]:
            what, body = told[place]
            if what == "callback":
                archive.keep_callback(json.dumps(body).encode(), NOW)
            else:
                archive.keep_answers(what, [("m", answer(body))])
        events = archive.events()
        assert events["state"].tolist() == ["accepted", "dispatched", "delivered", "seen"]
        tellers = ["history", "history+status", "history+callback", "history"]
        assert events["source"].tolist() == tellers
        assert archive.messages()["state"].tolist() == ["seen"]
        assert archive.open_messages() == []


def test_a_sent_message_is_open_until_it_is_final_or_gone(archive: vk.Archive) -> None:
    for name in ("a", "b", "c"):
        archive.keep_sent(name, REQUEST, answer({"messageId": name}, status=202))
    assert archive.open_messages() == ["a", "b", "c"]
    became = archive.keep_answers(
        "events",
        [
            ("a", answer(history("a", ("failed", 1)))),
            ("b", answer({"status": 404}, NOW + timedelta(days=91), status=404)),
            ("c", answer(b"", status=500)),
        ],
    )
    assert became == {"a": "changed", "b": "gone", "c": "refused (500)"}
    assert archive.open_messages() == ["c"]
    events = archive.events()
    assert events.loc[events["message_id"] == "b", ["state", "source"]].to_numpy().tolist() == [["accepted", "send"]]


def test_a_bulk_keeps_each_content(archive: vk.Archive) -> None:
    contents = [
        {"contentType": "text", "text": "one"},
        {"contentType": "image", "image": {"url": "https://example.org/a.png"}},
    ]
    request = {name: value for name, value in REQUEST.items() if name != "content"} | {"messages": contents}
    archive.keep_sent("b", request, answer({"bulkId": "b", "messageIds": ["m1", "m2"]}, status=202))
    messages = archive.messages()
    assert messages[["message_id", "content_type", "bulk_id"]].to_numpy().tolist() == [
        ["m1", "text", "b"],
        ["m2", "image", "b"],
    ]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"messageId": "m", "events": 5}', b'{"a": ' * 5000, b"\xff\xfe"]
)
def test_what_cannot_be_read_is_kept_and_said(archive: vk.Archive, body: bytes) -> None:
    became = archive.keep_answers("events", [("m", answer(body)), ("n", answer(history("n", ("delivered", 1))))])
    assert became["m"].startswith("unreadable: ")
    assert became["n"] == "changed"
    archive.keep_callback(body, NOW)
    assert archive.unreadable()["body"].tolist() == [body, body]
    assert archive.events()["message_id"].tolist() == ["n"]


def test_a_half_readable_history_keeps_its_good_half(archive: vk.Archive) -> None:
    told = history("m", ("accepted", 0), ("delivered", 1))
    told["events"][0]["timestamp"] = "yesterday"  # type: ignore[index]
    archive.keep_answers("events", [("m", answer(told))])
    assert archive.events()["state"].tolist() == ["delivered"]
    assert "yesterday" in archive.unreadable()["reason"].item()


# --- files, versions, processes -------------------------------------------------------------------------


def test_strange_files_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database at all, but long enough to look like one " * 10)
    for target, words in (
        (tmp_path / "text.db", "another kind of file"),
        (tmp_path, "cannot be opened"),
        (tmp_path / "no" / "folder.db", "cannot be opened"),
        (":memory:", "is not the path of a SQLite file"),
        ("postgresql://user:secret@host/db", "is not the path of a SQLite file"),
    ):
        with pytest.raises(ArchiveError, match=words) as caught:
            vk.Archive(target)
        assert "secret" not in str(caught.value)


def test_an_archive_of_the_future_is_refused(archive: vk.Archive) -> None:
    with sqlite3.connect(archive.path) as connection:
        connection.execute("UPDATE viberkit_version SET version = 99")
    connection.close()
    with pytest.raises(ArchiveError, match="install a newer viberkit"):
        vk.Archive(archive.path)


def test_old_archives_are_brought_forward(archive: vk.Archive) -> None:
    archive.keep_answers("events", [("m", answer(history("m", ("delivered", 1))))])
    engine = create_engine(f"sqlite:///{archive.path}")
    steps = (
        *schema.MIGRATIONS,
        lambda connection: connection.execute(text("ALTER TABLE messages ADD COLUMN colour TEXT")),
    )
    for _ in range(2):  # the second time there is nothing left to do
        with engine.begin() as connection:
            schema.migrate(connection, steps)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT message_id, colour FROM messages")).all() == [("m", None)]
        assert connection.execute(text("SELECT version FROM viberkit_version")).scalar_one() == 1 + len(steps)
    engine.dispose()


def test_what_is_pending_is_found_by_its_index(archive: vk.Archive) -> None:
    """Otherwise every writing would read the whole of ``raw``."""
    asked = str(archive_keeping._pending().compile(dialect=sqlite_dialect(), compile_kwargs={"literal_binds": True}))
    with sqlite3.connect(archive.path) as connection:
        told = connection.execute(f"EXPLAIN QUERY PLAN {asked.replace(':size', '5')}").fetchall()
    connection.close()
    assert "raw_pending" in str(told)


def test_journal_modes() -> None:
    safe = {(3, 40, 1): "DELETE", (3, 44, 6): "WAL", (3, 45, 0): "DELETE", (3, 50, 6): "DELETE", (3, 50, 7): "WAL"}
    safe |= {(3, 51, 2): "DELETE", (3, 51, 3): "WAL", (3, 52, 0): "WAL"}
    assert {version: journal_mode(version)[0] for version in safe} == safe


def _write_some(path: Path, name: str, count: int) -> None:
    with vk.Archive(path) as archive:
        for number in range(count):
            archive.keep_answers(
                "events", [(f"{name}{number}", answer(history(f"{name}{number}", ("delivered", number))))]
            )


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "shared.db"
    processes = [context.Process(target=_write_some, args=(path, name, 15)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with vk.Archive(path) as archive:
        assert len(archive.events()) == 45
        assert archive.messages()["message_id"].nunique() == 45


def test_many_threads_share_an_archive(archive: vk.Archive) -> None:
    def keep(number: int) -> None:
        archive.keep_answers("events", [(f"m{number}", answer(history(f"m{number}", ("delivered", number))))])
        archive.messages()

    with ThreadPoolExecutor(48) as pool:
        list(pool.map(keep, range(96)))
    assert len(archive.events()) == 96


def test_a_fork_takes_no_connection_along(archive: vk.Archive) -> None:
    archive.keep_answers("events", [("m", answer(history("m", ("delivered", 1))))])
    child = multiprocessing.get_context("fork").Process(target=archive.keep_callback, args=(b"{}", NOW))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert len(archive.unreadable()) == 1


def test_a_404_counts_only_if_the_api_says_it_and_nothing_newer_says_otherwise(archive: vk.Archive) -> None:
    for name in ("proxy", "older", "newer"):
        archive.keep_sent(name, REQUEST, answer({"messageId": name}, status=202))
    open_still = answer(history("x", ("accepted", 0)))
    gone = {"title": "Not Found", "status": 404}
    became = archive.keep_answers("events", [("proxy", answer(b"<h1>nginx</h1>", NOW + timedelta(days=1), status=404))])
    assert became == {"proxy": "refused (404)"}
    for name, days in (("older", 1), ("newer", 3)):
        archive.keep_answers("events", [(name, answer(gone, NOW + timedelta(days=days), status=404))])
        told = Response(200, open_still.body.replace(b'"x"', f'"{name}"'.encode()), NOW + timedelta(days=2), {})
        archive.keep_answers("events", [(name, told)])
    assert sorted(archive.open_messages()) == ["older", "proxy"]


def test_an_answer_about_another_message_is_not_taken_for_this_one(archive: vk.Archive) -> None:
    archive.keep_sent("abc", REQUEST, answer({"messageId": "abc"}, status=202))
    became = archive.keep_answers("events", [("abc", answer(history("xyz", ("delivered", 1))))])
    assert became["abc"].startswith("unreadable: messageId: the answer is about 'xyz'")
    assert archive.events()["state"].tolist() == ["accepted"]
    archive.keep_answers("events", [("abc", answer(history("ABC", ("delivered", 1))))])
    assert archive.events()["message_id"].unique().tolist() == ["abc"]
    assert archive.open_messages() == []


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "crm.db") as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = (tmp_path / "crm.db").read_bytes()
    with pytest.raises(ArchiveError, match="no archive"):
        vk.Archive(tmp_path / "crm.db")
    assert (tmp_path / "crm.db").read_bytes() == before


def test_a_message_and_a_postback_may_share_an_id(archive: vk.Archive) -> None:
    for more in (
        {"event": "MoMessage", "content": {"contentType": "text", "text": "Hi"}},
        {"event": "MoMessage::Postback", "postback": {"data": "yes"}},
    ):
        archive.keep_callback(json.dumps({"messageId": "5", "timestamp": "2026-01-05T08:00:00Z", **more}).encode(), NOW)
    assert sorted(archive.inbound()["kind"]) == ["postback", "text"]


# --- facts about messages ---------------------------------------------------------------------------------


def test_events_know_the_facts_of_their_message_and_no_number(archive: vk.Archive) -> None:
    for name, to in (("a", "+491701234567"), ("b", "12042345678"), ("c", "nobody"), ("d", None)):
        archive.keep_sent(name, {**REQUEST, "to": to}, answer({"messageId": name}, status=202))
    archive.keep_answers("events", [("a", answer(history("a", ("dispatched", 1), ("delivered", 2))))])
    archive.keep_callback(
        json.dumps({"event": "MessageStatus::seen", "messageId": "x", "timestamp": "2026-01-05T09:00:00Z"}).encode(),
        NOW,
    )
    for events in (archive.events(), archive.events(all_sources=True)):
        told = events.drop_duplicates("message_id").astype("str").fillna("-")
        told = told.set_index("message_id")[["rate_type", "content_type", "service_id", "campaign", "country"]]
        assert told.loc["a"].tolist() == ["transaction", "text", "S", "-", "DE"]
        assert told["country"].to_dict() == {"a": "DE", "b": "CA", "c": "-", "d": "-", "x": "-"}
        assert {str(events[name].dtype) for name in told} == {"category"}
        assert "to" not in events
        assert "1701234567" not in events.to_csv()
    for numbers in (False, True):
        messages = archive.messages(unmask=numbers).set_index("message_id")
        assert messages["country"].astype("str").fillna("-").to_dict() == told["country"].to_dict()
    hops = vk.latency(vk.transitions(archive.events()), by="country", quantiles=0.5)
    assert hops.loc[hops["n"] > 0, "country"].tolist() == ["DE", "DE"]


def test_events_come_in_the_order_of_sending_then_of_time_then_of_life(archive: vk.Archive) -> None:
    archive.keep_sent("late", REQUEST, answer({"messageId": "late"}, NOW + timedelta(seconds=5), status=202))
    archive.keep_sent("a-early", REQUEST, answer({"messageId": "a-early"}, NOW, status=202))
    archive.keep_sent("b-early", REQUEST, answer({"messageId": "b-early"}, NOW, status=202))
    archive.keep_answers("events", [("a-early", answer(history("a-early", ("seen", 3), ("delivered", 3))))])
    assert archive.events()[["message_id", "state"]].to_numpy().tolist() == [
        *(["a-early", "accepted"], ["a-early", "delivered"], ["a-early", "seen"]),
        *(["b-early", "accepted"], ["late", "accepted"]),
    ]


# --- times known only from polls --------------------------------------------------------------------------


def poll(archive: vk.Archive, state: str, seconds: float, message_id: str = "m", **more: object) -> None:
    told = {"messageId": message_id, "status": state, **more}
    archive.keep_answers("status", [(message_id, answer(told, NOW + timedelta(seconds=seconds)))])


def bounds(archive: vk.Archive, **asked: bool) -> list[list[object]]:
    """State, source, seconds and the bound in seconds."""
    events = archive.events(**asked)
    for name in ("happened_at", "not_before"):
        events[name] = (events[name] - NOW).dt.total_seconds()
    told = events[["state", "source", "happened_at", "not_before"]].astype(object)
    return told.where(told.notna(), None).to_numpy().tolist()


def test_a_state_that_only_a_poll_found_is_there_with_its_bound(archive: vk.Archive) -> None:
    archive.keep_sent("m", REQUEST, answer({"messageId": "m"}, status=202))
    for seconds in (10, 20, 30):
        poll(archive, "dispatched", seconds)
    for seconds in (50, 40, 60):
        poll(archive, "delivered", seconds, channel="viber")
    expected = [
        ["accepted", "send", 0.0, None],
        ["dispatched", "status", 10.0, 0.0],
        ["delivered", "status", 40.0, 30.0],  # the same answer at 10, 20 and 30 is one row of raw
    ]
    assert bounds(archive) == bounds(archive, all_sources=True) == expected
    events = archive.events()
    assert events["channel"].astype("str").tolist() == ["viber", "nan", "viber"] or events["channel"].notna().sum() == 2
    assert (events["received_at"] == events["happened_at"]).all()
    assert [str(events[one.name].dtype) for one in frames.EVENTS] == [one.dtype for one in frames.EVENTS]
    trips = vk.journeys(events)
    assert trips["delivered_not_before"].tolist() == [pd.Timestamp(NOW + timedelta(seconds=30))]
    assert vk.quality(events).set_index("check").loc["polled", ["count", "value_s"]].tolist() == [2, 10.0]


def test_what_a_history_or_callback_tells_takes_the_place_of_a_poll(archive: vk.Archive) -> None:
    archive.keep_sent("m", REQUEST, answer({"messageId": "m"}, status=202))
    poll(archive, "delivered", 60)
    assert archive.open_messages() == ["m"], "it is asked again: its history tells exactly"
    assert bounds(archive)[1] == ["delivered", "status", 60.0, 0.0]
    archive.keep_answers("events", [("m", answer(history("m", ("accepted", 0), ("delivered", 3))))])
    assert bounds(archive) == [["accepted", "history+send", 0.0, None], ["delivered", "history", 3.0, None]]
    assert archive.open_messages() == []
    poll(archive, "seen", 90)
    archive.keep_callback(
        json.dumps({"event": "MessageStatus::seen", "messageId": "m", "timestamp": "2026-01-05T08:00:09Z"}).encode(),
        NOW,
    )
    assert bounds(archive)[2] == ["seen", "callback", 9.0, None]


def test_the_latest_that_is_known_to_be_before_counts(archive: vk.Archive) -> None:
    archive.keep_sent("m", REQUEST, answer({"messageId": "m"}, status=202))
    archive.keep_answers("events", [("m", answer(history("m", ("dispatched", 5)), NOW + timedelta(seconds=20)))])
    poll(archive, "delivered", 60)
    assert bounds(archive)[-1] == ["delivered", "status", 60.0, 20.0], "the history at 20 did not tell of it"
    poll(archive, "dispatched", 40, timestamp="2026-01-05T08:00:05.000Z")
    assert bounds(archive)[-1] == ["delivered", "status", 60.0, 40.0]
    poll(archive, "dispatched", 80)  # a server that lags says nothing about before
    assert bounds(archive)[-1] == ["delivered", "status", 60.0, 40.0]
    archive.keep_callback(
        json.dumps({"event": "MessageStatus::seen", "messageId": "m", "timestamp": "2026-01-05T08:00:30Z"}).encode(),
        NOW + timedelta(seconds=70),
    )
    polled = next(row for row in bounds(archive) if row[0] == "delivered")
    assert polled == ["delivered", "status", 60.0, 20.0], (
        "seen at 30: it was delivered before, whatever a poll said at 40"
    )


def test_a_poll_of_which_nothing_earlier_is_known_is_bounded_by_nothing(archive: vk.Archive) -> None:
    poll(archive, "delivered", 60)
    events = archive.events()
    assert events["not_before"].tolist() == [pd.Timestamp(0, tz="UTC")], "NaT would say that it is exact"
    assert vk.journeys(events)["delivered_not_before"].notna().all()


def test_collect_fetches_the_history_of_what_a_poll_found(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive
) -> None:
    message_id = client.with_archive(archive).send("+491701234567", vk.Text("hi"), rate_type="transaction").message_id
    sandbox.advance(days=20)
    told = json.dumps({"messageId": message_id, "status": "delivered"}).encode()
    archive.keep_answers("status", [(message_id, Response(200, told, sandbox.now, {}))])
    assert "status" in set(archive.events()["source"])
    assert vk.collect(client, archive, progress=False).loc[0, ["asked", "final"]].tolist() == [1, 1]
    assert archive.events()["not_before"].isna().all()


LOOKS = st.tuples(
    st.sampled_from(["status", "timed", "events", "callback"]),
    st.sampled_from(["accepted", "dispatched", "delivered", "seen", "failed", "unknown", "teleported"]),
    st.integers(0, 30),
    st.integers(0, 30),
)


@given(st.lists(LOOKS, max_size=8), st.booleans(), st.randoms())
@settings(max_examples=40, deadline=None)
def test_bounds_are_before_and_the_order_of_arrival_decides_nothing(looks: list, sent: bool, random: object) -> None:  # type: ignore[type-arg]
    import tempfile

    def kept(path: Path) -> pd.DataFrame:
        with vk.Archive(path) as archive:
            if sent:
                archive.keep_sent("m", REQUEST, answer({"messageId": "m"}, status=202))
            for what, state, seconds, seen in looks:
                stamp = (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
                event = {"event": state, "messageId": "m", "timestamp": stamp}
                if what == "callback":
                    archive.keep_callback(json.dumps(event).encode(), NOW + timedelta(seconds=seen))
                elif what == "events":
                    told = answer({"messageId": "m", "events": [event]}, NOW + timedelta(seconds=seen))
                    archive.keep_answers("events", [("m", told)])
                else:
                    poll(archive, state, seen, **({"timestamp": stamp} if what == "timed" else {}))
            one, every = archive.events(), archive.events(all_sources=True)
        polled = one[one["not_before"].notna()]
        assert (polled["not_before"] <= polled["happened_at"]).all()
        assert (polled["source"] == "status").all()
        asked = {state for what, state, _, _ in looks if what in ("status", "timed", "events", "callback")}
        assert set(one["state"]) == asked | ({"accepted"} if sent else set())
        exact = {state for what, state, _, _ in looks if what != "status"} | ({"accepted"} if sent else set())
        assert set(polled["state"]) == asked - exact
        assert every["not_before"].notna().sum() == len(polled)
        return one.drop(columns=["observed_until"])

    with tempfile.TemporaryDirectory() as folder:
        first = kept(Path(folder) / "a.db")
        random.shuffle(looks)
        again = kept(Path(folder) / "b.db")
    columns = ["message_id", "state", "source", "happened_at"]
    texts = {"state": "str", "source": "str"}
    one, other = (each[columns].astype(texts).sort_values(columns, ignore_index=True) for each in (first, again))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("name", ["events.parquet", "events.csv", "events.jsonl", "events.jsonl.gz"])
def test_files_of_events_carry_the_bounds(archive: vk.Archive, name: str) -> None:
    archive.keep_sent("m", REQUEST, answer({"messageId": "m"}, status=202))
    poll(archive, "delivered", 60)
    archive.keep_sent("17", REQUEST, answer({"messageId": "17"}, status=202))
    events = archive.events()
    if name.endswith("parquet"):
        events.to_parquet(name, index=False)
    elif name.endswith("csv"):
        events.to_csv(name, index=False)
    else:
        events.to_json(name, orient="records", lines=True, date_format="iso", date_unit="us")
    read = vk.read_events(name)
    assert read.attrs["set_aside"] == []
    assert read["not_before"].notna().sum() == 1
    for column in events:
        assert read[column].astype("str").fillna("-").tolist() == events[column].astype("str").fillna("-").tolist()
    assert [str(read[one.name].dtype) for one in frames.EVENTS] == [one.dtype for one in frames.EVENTS]
    trips = [vk.journeys(each)["delivered_not_before"].tolist() for each in (read, events)]
    assert trips[0] == trips[1]


def test_odd_lines_among_tidy_ones_are_set_aside(tmp_path: Path) -> None:
    good = '{"message_id": "m", "state": "seen", "happened_at": "2026-01-05T08:00:00Z", "mine": 5}'
    (tmp_path / "e.jsonl").write_text(f'\n{good}\n{{"message_id": 17}}\n[1]\n{{"a":\n{good}\n')
    with pytest.warns(SetAsideWarning, match="3 of 5"):
        read = vk.read_events(tmp_path / "e.jsonl")
    assert read["mine"].tolist() == [5, 5]
    assert [one["line"] for one in read.attrs["set_aside"]] == [3, 4, 5]
